//! What becomes of a program's changes to a workspace that it got a copy of.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

use anyhow::Context;
use nucleus_core::{Changes, ChangesError, Child};
use rustix::fs::Access;

use crate::report;

/// What to do with the changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum OnExit {
    /// Make them in the folder itself
    Commit,
    /// Forget them
    Discard,
    /// List them and ask on the terminal whether to commit
    Ask,
    /// List what was added, modified and deleted, and forget it
    Diff,
}

const TERMINAL: &str = "/dev/tty";

impl OnExit {
    /// Whether it will be possible in the end, as far as can be told before.
    pub(crate) fn check(self, folder: &Path) -> anyhow::Result<()> {
        if self == Self::Ask {
            terminal()?;
        }
        if matches!(self, Self::Commit | Self::Ask) {
            let needed = Access::WRITE_OK | Access::EXEC_OK;
            rustix::fs::access(folder, needed).with_context(|| {
                format!(
                    "nothing can be committed to the workspace {}, which this user may not \
                     write to; use --on-exit diff or discard",
                    folder.display()
                )
            })?;
        }
        Ok(())
    }
}

/// The terminal to ask on: standard input is the program's.
fn terminal() -> anyhow::Result<File> {
    File::options()
        .read(true)
        .write(true)
        .open(TERMINAL)
        .with_context(|| {
            format!(
                "cannot open {TERMINAL}, which --on-exit ask needs; \
                 use commit, discard or diff without a terminal"
            )
        })
}

/// Does with the program's changes what the user wants. Every process of the
/// sandbox is gone.
pub(crate) fn end(child: &mut Child, on_exit: OnExit) -> anyhow::Result<()> {
    if on_exit == OnExit::Discard {
        return Ok(());
    }
    let changes = child
        .changes()
        .context("cannot find out what the program has changed in the workspace")?;
    let Some(changes) = changes else {
        return Ok(());
    };
    if changes.is_empty() {
        if on_exit != OnExit::Commit {
            report::note("the workspace is unchanged");
        }
        return Ok(());
    }
    if matches!(on_exit, OnExit::Ask | OnExit::Diff) {
        for change in changes.iter() {
            report::note(change);
        }
    }
    let commit = match on_exit {
        OnExit::Commit => true,
        OnExit::Ask => ask(&changes)?,
        OnExit::Diff | OnExit::Discard => false,
    };
    if !commit {
        report::note(format_args!(
            "{} in the workspace, not committed",
            count(&changes)
        ));
        return Ok(());
    }
    if on_exit == OnExit::Commit {
        for change in changes.iter().filter(|change| change.withheld().is_some()) {
            report::note(change);
        }
    }
    changes.commit().map_err(|error| {
        let what = match &error {
            ChangesError::Incomplete { .. } => "cannot commit the changes to the workspace",
            _ => {
                "cannot commit the changes to the workspace, which is as it was; what the program \
                 wrote is lost"
            }
        };
        anyhow::Error::new(error).context(what)
    })
}

fn count(changes: &Changes) -> String {
    match changes.iter().len() {
        1 => "1 change".to_owned(),
        more => format!("{more} changes"),
    }
}

fn ask(changes: &Changes) -> anyhow::Result<bool> {
    let mut terminal = terminal()?;
    let mut answer = String::new();
    write!(terminal, "nucleus: commit {}? [y/N] ", count(changes))
        .and_then(|()| BufReader::new(&terminal).read_line(&mut answer))
        .with_context(|| format!("cannot ask on {TERMINAL}; the changes were not committed"))?;
    Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
}

//! `nucleus workspace`: commits that were interrupted.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use nucleus_core::{ChangesError, PendingCommit};

use crate::exit::Exit;
use crate::report;

/// What to do about a commit to a workspace that was interrupted.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Say what is left to do
    Status(Folder),
    /// Make the rest of its changes, over whatever is there now
    #[command(after_help = "\
Examples:
  nucleus workspace status ./project
  nucleus workspace commit ./project")]
    Commit(Folder),
    /// Forget the rest of its changes; those that were made stay
    Discard(Folder),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Folder {
    /// The workspace
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

pub(crate) fn run(command: &Command) -> anyhow::Result<Exit> {
    match command {
        Command::Status(Folder { folder }) => status(folder)?,
        Command::Commit(Folder { folder }) => {
            each(folder, "finish", PendingCommit::finish)?;
        }
        Command::Discard(Folder { folder }) => {
            each(folder, "discard", PendingCommit::discard)?;
        }
    }
    Ok(Exit::SUCCESS)
}

fn status(folder: &Path) -> anyhow::Result<()> {
    let mut out = io::stdout();
    let pending = find(folder)?;
    let lines: String = pending
        .iter()
        .map(|commit| format!("{}\n", left(commit)))
        .collect();
    let text = if lines.is_empty() {
        "no commit was interrupted\n"
    } else {
        &lines
    };
    out.write_all(text.as_bytes())
        .context("cannot write to standard output")
}

/// Does this with each, oldest first.
fn each(
    folder: &Path,
    what: &str,
    mut act: impl FnMut(PendingCommit) -> Result<(), nucleus_core::ChangesError>,
) -> anyhow::Result<()> {
    let pending = find(folder)?;
    if pending.is_empty() {
        report::note(format_args!(
            "no commit to {} was interrupted",
            folder.display()
        ));
    }
    for commit in pending {
        act(commit).with_context(|| format!("cannot {what} the commit to {}", folder.display()))?;
    }
    PendingCommit::sweep(folder).with_context(|| format!("cannot tidy up {}", folder.display()))
}

fn find(folder: &Path) -> anyhow::Result<Vec<PendingCommit>> {
    PendingCommit::find(folder).map_err(|error| match error {
        ChangesError::Folder { .. } => error.into(),
        other => anyhow::Error::new(other).context(format!(
            "cannot look for interrupted commits to {}",
            folder.display()
        )),
    })
}

fn left(commit: &PendingCommit) -> String {
    format!(
        "a commit was interrupted after {} of {} changes",
        commit.done(),
        commit.total()
    )
}

/// Fails if a commit to the folder was interrupted: a program would see a part
/// of its changes.
pub(crate) fn check(folder: &Path) -> anyhow::Result<()> {
    let pending = find(folder)?;
    match pending.first() {
        None => Ok(()),
        Some(commit) => {
            let folder = folder.display();
            anyhow::bail!(
                "{} to {folder}; finish it with: nucleus workspace commit {folder}; \
                 or forget the rest with: nucleus workspace discard {folder}",
                left(commit),
            )
        }
    }
}

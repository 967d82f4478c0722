//! Running other programs, and a list of steps that all run and are summed up.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use cargo_metadata::{Metadata, MetadataCommand};

/// The directory that holds the workspace's `Cargo.toml`.
pub(crate) fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// The cargo that runs us, started in the workspace root.
pub(crate) fn cargo() -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(root());
    command
}

/// The workspace's own packages and targets.
pub(crate) fn metadata() -> Result<Metadata> {
    let mut command = MetadataCommand::new();
    command.current_dir(root()).no_deps();
    command.exec().context("reading the workspace's metadata")
}

/// Prints the command, runs it, and fails unless it ends with status 0.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    eprintln!("$ {}", display(command));
    let status = command
        .status()
        .with_context(|| format!("starting `{}`", display(command)))?;
    if !status.success() {
        bail!("`{}` failed: {status}", display(command));
    }
    Ok(())
}

/// The command's standard output; fails unless it ends with status 0.
pub(crate) fn output(command: &mut Command) -> Result<Vec<u8>> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("starting `{}`", display(command)))?;
    if !output.status.success() {
        bail!("`{}` failed: {}", display(command), output.status);
    }
    Ok(output.stdout)
}

/// Whether `program` is in one of the directories of `PATH`.
pub(crate) fn installed(program: &str) -> bool {
    find(program).is_some()
}

/// Where `program` is found: in `PATH`, or where Debian keeps what only root
/// is thought to need.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
}

fn display(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(OsStr::to_string_lossy).collect();
    words.join(" ")
}

/// Steps that all run, whatever came of those before.
#[derive(Default)]
pub(crate) struct Steps {
    done: Vec<(String, Duration, Outcome)>,
}

enum Outcome {
    Passed,
    Failed,
    Skipped(String),
}

impl Steps {
    pub(crate) fn run(&mut self, name: &str, step: impl FnOnce() -> Result<()>) {
        eprintln!("\n=== {name}");
        let start = Instant::now();
        let outcome = match step() {
            Ok(()) => Outcome::Passed,
            Err(error) => {
                eprintln!("{name}: {error:#}");
                Outcome::Failed
            }
        };
        self.done.push((name.to_owned(), start.elapsed(), outcome));
    }

    pub(crate) fn skip(&mut self, name: &str, why: &str) {
        eprintln!("\n=== {name}\nSKIPPED: {why}");
        let outcome = Outcome::Skipped(why.to_owned());
        self.done.push((name.to_owned(), Duration::ZERO, outcome));
    }

    /// Prints one line for each step; the exit code says whether all passed.
    pub(crate) fn finish(self) -> ExitCode {
        eprintln!();
        let mut code = ExitCode::SUCCESS;
        for (name, took, outcome) in self.done {
            let took = took.as_secs_f32();
            match outcome {
                Outcome::Passed => eprintln!("passed  {took:6.1} s  {name}"),
                Outcome::Skipped(why) => eprintln!("SKIPPED {:8}  {name}: {why}", ""),
                Outcome::Failed => {
                    eprintln!("FAILED  {took:6.1} s  {name}");
                    code = ExitCode::FAILURE;
                }
            }
        }
        code
    }
}

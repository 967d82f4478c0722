//! Runs a program as nobody, whom the checkout may be closed to.

use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::shell;

/// `nobody` and `nogroup`, on every distribution that we know.
const NOBODY: u32 = 65534;

/// What the test runner puts before the command line of each test.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The home and temporary directory
    home: PathBuf,
    /// The program and its arguments
    #[arg(trailing_var_arg = true, required = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// Becomes the program.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let error = command(&args.home)?.args(&args.command).exec();
    Err(error).context("starting unshare")
}

/// A directory of nobody's.
pub(crate) fn home() -> Result<TempDir> {
    let home = tempfile::tempdir().context("making a home for nobody")?;
    std::os::unix::fs::chown(home.path(), Some(NOBODY), Some(NOBODY))
        .context("giving nobody a home")?;
    Ok(home)
}

/// What runs the program that is its next argument as nobody.
///
/// Nobody may be shut out of the checkout (below `/root`, say). So the program
/// sees a private mount tree in which the checkout is at the same place, and
/// an ancestor that shuts nobody out is replaced by an empty directory.
pub(crate) fn command(home: &Path) -> Result<Command> {
    let script = r#"
        directory=$PWD
        if [ -n "$HIDDEN" ]; then
            mount --bind "$CHECKOUT" "$HOME"
            mount -t tmpfs -o mode=755 tmpfs "$HIDDEN"
            mkdir -p "$CHECKOUT"
            mount --move "$HOME" "$CHECKOUT"
        fi
        cd "$directory"
        exec setpriv --reuid=65534 --regid=65534 --clear-groups "$@"
    "#;
    let checkout = shell::root();
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private"]);
    command.args(["sh", "-euc", script, "sh"]);
    command
        .env("CHECKOUT", &checkout)
        .env("HIDDEN", shut_ancestor(&checkout)?.unwrap_or_default())
        .env("HOME", home)
        .env("TMPDIR", home);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO") || name == "RUSTUP_HOME" {
            command.env_remove(name);
        }
    }
    Ok(command)
}

/// The topmost ancestor of `path` that others may not search.
fn shut_ancestor(path: &Path) -> Result<Option<PathBuf>> {
    let mut ancestors: Vec<_> = path.ancestors().collect();
    ancestors.reverse();
    for ancestor in ancestors {
        let status = std::fs::metadata(ancestor)
            .with_context(|| format!("looking at {}", ancestor.display()))?;
        if status.mode() & 0o001 == 0 {
            return Ok(Some(ancestor.to_path_buf()));
        }
    }
    Ok(None)
}

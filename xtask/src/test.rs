//! `cargo xtask test`: the one command that runs the tests.
//!
//! The end-to-end tests hold for every user. Run by root, they run a second
//! time as nobody, who may do less and so is asked different questions.

use std::collections::BTreeSet;
use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};
use tempfile::NamedTempFile;

use crate::build::{self, Built};
use crate::shell::{self, Steps, cargo};

/// `nobody` and `nogroup`, on every distribution that we know.
const NOBODY: u32 = 65534;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run only the tests whose name holds this text
    filter: Option<String>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let mut steps = Steps::default();
    eprintln!("=== build");
    let built = build::tests()?;
    let skips = Skips::new()?;

    let everything = if rustix::process::geteuid().is_root() {
        "tests as root"
    } else {
        "tests"
    };
    steps.run(everything, || {
        let mut command = cargo();
        if shell::installed("cargo-nextest") {
            command.args(["nextest", "run", "--workspace", "--no-fail-fast"]);
            command.args(args.filter.iter()).arg("--no-tests=pass");
        } else {
            command.args([
                "test",
                "--workspace",
                "--lib",
                "--bins",
                "--tests",
                "--no-fail-fast",
            ]);
            command.args(args.filter.iter());
        }
        shell::run(
            command
                .env(build::NUCLEUS, &built.nucleus)
                .env(SKIPS, skips.path()),
        )
    });
    steps.run("tests in the documentation", || {
        let mut command = cargo();
        command.args(["test", "--workspace", "--doc", "--no-fail-fast"]);
        shell::run(command.args(args.filter.iter()))
    });
    if rustix::process::geteuid().is_root() {
        for test in built.end_to_end() {
            steps.run(&format!("{} as nobody", test.name), || {
                as_nobody(&built, test, args.filter.as_deref(), &skips)
            });
        }
    }
    skips.print()?;
    Ok(steps.finish())
}

/// Where tests note what they do not try: test runners keep quiet about the
/// output of tests that pass.
const SKIPS: &str = "NUCLEUS_TEST_SKIPS";

struct Skips(NamedTempFile);

impl Skips {
    fn new() -> Result<Self> {
        let file = NamedTempFile::new().context("making a file for skipped tests")?;
        // Nobody writes to it, too.
        let all = Permissions::from_mode(0o666);
        file.as_file()
            .set_permissions(all)
            .context("opening a file to all")?;
        Ok(Self(file))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn print(&self) -> Result<()> {
        let text = std::fs::read_to_string(self.path()).context("reading what was skipped")?;
        let lines: BTreeSet<&str> = text.lines().collect();
        if !lines.is_empty() {
            eprintln!("\n=== skipped");
        }
        for line in lines {
            eprintln!("{line}");
        }
        Ok(())
    }
}

/// Runs one test binary as nobody, with a home and a temporary directory.
///
/// Nobody may be shut out of the checkout (below `/root`, say). So the test
/// sees a private mount tree in which the checkout is at the same place, and
/// an ancestor that shuts nobody out is replaced by an empty directory.
fn as_nobody(built: &Built, test: &build::Test, filter: Option<&str>, skips: &Skips) -> Result<()> {
    let home = tempfile::tempdir().context("making a home for nobody")?;
    std::os::unix::fs::chown(home.path(), Some(NOBODY), Some(NOBODY))
        .context("giving nobody a home")?;

    let script = r#"
        if [ -n "$HIDDEN" ]; then
            mount --bind "$CHECKOUT" "$HOME"
            mount -t tmpfs -o mode=755 tmpfs "$HIDDEN"
            mkdir -p "$CHECKOUT"
            mount --move "$HOME" "$CHECKOUT"
        fi
        cd "$PACKAGE"
        exec setpriv --reuid=65534 --regid=65534 --clear-groups "$@"
    "#;
    let checkout = shell::root();
    let mut command = Command::new("unshare");
    command.args([
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-euc",
        script,
        "sh",
    ]);
    command.arg(&test.executable).args(filter);
    command
        .env("CHECKOUT", &checkout)
        .env("HIDDEN", shut_ancestor(&checkout)?.unwrap_or_default())
        .env("PACKAGE", &test.package)
        .env("HOME", home.path())
        .env("TMPDIR", home.path())
        .env(build::NUCLEUS, &built.nucleus)
        .env(SKIPS, skips.path());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO") || name == "RUSTUP_HOME" {
            command.env_remove(name);
        }
    }
    shell::run(&mut command)
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

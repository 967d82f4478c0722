//! `cargo xtask test`: the one command that runs the tests.
//!
//! The end-to-end tests hold for every user. Run by root, they run a second
//! time as nobody, who may do less and so is asked different questions.

use std::collections::BTreeSet;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};
use tempfile::NamedTempFile;

use crate::build::{self, END_TO_END};
use crate::nobody;
use crate::shell::{self, Steps, cargo};

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
    let run = |command: &mut Command| {
        let command = command.args(&args.filter);
        let command = command.env(build::NUCLEUS, &built.nucleus);
        shell::run(command.env(SKIPS, skips.path()))
    };
    let nextest = shell::installed("cargo-nextest");
    let root = rustix::process::geteuid().is_root();

    let everything = if root { "tests as root" } else { "tests" };
    steps.run(everything, || {
        let mut command = cargo();
        if nextest {
            return run(command.args(NEXTEST));
        }
        let args = "test --workspace --lib --bins --tests --no-fail-fast";
        run(command.args(args.split(' ')))
    });
    steps.run("tests in the documentation", || {
        run(cargo().args(["test", "--workspace", "--doc", "--no-fail-fast"]))
    });
    if root && nextest {
        let home = nobody::home()?;
        let runner = runner(home.path())?;
        steps.run("end-to-end tests as nobody", || {
            let filter = format!("package({END_TO_END}) and kind(test)");
            let command = &mut cargo();
            run(command
                .args(NEXTEST)
                .args(["-E", &filter, "--config", &runner]))
        });
    } else if root {
        for test in built.end_to_end() {
            let home = nobody::home()?;
            steps.run(&format!("{} as nobody", test.name), || {
                let mut command = nobody::command(home.path())?;
                run(command.arg(&test.executable).current_dir(&test.package))
            });
        }
    }
    skips.print()?;
    Ok(steps.finish())
}

/// A process for each test, and a limit to its time.
const NEXTEST: &[&str] = &[
    "nextest",
    "run",
    "--workspace",
    "--no-fail-fast",
    "--no-tests=pass",
];

/// What has cargo start each program by `cargo xtask nobody`.
fn runner(home: &Path) -> Result<String> {
    let own = std::env::current_exe().context("finding our own program")?;
    Ok(format!(
        "target.'cfg(all())'.runner = [{own:?}, \"nobody\", {home:?}]"
    ))
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

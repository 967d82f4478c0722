//! `cargo xtask check`: everything that is checked and is not a test.

use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::shell::{self, Steps, cargo};
use crate::tidy;

const FOREIGN_TARGET: &str = "aarch64-unknown-linux-gnu";

#[derive(clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_: &Args) -> Result<ExitCode> {
    let metadata = shell::metadata()?;
    let mut steps = Steps::default();

    steps.run("format", || {
        shell::run(cargo().args(["fmt", "--all", "--check"]))
    });
    steps.run("tidy", || tidy::check(&metadata));
    steps.run("clippy", || {
        let args = "clippy --workspace --all-targets --locked -- -D warnings";
        shell::run(cargo().args(args.split(' ')))
    });
    steps.run("documentation", || {
        let args = "doc --workspace --no-deps --locked";
        shell::run(
            cargo()
                .args(args.split(' '))
                .env("RUSTDOCFLAGS", "-D warnings"),
        )
    });

    for package in metadata.workspace_packages() {
        for example in package.targets.iter().filter(|target| target.is_example()) {
            steps.run(
                &format!("example {} of {}", example.name, package.name),
                || {
                    let args = ["run", "--quiet", "--locked", "--package", &package.name];
                    shell::run(cargo().args(args).args(["--example", &example.name]))
                },
            );
        }
    }

    let foreign = format!("type check for {FOREIGN_TARGET}");
    if has_std(FOREIGN_TARGET)? {
        steps.run(&foreign, || {
            let args = "check --workspace --all-targets --locked --target";
            shell::run(cargo().args(args.split(' ')).arg(FOREIGN_TARGET))
        });
    } else {
        let why = format!("its standard library is missing; `rustup target add {FOREIGN_TARGET}`");
        steps.skip(&foreign, &why);
    }

    if shell::installed("cargo-deny") {
        steps.run("dependencies", || {
            let args = "deny --all-features --locked check bans licenses sources";
            shell::run(cargo().args(args.split(' ')))
        });
    } else {
        let why = "cargo-deny is missing; `cargo install cargo-deny --locked`";
        steps.skip("dependencies", why);
    }
    Ok(steps.finish())
}

/// Whether the standard library of `target` is installed for our compiler.
fn has_std(target: &str) -> Result<bool> {
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "target-libdir", "--target", target]);
    let directory = shell::output(rustc.current_dir(shell::root()))?;
    let directory = String::from_utf8_lossy(&directory);
    Ok(std::fs::read_dir(directory.trim_end()).is_ok_and(|mut entries| entries.next().is_some()))
}

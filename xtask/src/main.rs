//! The project's own tasks, run as `cargo xtask TASK`.

mod bench;
mod build;
mod check;
mod dist;
mod fuzz;
mod nobody;
mod shell;
mod test;
mod tidy;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's own tasks")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// What nucleus costs, next to what its peers cost
    Bench(bench::Args),
    /// Format, lints, documentation, dependencies, examples: all that is not a test
    Check(check::Args),
    /// Every test that this machine can run; as root, the end-to-end tests a second time as nobody
    Test(test::Args),
    /// The tests in virtual machines, on the oldest kernel that we promise and on the newest
    VmTest(vm::Args),
    /// The fuzz targets, each for some seconds
    Fuzz(fuzz::Args),
    /// Run a program as nobody, as tests are
    #[command(hide = true)]
    Nobody(nobody::Args),
    /// The binary as it is shipped, shell completions and man pages
    Dist(dist::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().task {
        Task::Bench(args) => bench::run(&args),
        Task::Check(args) => check::run(&args),
        Task::Test(args) => test::run(&args),
        Task::VmTest(args) => vm::run(&args),
        Task::Fuzz(args) => fuzz::run(&args),
        Task::Nobody(args) => nobody::run(&args),
        Task::Dist(args) => dist::run(&args),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::from(2)
        }
    }
}

//! The command line, and the way from arguments to an exit code.

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::commands;
use crate::exit::Exit;
use crate::report;

/// Runs any program in a tight sandbox, learns which system calls it needs,
/// enforces the smallest profile that works, and explains every denial.
#[derive(Debug, Parser)]
#[command(name = "nucleus", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(commands::run::Args),
    Trace(commands::trace::Args),
    Learn(commands::learn::Args),
    Explain(commands::explain::Args),
    /// Make, check and look at seccomp profiles and filters
    #[command(subcommand)]
    Seccomp(commands::seccomp::Command),
    /// See what filters deny, of any process
    #[command(subcommand)]
    Audit(commands::audit::Command),
    Doctor(commands::doctor::Args),
    #[command(hide = true)]
    CgroupJanitor(commands::sandbox::cgroup::JanitorArgs),
}

/// The definition of the command line, for man pages and shell completions.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    match run(cli.command) {
        Ok(exit) => exit.into(),
        Err(error) => {
            report::error(&error);
            Exit::of(&error).into()
        }
    }
}

fn run(command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Run(args) => commands::run::run(&args),
        Command::Trace(args) => commands::trace::run(&args),
        Command::Learn(args) => commands::learn::run(&args),
        Command::Explain(args) => commands::explain::run(&args),
        Command::Seccomp(command) => commands::seccomp::run(command),
        Command::Audit(command) => commands::audit::run(&command),
        Command::Doctor(args) => commands::doctor::run(&args),
        Command::CgroupJanitor(args) => commands::sandbox::cgroup::janitor(&args),
    }
}

/// Help and version are successes; a wrong command line is a failure of
/// nucleus (125), so that it is never taken for the program's own code.
fn usage(error: &clap::Error) -> ExitCode {
    if error.print().is_err() || error.use_stderr() {
        return Exit::FAILURE.into();
    }
    Exit::SUCCESS.into()
}

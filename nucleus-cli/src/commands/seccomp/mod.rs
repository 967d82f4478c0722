//! `nucleus seccomp`: profiles and filters as things to make and look at.

mod disasm;
mod input;
mod list;

use clap::Subcommand;

use crate::exit::Exit;

/// The subcommands, one module each.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show a filter as text
    Disasm(disasm::Args),
    /// List system calls with their numbers
    List(list::Args),
}

/// Runs one of them.
pub(crate) fn run(command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Disasm(args) => disasm::run(&args),
        Command::List(args) => list::run(&args),
    }
}

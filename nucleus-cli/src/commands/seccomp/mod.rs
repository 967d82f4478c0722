//! `nucleus seccomp`: profiles and filters as things to make and look at.

mod disasm;
pub(crate) mod generate;
mod input;
mod list;

use clap::Subcommand;

use crate::exit::Exit;

/// The subcommands, one module each.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show a filter as text
    Disasm(disasm::Args),
    /// Make the smallest profile that allows what traces hold
    Generate(generate::Args),
    /// List system calls with their numbers
    List(list::Args),
}

/// Runs one of them.
pub(crate) fn run(command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Disasm(args) => disasm::run(&args),
        Command::Generate(args) => generate::run(&args),
        Command::List(args) => list::run(&args),
    }
}

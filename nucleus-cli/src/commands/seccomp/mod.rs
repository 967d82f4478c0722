//! `nucleus seccomp`: profiles and filters as things to make and look at.

pub(super) mod call;
mod compile;
mod diff;
mod difftest;
mod disasm;
mod export;
pub(crate) mod generate;
mod input;
mod lint;
mod list;
mod merge;
mod output;
pub(crate) mod profile;
mod simulate;
pub(super) mod target;
mod verify;

use clap::Subcommand;

use crate::exit::Exit;

/// The subcommands, one module each.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a filter of a profile
    Compile(compile::Args),
    /// Compare the filter of a profile with libseccomp's
    Difftest(difftest::Args),
    /// Show a filter as text
    Disasm(disasm::Args),
    /// Make the smallest profile that allows what traces hold
    Generate(generate::Args),
    /// Write a profile in a form that another tool takes
    Export(export::Args),
    /// Show what differs between two profiles
    Diff(diff::Args),
    /// Merge profiles to one
    Merge(merge::Args),
    /// Find weaknesses of a profile or a filter
    Lint(lint::Args),
    /// List system calls with their numbers
    List(list::Args),
    /// Run a filter on calls, as the kernel does
    Simulate(simulate::Args),
    /// Prove that a filter does what a profile says
    Verify(verify::VerifyArgs),
    /// Prove that two profiles or filters are the same
    Equal(verify::PairArgs),
    /// Prove that one profile or filter lets nothing through that another denies
    Subset(verify::PairArgs),
}

/// Runs one of them.
pub(crate) fn run(command: &Command) -> anyhow::Result<Exit> {
    match command {
        Command::Compile(args) => compile::run(args),
        Command::Difftest(args) => difftest::run(args),
        Command::Disasm(args) => disasm::run(args),
        Command::Generate(args) => generate::run(args),
        Command::Export(args) => export::run(args),
        Command::Diff(args) => diff::run(args),
        Command::Merge(args) => merge::run(args),
        Command::Lint(args) => lint::run(args),
        Command::List(args) => list::run(args),
        Command::Simulate(args) => simulate::run(args),
        Command::Verify(args) => verify::verify(args),
        Command::Equal(args) => verify::equal(args),
        Command::Subset(args) => verify::subset(args),
    }
}

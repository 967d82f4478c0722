//! `nucleus audit`: the kernel's records of denials.

mod find_cgroup;
mod line;
mod target_end;
mod watch;

use clap::Subcommand;

use crate::exit::Exit;

/// The subcommands, one module each.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Watch(watch::Args),
}

/// Runs one of them.
pub(crate) fn run(command: &Command) -> anyhow::Result<Exit> {
    match command {
        Command::Watch(args) => watch::run(args),
    }
}

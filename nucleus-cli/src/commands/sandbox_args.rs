//! What every command that runs a program takes: the sandbox around it.

use std::collections::BTreeSet;

use anyhow::Context;
use caps::CapSet;
use nucleus_core::{Command, View};

use super::program::Program;

/// The sandbox around the program.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Sandbox")]
pub(crate) struct SandboxArgs {
    /// Leave the program in the host's view, with the seccomp filter alone
    #[arg(long)]
    host: bool,
}

impl SandboxArgs {
    /// The program in this sandbox, without a filter yet.
    pub(crate) fn command(&self, program: &Program) -> anyhow::Result<Command> {
        let [name, arguments @ ..] = program.command.as_slice() else {
            anyhow::bail!("no program given; put it behind --, as in: -- ls -l /");
        };
        let mut command = Command::new(name);
        command.args(arguments);
        if self.host {
            command.view(View::Host);
        }
        Ok(command)
    }

    /// The capabilities that the program will be able to have, by the kernel's
    /// names: what conditions of a profile are decided by.
    pub(crate) fn capabilities(&self) -> anyhow::Result<BTreeSet<String>> {
        if !self.host {
            return Ok(BTreeSet::new());
        }
        let bounding = caps::read(None, CapSet::Effective)
            .context("cannot read the capabilities of this process")?;
        Ok(bounding.iter().map(ToString::to_string).collect())
    }
}

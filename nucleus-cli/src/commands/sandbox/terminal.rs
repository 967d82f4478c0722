//! How the program is connected to the caller's terminal.

use std::io::IsTerminal;

use nucleus_core::Terminal;

/// The program's terminal.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Terminal")]
pub(crate) struct TerminalArgs {
    /// Give the program a terminal of its own, joined to this one, with job control
    ///
    /// It cannot reach this terminal by any other way than what it shows, and
    /// its standard error is shown on standard output. With --host there is no
    /// such wall: the program has this terminal itself, with job control.
    #[arg(short, long)]
    tty: bool,
}

impl TerminalArgs {
    /// The program's terminal: one of its own; or none if it does not read from
    /// this one; or this one, which then controls it.
    pub(crate) fn terminal(&self) -> anyhow::Result<Terminal> {
        Ok(if self.tty {
            Terminal::New(crate::terminal::size()?)
        } else if std::io::stdin().is_terminal() {
            Terminal::Shared
        } else {
            Terminal::Detached
        })
    }
}

//! Signals that nucleus passes on to the program while it waits for it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::Context;

use crate::sys::{self, Arrived};

/// What a user or a service manager sends to a running command. SIGTSTP and
/// its kin stay as they are: the whole job stops and goes on together.
const FORWARDED: [i32; 7] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGWINCH,
];

/// The forwarded signals, blocked and waiting to be read.
#[derive(Debug)]
pub(crate) struct Signals(OwnedFd);

impl Signals {
    /// Blocks the forwarded signals in this thread and in those it starts
    /// later. Must come before the program is launched: a signal that arrives
    /// in between waits instead of ending nucleus alone.
    pub(crate) fn block() -> anyhow::Result<Self> {
        sys::block_and_open(&FORWARDED)
            .map(Self)
            .context("cannot block signals to pass them on")
    }

    /// The next signal that has arrived, if any.
    pub(crate) fn next(&self) -> io::Result<Option<Arrived>> {
        sys::next_signal(self.0.as_fd())
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

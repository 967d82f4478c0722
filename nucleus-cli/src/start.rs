//! What of Rust's runtime nucleus relies on: its `main` is called without it.

use std::io;
use std::os::fd::IntoRawFd;

use anyhow::Context;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::stdio::{stderr, stdin, stdout};

use crate::sys;

/// Before anything is opened or written: standard streams that are closed are
/// opened, and a write that nobody reads is an error instead of a signal.
pub(crate) fn prepare() -> anyhow::Result<()> {
    open_streams().context("cannot open /dev/null in place of a closed standard stream")?;
    sys::ignore_broken_pipes();
    Ok(())
}

/// Otherwise the next files to be opened would be the standard streams.
fn open_streams() -> io::Result<()> {
    for stream in [stdin(), stdout(), stderr()] {
        if rustix::io::fcntl_getfd(stream) == Err(Errno::BADF) {
            // The kernel gives the lowest number that is free: this one.
            let null = rustix::fs::open("/dev/null", OFlags::RDWR, Mode::empty())?;
            let _open_from_now_on = null.into_raw_fd();
        }
    }
    Ok(())
}

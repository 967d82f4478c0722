//! What a call can be answered with.

use std::fmt;
use std::os::fd::OwnedFd;

use rustix::io::Errno;

/// Why the kernel may go on with a call.
///
/// It reads every argument again then, so that what was seen behind a pointer
/// may have been replaced: only these are grounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grounds {
    /// Nothing but the registers was looked at, and they cannot change.
    RegistersAlone,
    /// Something behind a pointer was looked at, but nothing that is protected
    /// rests on it; the text says why.
    NothingSensitive(&'static str),
}

/// The answer to a call.
#[derive(Debug)]
pub enum Reply {
    /// The kernel goes on with it.
    Continue(Grounds),
    /// It returns this, without being executed.
    Value(i64),
    /// It fails with this, without being executed.
    Errno(Errno),
    /// It gets a descriptor.
    Fd(NewFd),
    /// The process is killed (SIGKILL).
    Kill,
}

/// A descriptor for the caller.
pub struct NewFd {
    /// What it becomes a duplicate of.
    pub fd: OwnedFd,
    /// The number to give it, in place of what has that number (`dup2`); the
    /// lowest free one otherwise.
    pub number: Option<u32>,
    /// Whether it is closed when the caller executes another program.
    pub close_on_exec: bool,
    /// What the call returns.
    pub result: FdResult,
    /// Called with the number that it got, before the caller runs on where the
    /// result is a value, and possibly after it where it is the number.
    pub told: Option<Box<dyn FnOnce(i32) + Send>>,
}

/// What a call returns that gets a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FdResult {
    /// The number; given and answered in one step (5.14).
    Number,
    /// Something else, such as 0.
    Value(i64),
}

impl NewFd {
    /// The lowest free number, which is also the result; closed on exec.
    #[must_use]
    pub const fn new(fd: OwnedFd) -> Self {
        Self {
            fd,
            number: None,
            close_on_exec: true,
            result: FdResult::Number,
            told: None,
        }
    }
}

impl fmt::Debug for NewFd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewFd")
            .field("fd", &self.fd)
            .field("number", &self.number)
            .field("close_on_exec", &self.close_on_exec)
            .field("result", &self.result)
            .finish_non_exhaustive()
    }
}

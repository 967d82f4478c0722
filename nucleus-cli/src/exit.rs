//! Exit codes: the one table (as `env`, `timeout` and `chroot` use them).

use std::process::ExitCode;

/// Equivalent, equal, clean, done.
pub(crate) const SUCCESS: u8 = 0;
/// A comparison or a check that says "no".
pub(crate) const DIFFERENT: u8 = 1;
/// nucleus itself failed; the program may not have run.
pub(crate) const FAILURE: u8 = 125;

/// How a command ended, when nothing failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exit(u8);

impl Exit {
    pub(crate) const SUCCESS: Self = Self(SUCCESS);
    pub(crate) const DIFFERENT: Self = Self(DIFFERENT);
    pub(crate) const FAILURE: Self = Self(FAILURE);

    /// The exit code that stands for "ended with this code".
    pub(crate) const fn code(code: u8) -> Self {
        Self(code)
    }

    /// The exit code that stands for "killed by this signal": 128 and its number.
    pub(crate) fn signal(signal: i32) -> Self {
        Self(u8::try_from(128 + (signal & 0x7f)).unwrap_or(u8::MAX))
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.0)
    }
}

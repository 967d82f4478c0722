//! Exit codes: the one table (as `env`, `timeout` and `chroot` use them).

use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus};

use nucleus_core::LaunchError;

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
}

impl Exit {
    /// What a failure ends with: 126 and 127 for a program that could not be
    /// executed or found, 125 for everything else.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        error
            .downcast_ref::<LaunchError>()
            .map_or(Self::FAILURE, |error| Self(error.exit_code()))
    }
}

impl From<ExitStatus> for Exit {
    /// The program's own code, or 128 and the number of the signal that killed it.
    fn from(status: ExitStatus) -> Self {
        let code = status
            .code()
            .or_else(|| status.signal().map(|signal| 128 + signal));
        Self(
            code.and_then(|code| u8::try_from(code).ok())
                .unwrap_or(FAILURE),
        )
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.0)
    }
}

//! Exit codes: the one table (as `env`, `timeout` and `chroot` use them).

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use nucleus_core::LaunchError;

/// Equivalent, equal, clean, done.
pub(crate) const SUCCESS: u8 = 0;
/// A comparison or a check that says "no".
pub(crate) const DIFFERENT: u8 = 1;
/// The program was ended because its time was up.
pub(crate) const TIMED_OUT: u8 = 124;
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

    pub(crate) const fn code(self) -> u8 {
        self.0
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

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The program came to its own end, or something else killed it.
    Itself(ExitStatus),
    /// nucleus ended it.
    TimedOut,
}

impl Ended {
    /// Whether it was killed as the kernel kills for a call that a filter forbids.
    pub(crate) fn is_by_sigsys(self) -> bool {
        matches!(self, Self::Itself(status) if status.signal() == Some(libc::SIGSYS))
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Itself(status) => status.fmt(f),
            Self::TimedOut => f.write_str("time-out"),
        }
    }
}

impl From<Ended> for Exit {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Itself(status) => status.into(),
            Ended::TimedOut => Self(TIMED_OUT),
        }
    }
}

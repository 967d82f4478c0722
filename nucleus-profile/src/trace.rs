//! What a program called.

use std::collections::BTreeMap;
use std::ffi::OsString;

use nucleus_seccomp::{Arch, Completeness, Syscall};

use crate::{Arguments, Error};

/// The system calls of one run, or of several merged: how often each was made,
/// with which arguments, and whether any are missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    pub(crate) calls: BTreeMap<Syscall, Call>,
    pub(crate) origin: Origin,
    pub(crate) completeness: Completeness,
}

/// One system call of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// How often it was made; never 0.
    pub count: u64,
    /// With which arguments, where they are worth remembering.
    pub arguments: Arguments,
}

/// Where a trace comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// The event source, such as `ptrace`; empty where unknown.
    pub source: String,
    /// The kernel's release (`uname -r`); empty where unknown.
    pub kernel: String,
    /// The native architecture of the machine, or `None` where unknown.
    pub arch: Option<Arch>,
    /// The command and its arguments; empty where unknown.
    pub command: Vec<OsString>,
}

impl Origin {
    /// A run of `command` on this machine, seen by `source`.
    #[must_use]
    pub fn here(source: &str, command: Vec<OsString>) -> Self {
        Self {
            source: source.to_owned(),
            kernel: rustix::system::uname()
                .release()
                .to_string_lossy()
                .into_owned(),
            arch: Arch::native(),
            command,
        }
    }
}

impl Trace {
    /// The calls, by architecture and number.
    #[must_use]
    pub const fn calls(&self) -> &BTreeMap<Syscall, Call> {
        &self.calls
    }

    /// Where the trace comes from.
    #[must_use]
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Whether every call of the run is in the trace.
    #[must_use]
    pub const fn completeness(&self) -> &Completeness {
        &self.completeness
    }

    /// How many calls were made altogether.
    #[must_use]
    pub fn total(&self) -> u64 {
        // The reader and `merge` have checked that the sum fits.
        self.calls.values().map(|call| call.count).sum()
    }

    /// Adds the calls of `other`. The origin stays; the result is complete
    /// when both are.
    ///
    /// # Errors
    ///
    /// [`Error::CountOverflow`] when the counts do not fit into 64 bits;
    /// nothing is added then.
    pub fn merge(&mut self, other: &Self) -> Result<(), Error> {
        self.total()
            .checked_add(other.total())
            .ok_or(Error::CountOverflow)?;
        for (syscall, theirs) in &other.calls {
            self.calls
                .entry(*syscall)
                .and_modify(|mine| {
                    mine.count += theirs.count;
                    mine.arguments.merge(&theirs.arguments);
                })
                .or_insert_with(|| theirs.clone());
        }
        if let Completeness::Incomplete { lost, why } = &other.completeness {
            let losses = std::iter::once(*lost).chain(std::iter::repeat(Some(0)));
            for (reason, lost) in why.iter().zip(losses) {
                self.completeness.lose(lost, reason);
            }
        }
        Ok(())
    }

    /// The calls that `self` holds and `other` does not.
    pub fn only_here<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = (Syscall, &'a Call)> {
        self.calls
            .iter()
            .filter(|(syscall, _)| !other.calls.contains_key(syscall))
            .map(|(syscall, call)| (*syscall, call))
    }
}

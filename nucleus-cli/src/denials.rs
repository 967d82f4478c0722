//! Denials as a user reads them: one line for each distinct one.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use nucleus_audit::{Call, Event};
use nucleus_seccomp::{Action, Arch};

use crate::filter;

/// The denials of a run, counted by what was denied to which program.
#[derive(Debug, Default)]
pub(crate) struct Denials(BTreeMap<Denial, u64>);

/// What makes two denials the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Denial {
    audit_arch: u32,
    nr: u32,
    action: Action,
    exe: Option<PathBuf>,
}

impl Denials {
    pub(crate) fn observe(&mut self, event: &Event) {
        if !event.action.is_denial() {
            return;
        }
        let denial = Denial {
            audit_arch: event.call.arch,
            nr: event.call.nr,
            action: event.action,
            exe: event.exe.clone(),
        };
        *self.0.entry(denial).or_default() += 1;
    }

    /// The denials and their counts, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Denial, u64)> {
        self.0.iter().map(|(denial, &count)| (denial, count))
    }
}

impl Denial {
    /// Whether the answer is the one that programs take as "this kernel does
    /// not have it, use the older call", which profiles give on purpose.
    pub(crate) fn is_probe(&self) -> bool {
        self.action == Action::Errno(filter::ENOSYS)
    }

    /// The call by name, or by number where no table knows it.
    pub(crate) fn call(&self) -> String {
        let call = Call {
            arch: self.audit_arch,
            nr: self.nr,
            instruction_pointer: 0,
            args: None,
        };
        match call.syscall() {
            Some(syscall) => syscall.to_string(),
            None => format!("#{} of AUDIT_ARCH {:#x}", self.nr, self.audit_arch),
        }
    }

    /// One line: what was denied, to whom, with which answer, and the change
    /// to `profile` that would allow it.
    pub(crate) fn describe<'a>(
        &'a self,
        count: u64,
        profile: Option<&'a Path>,
    ) -> impl fmt::Display + 'a {
        fmt::from_fn(move |f| self.write(f, count, profile))
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, count: u64, profile: Option<&Path>) -> fmt::Result {
        write!(f, "denied: {}", self.call())?;
        let arch = Arch::of(self.audit_arch, self.nr);
        if arch != Arch::native()
            && let Some(arch) = arch
        {
            write!(f, " ({arch})")?;
        }
        if let Some(exe) = &self.exe {
            write!(f, " by {}", exe.display())?;
        }
        match self.action {
            Action::Errno(errno) => {
                let error = std::io::Error::from_raw_os_error(errno.into());
                write!(f, " got {error}")?;
            }
            action => write!(f, " got {action}")?,
        }
        if count > 1 {
            write!(f, ", {count} times")?;
        }
        if self.is_probe() {
            return f.write_str("; programs fall back from that, nothing to do if it works");
        }
        match profile {
            Some(profile) => write!(
                f,
                "; to allow it, add {:?} to the names that {} allows",
                self.call(),
                profile.display()
            ),
            None => f.write_str("; to allow it, give a profile that does with --seccomp-profile"),
        }
    }
}

//! Denials as a user reads them: one line for each distinct one.

use std::fmt;
use std::path::Path;
use std::process::ExitStatus;

use nucleus_audit::{Call, Denial, DenialReport, Denials, Event, LogPurpose, PtraceMode, Scope};
use nucleus_core::Command;
use nucleus_seccomp::{Action, Arch, InstallFlags, Policy, SeccompData};

use crate::filter;
use crate::session::{self, WatchSource};

/// Runs `command` under `policy` to its end; tells what was denied. A tracer
/// denies as `mode` says.
pub(crate) fn watch(
    command: &mut Command,
    policy: &Policy,
    mode: PtraceMode,
    source: WatchSource,
) -> anyhow::Result<(ExitStatus, DenialReport)> {
    // The source passes on what is of this run alone.
    let mut denials = Denials::new(Scope::All);
    let watched = match source.log() {
        None => {
            command.filter_flags(policy.install_flags());
            command.filter(filter::reporting(policy)?);
            session::watch(command, mode, |event| {
                denials.see(event);
            })?
        }
        Some(kind) => {
            command.filter_flags(policy.install_flags() | InstallFlags::LOG);
            command.filter(filter::enforcing(policy)?);
            session::watch_log(command, kind, LogPurpose::Denials, |event| {
                denials.see(&with_errno(event, policy));
            })?
        }
    };
    Ok((watched.status, denials.report(watched.completeness)))
}

/// The kernel's records leave the errno out; the policy tells it, unless it
/// depends on arguments, which they leave out too.
fn with_errno(event: &Event, policy: &Policy) -> Event {
    let mut event = event.clone();
    if matches!(event.action, Action::Errno(_)) {
        let Call {
            arch,
            nr,
            instruction_pointer,
            ..
        } = event.call;
        let decided = policy.decide(&SeccompData {
            nr,
            arch,
            instruction_pointer,
            args: [0; 6],
        });
        if let Action::Errno(_) = decided {
            event.action = decided;
        }
    }
    event
}

/// Whether the answer is the one that programs take as "this kernel does not
/// have it, use the older call", which profiles give on purpose.
pub(crate) fn is_probe(denial: &Denial) -> bool {
    denial.action == Action::Errno(filter::ENOSYS)
}

/// The call by name, or by number where no table knows it.
pub(crate) fn name(call: &Call) -> String {
    match call.syscall() {
        Some(syscall) => syscall.to_string(),
        None => format!("#{} of AUDIT_ARCH {:#x}", call.nr, call.arch),
    }
}

/// What can be done about a denial.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Remedy<'a> {
    /// Change this profile.
    Change(&'a Path),
    /// Give a profile.
    Give,
    /// The caller says it: the profile is being made.
    Said,
}

/// One line: what was denied, to whom, with which answer, and what would
/// allow it.
pub(crate) fn describe<'a>(denial: &'a Denial, remedy: Remedy<'a>) -> impl fmt::Display + 'a {
    fmt::from_fn(move |f| write(f, denial, remedy))
}

fn write(f: &mut fmt::Formatter<'_>, denial: &Denial, remedy: Remedy<'_>) -> fmt::Result {
    let name = name(&denial.call);
    write!(f, "denied: {name}")?;
    let arch = Arch::of(denial.call.arch, denial.call.nr);
    if arch != Arch::native()
        && let Some(arch) = arch
    {
        write!(f, " ({arch})")?;
    }
    if let Some(exe) = &denial.exe {
        write!(f, " by {}", exe.display())?;
    }
    match denial.action {
        Action::Errno(0) => f.write_str(" got the profile's errno")?,
        Action::Errno(errno) => {
            let error = std::io::Error::from_raw_os_error(errno.into());
            write!(f, " got {error}")?;
        }
        action => write!(f, " got {action}")?,
    }
    if denial.count > 1 {
        write!(f, ", {} times", denial.count)?;
    }
    if is_probe(denial) {
        return f.write_str("; programs fall back from that, nothing to do if it works");
    }
    match remedy {
        Remedy::Change(profile) => write!(
            f,
            "; to allow it, add {name:?} to the names that {} allows",
            profile.display()
        ),
        Remedy::Give => {
            f.write_str("; to allow it, give a profile that does with --seccomp-profile")
        }
        Remedy::Said => Ok(()),
    }
}

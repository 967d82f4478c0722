//! Denials as a user reads them: one line for each distinct one.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use nucleus_audit::{Call, Denial, DenialReport, Event, LogPurpose, PtraceMode};
use nucleus_seccomp::{Action, Arch, Completeness, InstallFlags, Policy, SeccompData};

use crate::event_json::Verdict;
use crate::exit::Ended;
use crate::session::{Job, Logging};
use crate::supervise::{Filter, Supervision, Watch, Watcher};
use crate::told::Teller;
use crate::watch_source::{Means, WatchSource};
use crate::{filter, opening, sys};

/// Runs `job` under `policy` and its rules to its end, and sees what is denied.
/// A tracer denies as `mode` says.
pub(crate) fn watch(
    job: &mut Job,
    policy: &Policy,
    mode: PtraceMode,
    source: WatchSource,
    mut supervision: Supervision,
    teller: &Teller,
) -> anyhow::Result<(Ended, Completeness)> {
    let source = source.with_rules(&supervision);
    let (ended, verdict) = source.attempt(|means| {
        let supervision = std::mem::take(&mut supervision);
        let mut watch = Watch::default();
        let rules = teller.clone();
        watch.denied = Some(Arc::new(move |denied| rules.rule(denied)));
        let mut flags = policy.install_flags();
        let program = match means {
            Means::Tracer => {
                watch.tracer = Some(Watcher {
                    mode,
                    observe: Box::new(|event, pid| teller.profile(event, pid, &|_| None)),
                    is_optional: false,
                });
                filter::reporting(policy)?
            }
            Means::Log(kind) => {
                watch.log = Some(Logging {
                    kind,
                    purpose: LogPurpose::Denials,
                    observe: Box::new(|event, pid| {
                        teller.profile(&with_errno(event, policy), pid, &|_| None);
                    }),
                });
                flags |= InstallFlags::LOG;
                supervision.enforcing(policy)?
            }
        };
        supervision.run(job, Filter { program, flags }, watch)
    })?;
    Ok((ended, verdict.completeness))
}

/// Where every denial goes as NDJSON, the verdict as the last line.
#[derive(Debug)]
pub(crate) struct Events {
    file: File,
    failed: Option<io::Error>,
}

impl Events {
    /// Takes over a descriptor that nucleus was started with, away from the
    /// program.
    pub(crate) fn inherited(fd: u32) -> anyhow::Result<Self> {
        let file = sys::take_inherited(fd).with_context(|| {
            format!("cannot write events to descriptor {fd}; open it, as with {fd}>events")
        })?;
        Ok(Self { file, failed: None })
    }

    /// The program must not stop because nobody reads events any more: the
    /// first failure is told at the end.
    pub(crate) fn write(&mut self, line: &impl fmt::Display) {
        if self.failed.is_none() {
            self.failed = self.file.write_all(format!("{line}\n").as_bytes()).err();
        }
    }

    /// Writes the verdict.
    pub(crate) fn finish(mut self, report: &DenialReport) -> anyhow::Result<()> {
        self.write(&Verdict(report));
        match self.failed {
            None => Ok(()),
            Some(error) => Err(error).context("cannot write all events"),
        }
    }
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

/// Whether this answer is the one that programs take as "this kernel does not
/// have it, use the older call", which profiles give on purpose.
pub(crate) fn is_probe(action: Action) -> bool {
    action == Action::Errno(filter::ENOSYS)
}

/// The call by name, or by number where no table knows it.
pub(crate) fn name(call: &Call) -> String {
    match call.syscall() {
        Some(syscall) => syscall.to_string(),
        None => format!("#{} of AUDIT_ARCH {:#x}", call.nr, call.arch),
    }
}

/// The architecture of a call, if it is not the machine's own: a name alone
/// would be taken for the call of that.
pub(crate) fn foreign(call: &Call) -> Option<Arch> {
    Arch::of(call.arch, call.nr).filter(|arch| Some(*arch) != Arch::native())
}

/// What can be done about a denial.
#[derive(Debug, Clone)]
pub(crate) enum Remedy {
    /// Change this profile.
    Change(PathBuf),
    /// Give a profile.
    Give,
    /// Give an option of the sandbox, where one is enough.
    Option,
    /// The caller says it: the profile is being made.
    Said,
}

/// One line: what was denied, to whom, with which answer, and what would
/// allow it.
pub(crate) fn describe<'a>(denial: &'a Denial, remedy: &'a Remedy) -> impl fmt::Display + 'a {
    fmt::from_fn(move |f| write(f, denial, remedy))
}

fn write(f: &mut fmt::Formatter<'_>, denial: &Denial, remedy: &Remedy) -> fmt::Result {
    let name = name(&denial.call);
    write!(f, "denied: {name}")?;
    if let Some(arch) = foreign(&denial.call) {
        write!(f, " ({arch})")?;
    }
    if let Some(exe) = &denial.exe {
        write!(f, " by {}", exe.display())?;
    }
    answer(f, denial.action)?;
    if denial.count > 1 {
        write!(f, ", {} times", denial.count)?;
    }
    remedy.write(f, &denial.call, denial.action)
}

/// What a denied call got.
pub(crate) fn answer(f: &mut fmt::Formatter<'_>, action: Action) -> fmt::Result {
    match action {
        Action::Errno(0) => f.write_str(" got the profile's errno"),
        Action::Errno(errno) => {
            let error = std::io::Error::from_raw_os_error(errno.into());
            write!(f, " got {error}")
        }
        action => write!(f, " got {action}"),
    }
}

impl Remedy {
    /// What would allow a call that got this answer.
    pub(crate) fn write(
        &self,
        f: &mut fmt::Formatter<'_>,
        call: &Call,
        action: Action,
    ) -> fmt::Result {
        if is_probe(action) {
            return f.write_str("; programs fall back from that, nothing to do if it works");
        }
        match self {
            Self::Change(profile) if let Some(arch) = foreign(call) => write!(
                f,
                "; to allow it, list the architecture {} and add {:?} to the names that {} allows",
                arch.oci_name(),
                name(call),
                profile.display()
            ),
            Self::Give | Self::Option if foreign(call) == Some(Arch::I386) => {
                f.write_str("; to allow 32-bit programs, add --allow-arch x86")
            }
            Self::Give | Self::Option if foreign(call) == Some(Arch::X32) => {
                f.write_str("; to allow x32 programs, add --allow-arch x32")
            }
            Self::Change(profile) => write!(
                f,
                "; to allow it, add {:?} to the names that {} allows",
                name(call),
                profile.display()
            ),
            Self::Option if let Some(option) = opening::option(call) => {
                write!(f, "; to allow it, add {option}")
            }
            Self::Give | Self::Option => {
                f.write_str("; to allow it, give a profile that does with --seccomp-profile")
            }
            Self::Said => Ok(()),
        }
    }
}

//! A denial, and the verdict, as lines.

use std::fmt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use nucleus_audit::{Belonging, DenialReport, Event};
use nucleus_seccomp::{Arch, Completeness};
use serde::Serialize;

/// One line for people.
#[derive(Debug)]
pub(super) struct Human<'a>(pub(super) &'a Event, pub(super) Belonging);

impl fmt::Display for Human<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(event, belonging) = self;
        if let Some(time) = event.time.and_then(seconds) {
            write!(f, "{time:.3} ")?;
        }
        match event.call.syscall() {
            Some(call) => write!(f, "{call}")?,
            None => write!(f, "#{} of AUDIT_ARCH {:#x}", event.call.nr, event.call.arch)?,
        }
        let arch = Arch::of(event.call.arch, event.call.nr);
        if let Some(arch) = arch.filter(|_| arch != Arch::native()) {
            write!(f, " ({arch})")?;
        }
        write!(f, " {} pid {}", action(event), event.pid)?;
        if let Some(comm) = &event.comm {
            write!(f, " {}", comm.display())?;
        }
        if let Some(exe) = &event.exe {
            write!(f, " {}", exe.display())?;
        }
        if *belonging == Belonging::Unattributed {
            f.write_str(" (perhaps not the target's)")?;
        }
        Ok(())
    }
}

/// The kernel's records hold no errno, so none is claimed.
fn action(event: &Event) -> &'static str {
    use nucleus_seccomp::Action;
    match event.action {
        Action::Errno(_) => "errno",
        Action::Trap(_) => "trap",
        Action::KillThread => "kill_thread",
        Action::KillProcess => "kill_process",
        Action::Notify => "user_notif",
        Action::Trace(_) => "trace",
        Action::Log => "log",
        Action::Allow => "allow",
    }
}

/// One object for machines.
#[derive(Debug, Serialize)]
pub(super) struct Json<'a> {
    time: Option<f64>,
    syscall: u32,
    name: Option<&'static str>,
    arch: Option<&'static str>,
    audit_arch: u32,
    action: &'static str,
    pid: u32,
    target_pid: Option<u32>,
    session: Option<u32>,
    comm: Option<String>,
    exe: Option<std::borrow::Cow<'a, str>>,
    attributed: bool,
    count: u32,
}

impl<'a> Json<'a> {
    pub(super) fn new(event: &'a Event, belonging: Belonging, target_pid: Option<u32>) -> Self {
        Self {
            time: event.time.and_then(seconds),
            syscall: event.call.nr,
            name: event.call.syscall().and_then(|call| call.name()),
            arch: Arch::of(event.call.arch, event.call.nr).map(Arch::name),
            audit_arch: event.call.arch,
            action: action(event),
            pid: event.pid,
            target_pid,
            session: event.session,
            comm: event
                .comm
                .as_ref()
                .map(|comm| comm.to_string_lossy().into_owned()),
            exe: event.exe.as_deref().map(Path::to_string_lossy),
            attributed: belonging == Belonging::Ours,
            count: 1,
        }
    }
}

impl fmt::Display for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_json(f, self)
    }
}

/// The last object.
#[derive(Debug)]
pub(super) struct Verdict<'a>(pub(super) &'a DenialReport);

impl fmt::Display for Verdict<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[derive(Serialize)]
        struct Line<'a> {
            verdict: &'static str,
            lost: Option<u64>,
            why: &'a [String],
            unattributed: u64,
        }
        let unattributed = self.0.unattributed;
        let line = match &self.0.completeness {
            Completeness::Complete => Line {
                verdict: "complete",
                lost: Some(0),
                why: &[],
                unattributed,
            },
            Completeness::Incomplete { lost, why } => Line {
                verdict: "incomplete",
                lost: *lost,
                why,
                unattributed,
            },
        };
        write_json(f, &line)
    }
}

fn write_json(f: &mut fmt::Formatter<'_>, value: &impl Serialize) -> fmt::Result {
    let text = serde_json::to_string(value).map_err(|_impossible| fmt::Error)?;
    f.write_str(&text)
}

/// Since 1970, to the millisecond.
fn seconds(time: SystemTime) -> Option<f64> {
    let since = time.duration_since(UNIX_EPOCH).ok()?;
    Some(since.as_secs_f64())
}

//! Denials, and the verdict on them, as NDJSON.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;
use std::time::UNIX_EPOCH;

use nucleus_audit::{Belonging, DenialReport, Event};
use nucleus_seccomp::{Action, Completeness};
use nucleus_supervisor::Denial;
use serde::Serialize;

use crate::filter;

/// One denial. What the source does not tell is `null`; bytes that are no text
/// are replaced.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Line<'a> {
    /// Seconds since 1970.
    time: Option<f64>,
    /// The number in the table of `arch`; x32 calls carry bit 30.
    syscall: Option<u32>,
    name: Option<&'static str>,
    arch: Option<&'static str>,
    /// `AUDIT_ARCH_*`.
    audit_arch: Option<u32>,
    /// In hexadecimal: they are 64 bits wide.
    args: Option<[String; 6]>,
    action: Option<&'static str>,
    errno: Option<u16>,
    /// ENOSYS, which programs are made to fall back from.
    probe: bool,
    pid: Option<u32>,
    tid: Option<u32>,
    target_pid: Option<u32>,
    session: Option<u32>,
    comm: Option<Cow<'a, str>>,
    exe: Option<Cow<'a, str>>,
    /// Whether it is known to be the target's.
    attributed: bool,
    count: u32,
    /// Why, where a rule denied it and not the profile.
    rule: Option<Rule<'a>>,
}

/// What a supervisor's rule has denied, and what would allow it.
#[derive(Debug, Serialize)]
struct Rule<'a> {
    what: &'a str,
    why: &'a str,
    remedy: Option<&'a str>,
}

impl<'a> Line<'a> {
    pub(crate) fn new(event: &'a Event, belonging: Belonging, target_pid: Option<u32>) -> Self {
        let since = event
            .time
            .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let call = event.call.syscall();
        Self {
            time: since.map(|since| since.as_secs_f64()),
            syscall: Some(event.call.nr),
            name: call.and_then(|call| call.name()),
            arch: call.map(|call| call.arch().name()),
            audit_arch: Some(event.call.arch),
            args: event
                .call
                .args
                .map(|args| args.map(|arg| format!("{arg:#x}"))),
            action: Some(action(event.action)),
            errno: match event.action {
                Action::Errno(errno @ 1..) => Some(errno),
                _ => None,
            },
            probe: event.action == Action::Errno(filter::ENOSYS),
            pid: Some(event.pid),
            tid: event.tid,
            target_pid,
            session: event.session,
            comm: event.comm.as_ref().map(|comm| comm.to_string_lossy()),
            exe: event.exe.as_deref().map(Path::to_string_lossy),
            attributed: belonging == Belonging::Ours,
            count: 1,
            rule: None,
        }
    }

    /// One that a rule has denied; without an event it was no call.
    pub(crate) fn of_rule(event: Option<&'a Event>, denial: &'a Denial) -> Self {
        let line = event.map(|event| Self::new(event, Belonging::Ours, None));
        Self {
            probe: false,
            rule: Some(Rule {
                what: &denial.what,
                why: &denial.why,
                remedy: denial.remedy.as_deref(),
            }),
            count: 1,
            ..line.unwrap_or_default()
        }
    }
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_json(f, self)
    }
}

/// The name without the data, which has a field of its own.
const fn action(action: Action) -> &'static str {
    match action {
        Action::KillProcess => "kill_process",
        Action::KillThread => "kill_thread",
        Action::Trap(_) => "trap",
        Action::Errno(_) => "errno",
        Action::Notify => "user_notif",
        Action::Trace(_) => "trace",
        Action::Log => "log",
        Action::Allow => "allow",
    }
}

/// The last line.
#[derive(Debug)]
pub(crate) struct Verdict<'a>(pub(crate) &'a DenialReport);

impl fmt::Display for Verdict<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[derive(Serialize)]
        struct Last<'a> {
            verdict: &'static str,
            lost: Option<u64>,
            why: &'a [String],
            unattributed: u64,
        }
        let unattributed = self.0.unattributed;
        let line = match &self.0.completeness {
            Completeness::Complete => Last {
                verdict: "complete",
                lost: Some(0),
                why: &[],
                unattributed,
            },
            Completeness::Incomplete { lost, why } => Last {
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

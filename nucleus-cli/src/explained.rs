//! A run in which each denial is explained as it happens: the filter asks
//! nucleus instead of denying, and nucleus gives the profile's own answer.

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use nucleus_audit::{Belonging, Call, DenialReport, Denials, Event, Place, Scope, lineage};
use nucleus_seccomp::{Action, Completeness, InstallFlags, Policy};
use nucleus_supervisor::{Errno, Listener, Receiver, Reply, Request};

use crate::denials::{self, Events, Remedy};
use crate::event_json::Line;
use crate::exit::Ended;
use crate::session::Job;
use crate::{filter, report, session};

/// Runs `job` under `policy` to its end; says the first of each kind of
/// denial at once, with all that is known of it.
pub(crate) fn run(
    job: &mut Job,
    policy: &Policy,
    remedy: Remedy<'_>,
    events: Option<Events>,
) -> anyhow::Result<(Ended, DenialReport)> {
    job.command.filter(filter::asking(policy)?);
    job.command
        .filter_flags(policy.install_flags() | InstallFlags::WAIT_KILLABLE_RECV);
    session::serve(job, |listener, program| {
        answer_all(listener, program, policy, remedy, events)
    })
}

fn answer_all(
    listener: OwnedFd,
    program: u32,
    policy: &Policy,
    remedy: Remedy<'_>,
    mut events: Option<Events>,
) -> anyhow::Result<DenialReport> {
    let listener = Listener::new(listener).context("cannot listen to the filter")?;
    let mut receiver = Receiver::new(Arc::new(listener));
    let mut denials = Denials::new(Scope::All);
    while let Some(request) = receiver.receive().context("cannot hear of denied calls")? {
        let action = policy.decide(request.data());
        let event = event(&request, action);
        if !denials.knows(&event) {
            report::note(Explanation::new(&request, &event).describe(remedy));
        }
        denials.see(&event);
        if let Some(events) = &mut events {
            events.write(&Line::new(&event, Belonging::Ours, Some(program)));
        }
        request
            .answer(reply(action))
            .context("cannot answer a denied call")?;
    }
    let report = denials.report(Completeness::Complete);
    if let Some(events) = events {
        events.finish(&report)?;
    }
    Ok(report)
}

/// The profile's own answer. A kill is by SIGKILL here, of the whole process.
fn reply(action: Action) -> Reply {
    match action {
        Action::KillProcess | Action::KillThread => Reply::Kill,
        Action::Errno(0) => Reply::Value(0),
        Action::Errno(errno) => Reply::Errno(Errno::from_raw_os_error(errno.into())),
        // The filter asks about nothing else.
        _ => Reply::Errno(Errno::PERM),
    }
}

fn event(request: &Request, action: Action) -> Event {
    let thread = request.thread().unsigned_abs();
    let data = request.data();
    Event::of_thread(
        thread,
        Call {
            arch: data.arch,
            nr: data.nr,
            instruction_pointer: data.instruction_pointer,
            args: Some(data.args),
        },
        action,
    )
}

/// What is known of a call that was denied, read while its thread stands still.
struct Explanation<'a> {
    event: &'a Event,
    call: String,
    place: Option<Place>,
    under: Vec<PathBuf>,
}

impl<'a> Explanation<'a> {
    fn new(request: &Request, event: &'a Event) -> Self {
        let read = |address| request.memory().path(address).ok();
        let data = request.data();
        let own = std::env::current_exe().ok();
        Self {
            event,
            call: data.describe().with_paths(&read).to_string(),
            place: Place::of(event.pid, data.instruction_pointer),
            under: lineage(event.pid)
                .into_iter()
                .skip(1)
                .take_while(|file| Some(file) != own.as_ref())
                .collect(),
        }
    }

    fn describe<'b>(&'b self, remedy: Remedy<'b>) -> impl fmt::Display + 'b {
        fmt::from_fn(move |f| {
            write!(f, "denied: {}", self.call)?;
            denials::answer(f, self.event.action)?;
            write!(f, "; by ")?;
            match &self.event.exe {
                Some(exe) => write!(f, "{}", exe.display())?,
                None => f.write_str("an unknown program")?,
            }
            write!(f, ", process {}", self.event.pid)?;
            if let Some(place) = &self.place {
                write!(f, ", at {place}")?;
            }
            for file in &self.under {
                write!(f, ", under {}", file.display())?;
            }
            remedy.write(f, &self.event.call, self.event.action)
        })
    }
}

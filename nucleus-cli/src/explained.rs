//! A run in which each denial is explained as it happens: the filter asks
//! nucleus instead of denying, and nucleus gives the profile's own answer.

use std::fmt;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
    let teller = Mutex::new(Teller {
        denials: Denials::new(Scope::All),
        events,
        remedy,
    });
    let traps = filter::has(policy, |action| matches!(action, Action::Trap(_)));
    let on_trap = |event: &Event, program| {
        // The kernel does not tell the data of a kill, and kills are ours here.
        if matches!(event.action, Action::Trap(_)) {
            let read = |address| path_in(event.pid, address);
            lock(&teller).tell(event, program, &read);
        }
    };
    let answer = |listener, program| answer_all(listener, program, policy, &teller);
    let (ended, ()) = if traps {
        session::serve_and_trace(job, on_trap, answer)?
    } else {
        session::serve(job, answer)?
    };
    let Teller {
        denials, events, ..
    } = teller.into_inner().unwrap_or_else(PoisonError::into_inner);
    let report = denials.report(Completeness::Complete);
    if let Some(events) = events {
        events.finish(&report)?;
    }
    Ok((ended, report))
}

fn answer_all(
    listener: OwnedFd,
    program: u32,
    policy: &Policy,
    teller: &Mutex<Teller<'_>>,
) -> anyhow::Result<()> {
    let listener = Listener::new(listener).context("cannot listen to the filter")?;
    let mut receiver = Receiver::new(Arc::new(listener));
    while let Some(request) = receiver.receive().context("cannot hear of denied calls")? {
        let action = policy.decide(request.data());
        let read = |address| request.memory().path(address).ok();
        lock(teller).tell(&event(&request, action), program, &read);
        request
            .answer(reply(action))
            .context("cannot answer a denied call")?;
    }
    Ok(())
}

/// What is said of denials, whoever saw them.
struct Teller<'a> {
    denials: Denials,
    events: Option<Events>,
    remedy: Remedy<'a>,
}

impl Teller<'_> {
    /// Tells of a call whose thread stands still.
    fn tell(&mut self, event: &Event, program: u32, read: &dyn Fn(u64) -> Option<Vec<u8>>) {
        if !self.denials.knows(event) {
            report::note(Explanation::new(event, read).describe(self.remedy));
        }
        self.denials.see(event);
        if let Some(events) = &mut self.events {
            events.write(&Line::new(event, Belonging::Ours, Some(program)));
        }
    }
}

/// A panic of the other thread ends the run anyway, and says so.
fn lock<'a, 'b>(teller: &'a Mutex<Teller<'b>>) -> MutexGuard<'a, Teller<'b>> {
    teller.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A path in the memory of a process that this one traces.
fn path_in(pid: u32, address: u64) -> Option<Vec<u8>> {
    const PATH_MAX: usize = 4096;
    let memory = File::open(format!("/proc/{pid}/mem")).ok()?;
    let mut bytes = vec![0; PATH_MAX];
    // It reads up to the first page that is not there.
    let length = memory.read_at(&mut bytes, address).ok()?;
    let end = bytes.get(..length)?.iter().position(|&byte| byte == 0)?;
    bytes.truncate(end);
    Some(bytes)
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
    fn new(event: &'a Event, read: &dyn Fn(u64) -> Option<Vec<u8>>) -> Self {
        let own = std::env::current_exe().ok();
        Self {
            event,
            call: match event.call.data() {
                Some(data) => data.describe().with_paths(&read).to_string(),
                None => denials::name(&event.call),
            },
            place: Place::of(event.pid, event.call.instruction_pointer),
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
            if let Some(arch) = denials::foreign(&self.event.call) {
                write!(f, " ({arch})")?;
            }
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

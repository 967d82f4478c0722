//! A run in which each denial is explained as it happens: the filter asks
//! nucleus instead of denying, and nucleus gives the profile's own answer.

use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use nucleus_audit::{Call, Event, Place, PtraceMode, lineage};
use nucleus_seccomp::{Action, Policy};
use nucleus_supervisor::{Errno, Reply, Request};

use crate::denials::{self, Remedy};
use crate::exit::Ended;
use crate::filter;
use crate::session::Job;
use crate::supervise::{Asks, Filter, Supervision, Watch, Watcher};
use crate::told::{ReadPath, Teller};

/// Runs `job` under `policy` and its rules to its end; says the first of each
/// kind of denial at once, with all that is known of it.
pub(crate) fn run(
    job: &mut Job,
    policy: Policy,
    supervision: Supervision,
    teller: &Teller,
) -> anyhow::Result<Ended> {
    let mut watch = Watch::default();
    let rules = teller.clone();
    watch.denied = Some(Arc::new(move |denied| rules.rule(denied)));
    let filter = Filter {
        program: filter::asking(&policy)?,
        flags: policy.install_flags(),
    };
    if filter::has(&policy, |action| matches!(action, Action::Trap(_))) {
        watch.tracer = Some(Watcher {
            mode: PtraceMode::Deny,
            observe: Box::new(|event, program| {
                // The kernel does not tell the data of a kill, and kills are
                // ours here.
                if matches!(event.action, Action::Trap(_)) {
                    let read = |address| path_in(event.pid, address);
                    teller.profile(event, program, &read);
                }
            }),
            is_optional: true,
        });
    }
    let profile = teller.clone();
    let policy = Arc::new(policy);
    let asked = Arc::clone(&policy);
    watch.asks = Some(Asks {
        concerns: Box::new(move |call| asks_about(asked.decide(call))),
        answer: Box::new(move |request, program| {
            let action = policy.decide(request.data());
            let read = |address| request.memory().path(address).ok();
            profile.profile(&event(request, action), program, &read);
            reply(action)
        }),
    });
    let (ended, _verdict) = supervision.run(job, filter, watch)?;
    Ok(ended)
}

/// Whether the filter of [`filter::asking`] leaves such calls to the listener.
const fn asks_about(action: Action) -> bool {
    matches!(
        action,
        Action::Errno(_) | Action::KillProcess | Action::KillThread
    )
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
pub(crate) struct Explanation<'a> {
    event: &'a Event,
    call: String,
    place: Option<Place>,
    under: Vec<PathBuf>,
}

impl<'a> Explanation<'a> {
    pub(crate) fn new(event: &'a Event, read: ReadPath<'_>) -> Self {
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

    pub(crate) fn describe<'b>(&'b self, remedy: &'b Remedy) -> impl fmt::Display + 'b {
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

//! One run of a program: launch, attend to it, and wait for its end.

use std::os::fd::OwnedFd;
use std::sync::mpsc;
use std::thread;

use anyhow::{Context, anyhow};
use nucleus_audit::{
    Belonging, Event, LogKind, LogPurpose, LogSource, PtraceMode, PtraceSource, Scope, Source,
    enter_session,
};
use nucleus_core::Command;
use nucleus_seccomp::{Completeness, SeccompData};
use nucleus_supervisor::Guards;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::DumpableBehavior;

use crate::exit::Ended;
use crate::report;
use crate::running::{Running, TimeLimit};
use crate::signals::Signals;
use crate::workspace::OnExit;

/// A command, and what nucleus does about its run beside waiting for it.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) command: Command,
    /// The program is in a session of its own, which no signal of nucleus's
    /// terminal reaches.
    pub(crate) own_session: bool,
    pub(crate) time_limit: Option<TimeLimit>,
    /// What becomes of what the program has written to a copy-on-write
    /// workspace.
    pub(crate) on_exit: OnExit,
    /// What is left of a run that is over: memory and descriptors, which go
    /// with the job.
    pub(crate) remains: Option<Running>,
}

impl From<Command> for Job {
    fn from(command: Command) -> Self {
        Self {
            command,
            own_session: false,
            time_limit: None,
            on_exit: OnExit::Discard,
            remains: None,
        }
    }
}

/// Who attends to the program while it runs, each on a thread of its own.
#[derive(Default)]
pub(crate) struct Attendants<'a> {
    pub(crate) tracer: Option<Tracing<'a>>,
    pub(crate) listener: Option<Answer<'a>>,
    pub(crate) log: Option<Logging<'a>>,
}

/// Is handed each event, with the program's process id.
pub(crate) type Observe<'a> = Box<dyn FnMut(&Event, u32) + Send + 'a>;

/// Answers what the filter leaves to a listener, until nobody is left to ask;
/// is told the program's process id. When it fails, all is killed.
pub(crate) type Answer<'a> = Box<dyn FnOnce(OwnedFd, u32) -> anyhow::Result<()> + Send + 'a>;

/// A tracer. When its thread ends early, for whatever reason, the kernel kills
/// what it traced (PTRACE_O_EXITKILL): nothing goes on unwatched.
pub(crate) struct Tracing<'a> {
    pub(crate) mode: PtraceMode,
    pub(crate) guards: Guards,
    pub(crate) observe: Observe<'a>,
    /// Calls that a rehearsal must not let go on.
    pub(crate) keep_denied: Option<Which>,
    /// Where the program cannot be traced, it runs with less said of it.
    pub(crate) is_optional: bool,
}

impl<'a> Tracing<'a> {
    /// A tracer that guards nothing.
    pub(crate) fn observing(mode: PtraceMode, observe: Observe<'a>) -> Self {
        Self {
            mode,
            guards: Guards::default(),
            observe,
            keep_denied: None,
            is_optional: false,
        }
    }
}

/// Tells some calls from others.
pub(crate) type Which = Box<dyn Fn(&SeccompData) -> bool + Send>;

/// A reader of the kernel's records. The program runs in an audit session of
/// its own, and the records of that session are observed.
pub(crate) struct Logging<'a> {
    pub(crate) kind: LogKind,
    pub(crate) purpose: LogPurpose,
    pub(crate) observe: Observe<'a>,
}

/// How complete the observation was.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// The name of the source that watched.
    pub(crate) source: &'static str,
    pub(crate) completeness: Completeness,
}

/// Where nothing was to be observed.
const NOBODY: Verdict = Verdict {
    source: "nobody",
    completeness: Completeness::Complete,
};

/// Runs the job to its end while others attend to it: a tracer from before the
/// filter is there, a listener from the first call on that it traps.
pub(crate) fn attend(
    job: &mut Job,
    attendants: Attendants<'_>,
) -> anyhow::Result<(Ended, Verdict)> {
    let Attendants {
        tracer,
        listener,
        log,
    } = attendants;
    let signals = Signals::block()?;
    let log = log.map(OpenLog::new).transpose()?;
    job.command.hold(tracer.is_some());
    job.command.listen(listener.is_some());
    let mut running = Running::start(job, signals)?;
    let pid = running.child.program_pid();
    let is_guarded = tracer.as_ref().is_some_and(|it| !it.guards.is_empty());
    if is_guarded {
        close_to_the_program()?;
    }
    let wait = |attached: bool| {
        if !attached {
            running.child.kill()?;
            running.wait()
        } else if let Some(listener) = listener {
            beside_listener(&mut running, listener)
        } else {
            running.child.release()?;
            running.wait()
        }
    };
    let traced = || match tracer {
        Some(tracer) => beside_tracer(tracer, pid, wait),
        None => Ok((wait(true)?, NOBODY)),
    };
    let outcome = match log {
        Some(log) => {
            let ((ended, _of_tracer), verdict) = beside_log(log, pid, traced)?;
            (ended, verdict)
        }
        None => traced()?,
    };
    job.remains = Some(running);
    Ok(outcome)
}

/// Takes the program's listener, and answers until the program has ended.
fn beside_listener(running: &mut Running, answer: Answer<'_>) -> anyhow::Result<Ended> {
    let listener = running.child.take_listener()?;
    let pid = running.child.program_pid();
    close_to_the_program()?;
    let (answering, alive) = match pipe_with(PipeFlags::CLOEXEC) {
        Ok(pipe) => pipe,
        Err(errno) => {
            running.child.kill()?;
            return Err(errno).context("cannot make a pipe");
        }
    };
    running.tie_to(answering);
    let work = move || {
        // Closed in any case, a panic included.
        let alive = alive;
        answer(listener, pid)?;
        rustix::io::write(&alive, b"k").context("cannot tell that all calls were answered")?;
        Ok(())
    };
    let (ended, ()) = beside(work, || running.wait())?;
    Ok(ended)
}

/// Attaches the tracer, and lets it trace while `wait` waits for the program;
/// `wait` is told whether it is attached. Its own error says why not.
fn beside_tracer(
    tracing: Tracing<'_>,
    pid: u32,
    wait: impl FnOnce(bool) -> anyhow::Result<Ended>,
) -> anyhow::Result<(Ended, Verdict)> {
    let (attached, is_attached) = mpsc::sync_channel(1);
    let Tracing {
        mode,
        guards,
        mut observe,
        keep_denied,
        is_optional,
    } = tracing;
    let work = move || {
        let source = PtraceSource::seize_and_judge(pid, mode, guards);
        let is_refused = source.is_err() && !is_optional;
        if !is_refused {
            // Nobody listens only when the main thread has failed, and says why.
            attached.send(()).ok();
        }
        let mut source = match source {
            Ok(source) => source,
            Err(error) if is_optional => {
                report::note(format_args!(
                    "calls that get a signal are not explained: {error}"
                ));
                return Ok(NOBODY);
            }
            Err(error) => return Err(error.into()),
        };
        if let Some(which) = keep_denied {
            source.keep_denied(which);
        }
        let verdict = drain(&mut source, |event| observe(event, pid))?;
        for sentence in source.judge().report() {
            report::note(sentence);
        }
        for note in source.notes() {
            report::note(note);
        }
        Ok(verdict)
    };
    beside(work, || wait(is_attached.recv().is_ok()))
}

/// A log that is read from before the program starts.
struct OpenLog<'a> {
    source: LogSource,
    session: Scope,
    observe: Observe<'a>,
}

impl<'a> OpenLog<'a> {
    fn new(log: Logging<'a>) -> anyhow::Result<Self> {
        Ok(Self {
            source: LogSource::open(log.kind, log.purpose)?,
            session: Scope::Session(enter_session()?),
            observe: log.observe,
        })
    }
}

fn beside_log<E>(
    log: OpenLog<'_>,
    pid: u32,
    wait: impl FnOnce() -> anyhow::Result<E>,
) -> anyhow::Result<(E, Verdict)> {
    let OpenLog {
        mut source,
        mut session,
        mut observe,
    } = log;
    let stopper = source.stopper();
    let read = move || {
        drain(&mut source, |event| {
            if session.judge(event) == Belonging::Ours {
                observe(event, pid);
            }
        })
    };
    beside(read, || {
        let ended = wait();
        stopper.stop()?;
        ended
    })
}

/// Keeps the program, which waits still, from taking the listener out of this
/// process or writing to its memory: with the host's view and the same user it
/// could (ptrace(2), `PTRACE_MODE_ATTACH`).
fn close_to_the_program() -> anyhow::Result<()> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .context("cannot close this process to tracers (PR_SET_DUMPABLE)")
}

/// Hands each event to `observe`, to the end of the source.
fn drain(source: &mut impl Source, mut observe: impl FnMut(&Event)) -> anyhow::Result<Verdict> {
    while let Some(event) = source.next()? {
        observe(&event);
    }
    Ok(Verdict {
        source: source.name(),
        completeness: source.completeness(),
    })
}

/// Runs `work` on a thread of its own while `wait` waits for the program, whose
/// end must end the work, too. When both fail, the work's error is the cause.
fn beside<T: Send, E>(
    work: impl FnOnce() -> anyhow::Result<T> + Send,
    wait: impl FnOnce() -> anyhow::Result<E>,
) -> anyhow::Result<(E, T)> {
    thread::scope(|scope| {
        let worker = scope.spawn(work);
        let ended = wait();
        let done = worker
            .join()
            .map_err(|_panic| anyhow!("the thread that watches the program panicked"))?;
        let done = done?;
        Ok((ended?, done))
    })
}

//! One run of a program: launch, watch, and wait for its end.

use std::os::fd::OwnedFd;
use std::sync::mpsc;
use std::thread;

use anyhow::{Context, anyhow, ensure};
use nucleus_audit::{
    Belonging, Event, LogKind, LogPurpose, LogSource, PtraceMode, PtraceSource, Scope, Source,
    enter_session,
};
use nucleus_core::Command;
use nucleus_seccomp::Completeness;
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
}

impl From<Command> for Job {
    fn from(command: Command) -> Self {
        Self {
            command,
            own_session: false,
            time_limit: None,
            on_exit: OnExit::Discard,
        }
    }
}

/// How a watched run ended.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) ended: Ended,
    /// The name of the source that watched.
    pub(crate) source: &'static str,
    pub(crate) completeness: Completeness,
}

/// Runs the job to its end.
pub(crate) fn run(job: &mut Job) -> anyhow::Result<Ended> {
    let signals = Signals::block()?;
    Running::start(job, signals)?.wait()
}

/// Runs the job to its end under a tracer that hands each event to `observe`,
/// with the program's process id.
///
/// The tracer lives on a thread of its own, because ptrace binds tracees to a
/// thread. When that thread ends early, for whatever reason, the kernel kills
/// what it traced (PTRACE_O_EXITKILL): nothing goes on unwatched.
pub(crate) fn watch(
    job: &mut Job,
    mode: PtraceMode,
    mut observe: impl FnMut(&Event, u32) + Send,
) -> anyhow::Result<Watched> {
    let signals = Signals::block()?;
    job.command.hold(true);
    let mut running = Running::start(job, signals)?;
    let pid = running.child.program_pid();
    let seize = move || Ok(PtraceSource::seize(pid, mode)?);
    let trace = move |mut source: PtraceSource| {
        let drained = drain(&mut source, |event| observe(event, pid));
        for note in source.notes() {
            report::note(note);
        }
        drained
    };
    let (ended, (source, completeness)) = beside_tracer(seize, trace, |attached| {
        if attached {
            running.child.release()?;
        } else {
            running.child.kill()?;
        }
        running.wait()
    })?;
    Ok(Watched {
        ended,
        source,
        completeness,
    })
}

/// Runs the job to its end in an audit session of its own, and hands each of
/// the kernel's records of that session to `observe`, with the program's
/// process id.
pub(crate) fn watch_log(
    job: &mut Job,
    kind: LogKind,
    purpose: LogPurpose,
    mut observe: impl FnMut(&Event, u32) + Send,
) -> anyhow::Result<Watched> {
    let signals = Signals::block()?;
    let mut source = LogSource::open(kind, purpose)?;
    let stopper = source.stopper();
    let mut session = Scope::Session(enter_session()?);
    job.command.hold(false);
    let mut running = Running::start(job, signals)?;
    let pid = running.child.program_pid();
    let read = move || {
        drain(&mut source, |event| {
            if session.judge(event) == Belonging::Ours {
                observe(event, pid);
            }
        })
    };
    let (ended, (source, completeness)) = beside(read, || {
        let ended = running.wait();
        stopper.stop()?;
        ended
    })?;
    Ok(Watched {
        ended,
        source,
        completeness,
    })
}

/// Runs the job to its end; `serve` answers, on a thread of its own, what the
/// filter leaves to a listener, and is given the program's id. It ends when
/// nobody is left to ask; when it fails, all is killed.
pub(crate) fn serve<T: Send>(
    job: &mut Job,
    serve: impl FnOnce(OwnedFd, u32) -> anyhow::Result<T> + Send,
) -> anyhow::Result<(Ended, T)> {
    let signals = Signals::block()?;
    job.command.listen(true);
    let mut running = Running::start(job, signals)?;
    answer(&mut running, serve)
}

/// As [`serve`]; beside it a tracer hands to `traps` what the filter answers
/// with a signal, while the thread stands still.
pub(crate) fn serve_and_trace<T: Send>(
    job: &mut Job,
    mut traps: impl FnMut(&Event, u32) + Send,
    serve: impl FnOnce(OwnedFd, u32) -> anyhow::Result<T> + Send,
) -> anyhow::Result<(Ended, T)> {
    let signals = Signals::block()?;
    job.command.listen(true);
    let mut running = Running::start(job, signals)?;
    let pid = running.child.program_pid();
    // Without a tracer the run goes on, with less said of it.
    let seize = move || Ok(PtraceSource::seize(pid, PtraceMode::Deny));
    let trace = move |source| match source {
        Ok(mut source) => drain(&mut source, |event| traps(event, pid)).map(drop),
        Err(error) => {
            report::note(format_args!(
                "calls that get a signal are not explained: {error}"
            ));
            Ok(())
        }
    };
    let (served, ()) = beside_tracer(seize, trace, |attached| {
        ensure!(attached, "the tracer ended before it had tried to attach");
        answer(&mut running, serve)
    })?;
    Ok(served)
}

/// Runs the job to its end under a tracer whose guards decide, and says what
/// they report; `serve` answers what the filter leaves to a listener, if
/// anything.
///
/// When the tracer's thread ends early, the kernel kills what it traced.
pub(crate) fn guard(
    job: &mut Job,
    guards: Guards,
    serve: Option<impl FnOnce(OwnedFd, u32) -> anyhow::Result<()> + Send>,
) -> anyhow::Result<Ended> {
    let signals = Signals::block()?;
    job.command.hold(true);
    let mut running = Running::start(job, signals)?;
    let pid = running.child.program_pid();
    close_to_the_program()?;
    let seize = move || {
        Ok(PtraceSource::seize_and_judge(
            pid,
            PtraceMode::Judge,
            guards,
        )?)
    };
    let trace = |mut source: PtraceSource<Guards>| {
        drain(&mut source, |_event| {})?;
        for sentence in source.judge().report() {
            report::note(sentence);
        }
        for note in source.notes() {
            report::note(note);
        }
        Ok(())
    };
    let (ended, ()) = beside_tracer(seize, trace, |attached| {
        if !attached {
            running.child.kill()?;
            return running.wait();
        }
        match serve {
            Some(serve) => Ok(answer(&mut running, serve)?.0),
            None => {
                running.child.release()?;
                running.wait()
            }
        }
    })?;
    Ok(ended)
}

/// Takes the program's listener, and answers on a thread of its own until the
/// program has ended.
fn answer<T: Send>(
    running: &mut Running,
    serve: impl FnOnce(OwnedFd, u32) -> anyhow::Result<T> + Send,
) -> anyhow::Result<(Ended, T)> {
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
        let served = serve(listener, pid)?;
        rustix::io::write(&alive, b"k").context("cannot tell that all calls were answered")?;
        Ok(served)
    };
    beside(work, || running.wait())
}

/// Keeps the program, which waits still, from taking the listener out of this
/// process or writing to its memory: with the host's view and the same user it
/// could (ptrace(2), `PTRACE_MODE_ATTACH`).
fn close_to_the_program() -> anyhow::Result<()> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .context("cannot close this process to tracers (PR_SET_DUMPABLE)")
}

/// Hands each event to `observe`, to the end of the source.
fn drain(
    source: &mut impl Source,
    mut observe: impl FnMut(&Event),
) -> anyhow::Result<(&'static str, Completeness)> {
    while let Some(event) = source.next()? {
        observe(&event);
    }
    Ok((source.name(), source.completeness()))
}

/// As [`beside`], for work that begins by attaching to the program: `wait` is
/// told when that is done, or that it failed; the work's own error says why.
fn beside_tracer<S, T: Send, E>(
    seize: impl FnOnce() -> anyhow::Result<S> + Send,
    work: impl FnOnce(S) -> anyhow::Result<T> + Send,
    wait: impl FnOnce(bool) -> anyhow::Result<E>,
) -> anyhow::Result<(E, T)> {
    let (seized, is_seized) = mpsc::sync_channel(1);
    let work = move || {
        let tracer = seize()?;
        // Nobody listens only when the main thread has failed, and says why.
        seized.send(()).ok();
        work(tracer)
    };
    beside(work, || wait(is_seized.recv().is_ok()))
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

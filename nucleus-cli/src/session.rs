//! One run of a program: launch, watch, pass signals on, wait.

use std::os::fd::OwnedFd;
use std::process::ExitStatus;
use std::sync::mpsc;
use std::thread;

use anyhow::Context;
use nucleus_audit::{
    Belonging, Event, LogKind, LogPurpose, LogSource, PtraceMode, PtraceSource, Scope, Source,
    enter_session,
};
use nucleus_core::{Child, Command};
use nucleus_seccomp::Completeness;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::signals::Signals;

/// What sees the calls of a watched run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum WatchSource {
    /// A tracer: exact, with arguments, without privilege; the program itself cannot trace
    Ptrace,
    /// Audit records, for programs that a tracer disturbs; needs CAP_AUDIT_READ
    Audit,
    /// The kernel's log: loses records under load, and says so
    Kmsg,
}

impl WatchSource {
    /// The kernel's stream to read, if it is one.
    pub(crate) const fn log(self) -> Option<LogKind> {
        match self {
            Self::Ptrace => None,
            Self::Audit => Some(LogKind::Audit),
            Self::Kmsg => Some(LogKind::Kmsg),
        }
    }
}

/// How a watched run ended.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) status: ExitStatus,
    /// The name of the source that watched.
    pub(crate) source: &'static str,
    pub(crate) completeness: Completeness,
}

/// Runs `command` to its end.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<ExitStatus> {
    let signals = Signals::block().context("cannot block signals to pass them on")?;
    let mut child = command.spawn()?;
    wait(&mut child, &signals)
}

/// Runs `command` to its end under a tracer that hands each event to `observe`,
/// with the program's process id.
///
/// The tracer lives on a thread of its own, because ptrace binds tracees to a
/// thread. When that thread ends early, for whatever reason, the kernel kills
/// what it traced (PTRACE_O_EXITKILL): nothing goes on unwatched.
pub(crate) fn watch(
    command: &mut Command,
    mode: PtraceMode,
    mut observe: impl FnMut(&Event, u32) + Send,
) -> anyhow::Result<Watched> {
    let signals = Signals::block().context("cannot block signals to pass them on")?;
    let mut child = command.hold(true).spawn()?;
    let pid = child.program_pid();
    thread::scope(|scope| {
        let (seized, is_seized) = mpsc::sync_channel(1);
        let tracer = scope.spawn(move || {
            let mut source = PtraceSource::seize(pid, mode)?;
            // Nobody listens only when the main thread has failed, and says why.
            seized.send(()).ok();
            while let Some(event) = source.next()? {
                observe(&event, pid);
            }
            Ok((source.name(), source.completeness()))
        });
        let status = match is_seized.recv() {
            Ok(()) => child
                .release()
                .map_err(anyhow::Error::from)
                .and_then(|()| wait(&mut child, &signals)),
            // The tracer ended without attaching; its own error says why.
            Err(mpsc::RecvError) => child
                .kill()
                .map_err(anyhow::Error::from)
                .and_then(|()| wait(&mut child, &signals)),
        };
        let traced: Result<_, nucleus_audit::Error> = tracer
            .join()
            .map_err(|_panic| anyhow::anyhow!("the tracer thread panicked"))?;
        let (source, completeness) = traced?;
        Ok(Watched {
            status: status?,
            source,
            completeness,
        })
    })
}

/// Runs `command` to its end in an audit session of its own, and hands each of
/// the kernel's records of that session to `observe`, with the program's
/// process id.
pub(crate) fn watch_log(
    command: &mut Command,
    kind: LogKind,
    purpose: LogPurpose,
    mut observe: impl FnMut(&Event, u32) + Send,
) -> anyhow::Result<Watched> {
    let signals = Signals::block().context("cannot block signals to pass them on")?;
    let mut source = LogSource::open(kind, purpose)?;
    let stopper = source.stopper();
    let mut session = Scope::Session(enter_session()?);
    let mut child = command.spawn()?;
    let pid = child.program_pid();
    thread::scope(|scope| {
        let reader = scope.spawn(move || {
            while let Some(event) = source.next()? {
                if session.judge(&event) == Belonging::Ours {
                    observe(&event, pid);
                }
            }
            Ok((source.name(), source.completeness()))
        });
        let status = wait(&mut child, &signals);
        stopper.stop()?;
        let read: Result<_, nucleus_audit::Error> = reader
            .join()
            .map_err(|_panic| anyhow::anyhow!("the thread that reads records panicked"))?;
        let (source, completeness) = read?;
        Ok(Watched {
            status: status?,
            source,
            completeness,
        })
    })
}

/// Runs `command` to its end; `serve` answers, on a thread of its own, what
/// the filter leaves to a listener, and is given the program's id. It ends when
/// nobody is left to ask.
pub(crate) fn serve<T: Send>(
    command: &mut Command,
    serve: impl FnOnce(OwnedFd, u32) -> anyhow::Result<T> + Send,
) -> anyhow::Result<(ExitStatus, T)> {
    let signals = Signals::block().context("cannot block signals to pass them on")?;
    let mut child = command.listen(true).spawn()?;
    let listener = child.take_listener()?;
    let pid = child.program_pid();
    thread::scope(|scope| {
        let server = scope.spawn(move || serve(listener, pid));
        let status = wait(&mut child, &signals);
        let served = server
            .join()
            .map_err(|_panic| anyhow::anyhow!("the thread that answers calls panicked"))?;
        Ok((status?, served?))
    })
}

/// Waits for the program and passes on what arrives meanwhile. What the
/// terminal sends has reached the program already.
fn wait(child: &mut Child, signals: &Signals) -> anyhow::Result<ExitStatus> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        let mut fds = [
            PollFd::from_borrowed_fd(child.status_fd(), PollFlags::IN),
            PollFd::new(signals, PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno).context("cannot wait for the program"),
        }
        while let Some(arrived) = signals
            .next()
            .context("cannot read the signals to pass on")?
        {
            if has_ended(child)? {
                // Only what the program has left running is still waited for.
                child
                    .kill()
                    .context("cannot kill what the program left running")?;
            } else if !arrived.from_kernel {
                child.signal(arrived.signal).with_context(|| {
                    format!("cannot pass signal {} on to the program", arrived.signal)
                })?;
            }
        }
    }
}

/// Whether the program itself has ended, whatever it has left running.
fn has_ended(child: &Child) -> anyhow::Result<bool> {
    let mut fds = [PollFd::from_borrowed_fd(child.pidfd(), PollFlags::IN)];
    let ready = poll(&mut fds, Some(&Timespec::default())).context("cannot look at the program")?;
    Ok(ready > 0)
}

//! The ptrace source: a tracer that the program's filter stops for.

mod care;
mod fatal;
mod refusal;
mod regs;
mod special;
mod stop;
mod tracees;

use std::marker::PhantomData;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::SystemTime;
use std::{io, mem};

use nucleus_seccomp::{Action, Completeness};

use crate::proc::{self, Status};
use crate::sys::{self, Resume, SyscallInfo, option};
use crate::{Call, Error, Event, Source};
use special::Specials;
use stop::Stop;
use tracees::Tracees;

/// The answer that a rehearsal gives: the same number on every architecture.
const ENOSYS: u16 = 38;

/// What the tracer does with a call that stops for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PtraceMode {
    /// Yields every call and lets it go on. The program carries
    /// [`Program::trace_all`](nucleus_seccomp::Program::trace_all).
    Record,
    /// Answers the call with the errno in the filter's data, without carrying
    /// it out, and yields it as [`Action::Errno`]. The program carries a
    /// profile whose `Errno(e)` became `Trace(e)`. A SIGSYS by a filter and a
    /// kill by a filter are yielded too; the thread that gets the SIGSYS stands
    /// still until the next event is asked for.
    ///
    /// Only denied calls stop, so that a child made with `CLONE_UNTRACED` goes
    /// unseen: the kernel answers what is denied to it with ENOSYS, and no
    /// event tells of it. `Record` takes the flag away.
    Deny,
    /// As `Deny`, but a call is only yielded as denied and then goes on, unless
    /// the answer is ENOSYS, which programs are made to fall back from: a run
    /// that shows all that a profile lacks, and does not end or hang at the
    /// first. Without denials it goes as under `Deny`.
    Rehearse,
}

/// Follows one process and all that it starts, without privilege.
///
/// The kernel ties a tracee to the thread that attached: the source cannot be
/// sent to another. Other children of that thread are left alone, if they
/// report their end by SIGCHLD as `fork` and [`std::process::Command`] make
/// them. No other thread of this process may wait for a traced process, or for
/// just any: the kernel would give it the stops. When the source is dropped, or its thread ends, the processes that
/// it still traces are killed.
///
/// Signals, stops by job control and exits reach the program unchanged. What
/// it can notice: its own use of ptrace(2) fails with EPERM.
#[derive(Debug)]
pub struct PtraceSource {
    mode: PtraceMode,
    root: u32,
    root_status: Option<ExitStatus>,
    tracees: Tracees,
    specials: Specials,
    info: SyscallInfo,
    /// A thread that stands still until the next look, and its signal then.
    waiting: Option<(u32, i32)>,
    stopped_once: bool,
    completeness: Completeness,
    notes: Vec<String>,
    /// Holds the source on its thread.
    on_thread: PhantomData<*const ()>,
}

impl PtraceSource {
    /// Attaches to a running process of one thread that has not installed its
    /// filter yet: calls made under the filter before this fail with ENOSYS.
    ///
    /// # Errors
    ///
    /// [`Error::Seize`] with the reason that the kernel had.
    pub fn seize(pid: u32, mode: PtraceMode) -> Result<Self, Error> {
        let mut options = option::SYSGOOD
            | option::FORK
            | option::VFORK
            | option::CLONE
            | option::EXEC
            | option::SECCOMP
            | option::EXITKILL;
        if mode != PtraceMode::Record {
            options |= option::EXIT;
        }
        sys::seize(pid, options).map_err(|error| Error::Seize {
            pid,
            source: refusal::explain(pid, error),
        })?;
        let mut source = Self {
            mode,
            root: pid,
            root_status: None,
            tracees: Tracees::new(pid),
            specials: Specials::new(),
            info: SyscallInfo::default(),
            waiting: None,
            stopped_once: false,
            completeness: Completeness::Complete,
            notes: Vec::new(),
            on_thread: PhantomData,
        };
        source.check_in_time();
        Ok(source)
    }

    /// How the process that was seized ended; `None` while it runs.
    ///
    /// If it is a child of this very thread, this is the only place that
    /// tells: the source has waited for it.
    #[must_use]
    pub const fn root_status(&self) -> Option<ExitStatus> {
        self.root_status
    }

    /// What may have made the program behave otherwise than untraced, one
    /// sentence each.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Looks whether something has happened before the tracer came.
    fn check_in_time(&mut self) {
        let (Some(target), Some(own)) = (Status::of(self.root), Status::read("self")) else {
            return;
        };
        if target.filters > own.filters {
            self.completeness.lose(
                None,
                format!(
                    "process {} had a filter before the tracer attached; its calls until then failed",
                    self.root
                ),
            );
        }
        if target.threads.is_some_and(|threads| threads > 1) {
            self.completeness.lose(
                None,
                format!(
                    "process {} had further threads when the tracer attached; they are not followed",
                    self.root
                ),
            );
        }
    }

    fn stopped(&mut self, tid: u32, status: i32) -> Result<Option<Event>, Error> {
        match Stop::of(status) {
            Stop::Seccomp => return self.seccomp_stop(tid),
            Stop::Syscall => return self.syscall_stop(tid),
            Stop::Signal(libc::SIGSYS) if self.mode != PtraceMode::Record => {
                return self.sigsys_stop(tid);
            }
            Stop::Signal(signal) => self.resume_with(tid, signal)?,
            Stop::Group => {
                self.tracees.learn(tid);
                alive("PTRACE_LISTEN", tid, sys::resume(tid, Resume::Listen))?;
            }
            Stop::Trap => {
                self.tracees.learn(tid);
                self.resume(tid)?;
            }
            Stop::NewChild => {
                if let Some(child) = event_tid(tid)? {
                    self.tracees.born(child, tid);
                }
                self.resume(tid)?;
            }
            Stop::Exec => self.exec_stop(tid)?,
            Stop::Exit => return self.exit_stop(tid),
            Stop::Ended => {
                self.tracees.ended(tid);
                if tid == self.root {
                    self.root_status = Some(ExitStatus::from_raw(status));
                }
            }
        }
        Ok(None)
    }

    fn seccomp_stop(&mut self, tid: u32) -> Result<Option<Event>, Error> {
        self.stopped_once = true;
        // A thread killed in this stop never makes the call.
        if !self.read_info(tid)? {
            return Ok(None);
        }
        match self.mode {
            PtraceMode::Record => {
                let tracee = *self.tracees.get(tid);
                self.take_care(tid)?;
                self.resume(tid)?;
                if tracee.entered {
                    return Ok(None);
                }
                Ok(Some(self.event(tid, tracee.tgid)))
            }
            PtraceMode::Deny | PtraceMode::Rehearse => {
                let errno = low_16(self.info.ret_data);
                let pid = self.tracees.get(tid).tgid;
                let event = with_program(Event {
                    action: Action::Errno(errno),
                    ..self.event(tid, pid)
                });
                if self.mode == PtraceMode::Rehearse && errno != ENOSYS {
                    self.resume(tid)?;
                    return Ok(Some(event));
                }
                let skipped = regs::skip_call(tid, -i64::from(errno));
                if !alive("setting the result", tid, skipped)? {
                    return Ok(None);
                }
                self.resume(tid)?;
                Ok(Some(event))
            }
        }
    }

    /// A stop of `PTRACE_SYSCALL`, which only threads with a filter of their
    /// own are resumed with: such a filter may answer before ours.
    fn syscall_stop(&mut self, tid: u32) -> Result<Option<Event>, Error> {
        if !self.read_info(tid)? {
            return Ok(None);
        }
        let entry = self.info.op == sys::INFO_ENTRY;
        let tracee = self.tracees.get(tid);
        let (pid, own_filter) = (tracee.tgid, tracee.own_filter);
        tracee.entered = entry;
        let restore = if entry { None } else { tracee.restore.take() };
        if let Some((address, word)) = restore {
            alive("PTRACE_POKEDATA", tid, sys::poke(tid, address, word))?;
        }
        self.resume(tid)?;
        Ok((entry && own_filter).then(|| self.event(tid, pid)))
    }

    fn exec_stop(&mut self, tid: u32) -> Result<(), Error> {
        if self.mode == PtraceMode::Record && !mem::replace(&mut self.stopped_once, true) {
            let reason = format!("process {tid} executed a program without the recording filter");
            self.completeness.lose(None, reason);
        }
        if let Some(former) = event_tid(tid)? {
            self.tracees.executed(tid, former);
        }
        self.resume(tid)
    }

    fn note(&mut self, sentence: &str) {
        if !self.notes.iter().any(|note| note == sentence) {
            self.notes.push(sentence.to_owned());
        }
    }

    /// Reads the call of a stopped thread; false when it was killed meanwhile.
    fn read_info(&mut self, tid: u32) -> Result<bool, Error> {
        alive(
            "PTRACE_GET_SYSCALL_INFO",
            tid,
            sys::syscall_info(tid, &mut self.info),
        )
    }

    fn event(&self, tid: u32, pid: u32) -> Event {
        Event {
            time: None,
            pid,
            tid: Some(tid),
            session: None,
            call: Call {
                arch: self.info.arch,
                nr: low_32(self.info.nr),
                instruction_pointer: self.info.instruction_pointer,
                args: Some(self.info.args),
            },
            action: Action::Trace(low_16(self.info.ret_data)),
            comm: None,
            exe: None,
        }
    }

    fn resume(&mut self, tid: u32) -> Result<(), Error> {
        self.resume_with(tid, 0)
    }

    fn resume_with(&mut self, tid: u32, signal: i32) -> Result<(), Error> {
        let how = if self.tracees.get(tid).needs_syscall_stops() {
            Resume::UntilSyscall(signal)
        } else {
            Resume::Continue(signal)
        };
        alive("PTRACE_CONT", tid, sys::resume(tid, how)).map(drop)
    }
}

impl Source for PtraceSource {
    fn name(&self) -> &'static str {
        "ptrace"
    }

    /// Ends when the last traced process has ended.
    fn next(&mut self) -> Result<Option<Event>, Error> {
        if let Some((tid, signal)) = self.waiting.take() {
            self.resume_with(tid, signal)?;
        }
        while let Some((tid, status)) = sys::wait_tracee().map_err(Error::Wait)? {
            if let Some(event) = self.stopped(tid, status)? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    fn completeness(&self) -> Completeness {
        self.completeness.clone()
    }
}

impl Drop for PtraceSource {
    /// Nobody would answer the stops of those that are left.
    fn drop(&mut self) {
        for pid in self.tracees.processes() {
            // One that is gone already is what this wants.
            let _gone = sys::kill(pid);
        }
    }
}

/// Whether the thread was there for the request. `ESRCH` is normal: SIGKILL
/// ends a thread in any stop.
fn alive(request: &'static str, tid: u32, result: io::Result<()>) -> Result<bool, Error> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(false),
        Err(source) => Err(Error::Ptrace {
            request,
            tid,
            source,
        }),
    }
}

/// The message of an event stop: a thread id or a wait status.
fn event_tid(tid: u32) -> Result<Option<u32>, Error> {
    match sys::event_message(tid) {
        Ok(message) => Ok(Some(low_32(message))),
        Err(error) => {
            alive("PTRACE_GETEVENTMSG", tid, Err(error))?;
            Ok(None)
        }
    }
}

fn with_program(event: Event) -> Event {
    let tid = event.tid.unwrap_or(event.pid);
    Event {
        time: Some(SystemTime::now()),
        comm: proc::comm(tid),
        exe: proc::exe(tid),
        ..event
    }
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "the kernel widens 32-bit values here; the upper half is sign extension"
)]
const fn low_32(value: u64) -> u32 {
    value as u32
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "SECCOMP_RET_DATA is the low 16 bits"
)]
const fn low_16(value: u32) -> u16 {
    value as u16
}

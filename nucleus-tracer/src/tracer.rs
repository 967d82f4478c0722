//! The loop: one stop after the other, until nobody is left.

mod calls;
mod frozen;
mod incoming;
mod lineage;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::marker::PhantomData;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;

use nucleus_seccomp::{Completeness, SeccompData, Syscall};

use crate::refusal;
use crate::reports::Reports;
use crate::special::Specials;
use crate::status::Status;
use crate::stop::Stop;
use crate::sys::{self, Resume, SyscallInfo, option};
use crate::tasks::Tasks;
use crate::{Answers, Error, Freezer, Judge, Mode, Seen, Task, Ticket, TracedCall, Verdict};

/// Follows one process and all that it starts, without privilege.
///
/// The kernel ties a tracee to the thread that attached: this cannot be sent to
/// another. Other children of that thread are left alone, if they report their
/// end by SIGCHLD as `fork` and [`std::process::Command`] make them. No other
/// thread of this process may wait for a traced process, or for just any: the
/// kernel would give it the stops. When this is dropped, or its thread ends,
/// the processes that it still traces are killed.
///
/// The order of things: what the profile denies is denied, and nobody is asked;
/// of what is left the judge decides; what was recorded or denied is told last.
///
/// Signals, stops by job control and exits reach the program unchanged. What
/// it can notice: its own use of ptrace(2) fails with EPERM.
pub struct Tracer<J> {
    pub(crate) mode: Mode,
    judge: J,
    root: u32,
    root_status: Option<ExitStatus>,
    pub(crate) tasks: Tasks,
    reports: Reports,
    pub(crate) specials: Specials,
    pub(crate) info: SyscallInfo,
    /// A thread that stands still until the next look, and its signal then.
    pub(crate) waiting: Option<(u32, i32)>,
    /// The same of one that is about to end, frozen or not.
    pub(crate) dying: Option<u32>,
    answers: Vec<Arc<Answers>>,
    /// Calls that wait for their answers.
    parked: BTreeMap<Ticket, TracedCall>,
    /// Answers to carry out.
    given: Vec<(Ticket, Verdict)>,
    freezer: Option<Freezer>,
    /// Calls that are made again after a signal.
    restarts: Vec<Syscall>,
    /// While frozen, who has not stopped yet.
    running: Option<BTreeSet<u32>>,
    must_stay_denied: Box<dyn Fn(&SeccompData) -> bool>,
    /// The filter was seen to be in force.
    has_filter: bool,
    pub(crate) completeness: Completeness,
    notes: Vec<String>,
    /// Holds it on its thread.
    on_thread: PhantomData<*const ()>,
}

impl<J> std::fmt::Debug for Tracer<J> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tracer")
            .field("mode", &self.mode)
            .field("root", &self.root)
            .field("tasks", &self.tasks)
            .field("parked", &self.parked)
            .finish_non_exhaustive()
    }
}

impl<J: Judge> Tracer<J> {
    /// Attaches to a running process of one thread that has not installed its
    /// filter yet: calls made under the filter before this fail with ENOSYS.
    ///
    /// # Errors
    ///
    /// [`Error::Seize`] with the reason that the kernel had.
    pub fn seize(process: u32, mode: Mode, mut judge: J) -> Result<Self, Error> {
        let mut options = option::SYSGOOD
            | option::FORK
            | option::VFORK
            | option::CLONE
            | option::EXEC
            | option::SECCOMP
            | option::EXITKILL;
        if mode.denies() {
            options |= option::EXIT;
        }
        sys::seize(process, options).map_err(|error| Error::Seize {
            pid: process,
            source: refusal::explain(process, error),
        })?;
        let answers = judge.answers();
        let freezer = judge.freezer();
        let restarts = judge.restarts();
        if !answers.is_empty() || freezer.is_some() {
            sys::prepare_wake().map_err(Error::Wake)?;
            sys::let_wake(false);
        }
        for answers in &answers {
            answers.bind();
        }
        if let Some(freezer) = &freezer {
            freezer.bind();
        }
        let root = Task {
            thread: process,
            process,
        };
        judge.born(root, None);
        let mut tracer = Self {
            mode,
            judge,
            root: process,
            root_status: None,
            tasks: Tasks::new(process),
            reports: Reports::default(),
            specials: Specials::new(),
            info: SyscallInfo::default(),
            waiting: None,
            dying: None,
            answers,
            parked: BTreeMap::new(),
            given: Vec::new(),
            freezer,
            restarts,
            running: None,
            must_stay_denied: Box::new(|_call| false),
            has_filter: false,
            completeness: Completeness::Complete,
            notes: Vec::new(),
            on_thread: PhantomData,
        };
        if mode == Mode::RecordEntries {
            tracer.tasks.all_have_own_filters();
            // It runs, or waits in a call: from its next stop on it stops at
            // entries.
            alive("PTRACE_INTERRUPT", process, sys::interrupt(process))?;
        }
        if mode != Mode::Judge {
            tracer.check_in_time();
        }
        Ok(tracer)
    }

    /// Keeps a [rehearsal](Mode::Rehearse) from letting these calls go on: what
    /// goes on after a denial is not judged any more, by nobody.
    pub fn keep_denied(&mut self, which: impl Fn(&SeccompData) -> bool + 'static) {
        self.must_stay_denied = Box::new(which);
    }

    /// Waits for the next call to tell of; `None` is the end, when nobody is
    /// left. The thread of a call that was denied stands still until this is
    /// called again.
    ///
    /// # Errors
    ///
    /// A request of ptrace(2) failed that no tracee's death explains. All that
    /// was traced is killed when this is dropped.
    #[allow(
        clippy::should_implement_trait,
        reason = "an iterator cannot fail between its items"
    )]
    pub fn next(&mut self) -> Result<Option<Seen>, Error> {
        if let Some(tid) = self.dying.take() {
            self.resume(tid)?;
        }
        loop {
            self.take_answers();
            if self.is_held()? {
                if let Some(tid) = self.reports.take_exiting() {
                    if let Some(seen) = self.exits_while_frozen(tid)? {
                        return Ok(Some(seen));
                    }
                } else {
                    self.wait()?;
                }
                continue;
            }
            if let Some((tid, signal)) = self.waiting.take() {
                self.resume_with(tid, signal)?;
            }
            self.carry_out_answers()?;
            if let Some((tid, status)) = self.reports.take() {
                if let Some(seen) = self.stopped(tid, status)? {
                    return Ok(Some(seen));
                }
            } else if !self.wait()? {
                return Ok(None);
            }
        }
    }

    /// Goes on until nobody is left, and tells nothing.
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next).
    pub fn run(&mut self) -> Result<(), Error> {
        while self.next()?.is_some() {}
        Ok(())
    }

    /// Who decides.
    #[must_use]
    pub const fn judge(&self) -> &J {
        &self.judge
    }

    /// How the process that was seized ended; `None` while it runs.
    ///
    /// If it is a child of this very thread, this is the only place that
    /// tells: the tracer has waited for it.
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

    /// The verdict on everything up to now; final after the end.
    #[must_use]
    pub const fn completeness(&self) -> &Completeness {
        &self.completeness
    }

    /// Looks whether something has happened before the tracer came.
    fn check_in_time(&mut self) {
        let (Some(target), Some(own)) = (Status::of(self.root), Status::own()) else {
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

    fn stopped(&mut self, tid: u32, status: i32) -> Result<Option<Seen>, Error> {
        let stop = Stop::of(status);
        if stop == Stop::Ended {
            if tid == self.root {
                self.root_status = Some(ExitStatus::from_raw(status));
            }
            let further = self.tasks.get(tid).is_some_and(|task| !task.leads());
            if further || libc::WIFSIGNALED(status) {
                // An exec of another thread looks like an end of its own.
                self.tasks.lost();
            }
            self.ended(tid)?;
            return Ok(None);
        }
        if self.tasks.get(tid).is_none() && stop != Stop::Exec {
            self.tasks.hold(tid);
            if !self.will_be_told_of(tid) {
                self.adopt_early()?;
            }
            return Ok(None);
        }
        if let Stop::Signal(_) = stop {
            self.restart_interrupted(tid)?;
        }
        match stop {
            Stop::Seccomp => return self.seccomp_stop(tid),
            Stop::Syscall => return self.syscall_stop(tid),
            Stop::Signal(libc::SIGSYS) if self.mode.denies() => return self.sigsys_stop(tid),
            Stop::Signal(signal) => self.resume_with(tid, signal)?,
            Stop::Group => {
                alive("PTRACE_LISTEN", tid, sys::resume(tid, Resume::Listen))?;
            }
            Stop::Trap | Stop::Ended => self.resume(tid)?,
            Stop::NewChild { lends } => {
                if let Some(child) = event_tid(tid)? {
                    self.new_child(tid, child, lends)?;
                }
                self.resume(tid)?;
            }
            Stop::Exec => self.exec_stop(tid)?,
            Stop::Exit => return self.exit_stop(tid),
        }
        Ok(None)
    }

    pub(crate) fn note(&mut self, sentence: &str) {
        if !self.notes.iter().any(|note| note == sentence) {
            self.notes.push(sentence.to_owned());
        }
    }

    pub(crate) fn task(&self, tid: u32) -> Task {
        self.tasks.get(tid).unwrap_or(Task {
            thread: tid,
            process: tid,
        })
    }

    pub(crate) fn resume(&mut self, tid: u32) -> Result<(), Error> {
        self.resume_with(tid, 0)
    }

    pub(crate) fn resume_with(&mut self, tid: u32, signal: i32) -> Result<(), Error> {
        let state = self.tasks.state(tid);
        let how = if state.is_some_and(|state| state.needs_syscall_stops()) {
            Resume::UntilSyscall(signal)
        } else {
            Resume::Continue(signal)
        };
        alive("PTRACE_CONT", tid, sys::resume(tid, how)).map(drop)
    }
}

impl<J> Drop for Tracer<J> {
    /// Nobody would answer the stops of those that are left.
    fn drop(&mut self) {
        self.close();
        for process in self.tasks.processes() {
            // One that is gone already is what this wants.
            let _gone = sys::kill(process);
        }
    }
}

/// Whether the thread was there for the request. `ESRCH` is normal: SIGKILL
/// ends a thread in any stop.
pub(crate) fn alive(
    request: &'static str,
    tid: u32,
    result: io::Result<()>,
) -> Result<bool, Error> {
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
pub(crate) fn event_tid(tid: u32) -> Result<Option<u32>, Error> {
    match sys::event_message(tid) {
        Ok(message) => Ok(Some(low_32(message))),
        Err(error) => {
            alive("PTRACE_GETEVENTMSG", tid, Err(error))?;
            Ok(None)
        }
    }
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "the kernel widens 32-bit values here; the upper half is sign extension"
)]
pub(crate) const fn low_32(value: u64) -> u32 {
    value as u32
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "SECCOMP_RET_DATA is the low 16 bits"
)]
pub(crate) const fn low_16(value: u32) -> u16 {
    value as u16
}

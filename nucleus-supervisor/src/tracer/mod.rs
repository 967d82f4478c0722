//! A tracer for the few calls that a notification would break or cannot judge.
//!
//! A caller that waits for a notification to be received is interrupted by
//! signals: a fork or an mmap fails with EINTR then in programs whose handlers
//! lack `SA_RESTART`. And what an exec runs can be judged only once the kernel
//! has read it. A ptrace stop is not interrupted; children are stopped before
//! they run and programs before their first instruction.

mod answers;
mod guard;
mod tasks;

use std::collections::BTreeSet;
use std::fmt;
use std::marker::PhantomData;

use nucleus_seccomp::SeccompData;
use rustix::io::Errno;

use self::answers::Waiting;
pub use self::answers::{Answers, Ticket};
pub use self::guard::{Guard, Task, TracedCall, Verdict};
use self::tasks::{Birth, Tasks};
use crate::Error;
use crate::sys::ptrace::{self, Resume};

/// Follows a program and all that it starts, and lets guards decide.
///
/// The kernel ties a tracee to the thread that attached: this cannot be sent to
/// another. When that thread ends, what it traces is killed
/// (`PTRACE_O_EXITKILL`). The program cannot use ptrace(2) itself meanwhile.
pub struct Tracer {
    tasks: Tasks,
    guards: Vec<Box<dyn Guard>>,
    waiting: Waiting,
    on_thread: PhantomData<*const ()>,
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracer")
            .field("tasks", &self.tasks)
            .finish_non_exhaustive()
    }
}

/// Why a thread stopped, from its wait status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    Call,
    Return,
    NewChild,
    Exec,
    Signal(i32),
    Group,
    /// The first stop of a new one, and the end of a group stop.
    Trap,
    Ended,
}

impl Stop {
    const fn of(status: i32) -> Self {
        if !libc::WIFSTOPPED(status) {
            return Self::Ended;
        }
        let signal = libc::WSTOPSIG(status);
        match status >> 16 {
            0 if signal == libc::SIGTRAP | 0x80 => Self::Return,
            0 => Self::Signal(signal),
            libc::PTRACE_EVENT_SECCOMP => Self::Call,
            libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK | libc::PTRACE_EVENT_CLONE => {
                Self::NewChild
            }
            libc::PTRACE_EVENT_EXEC => Self::Exec,
            libc::PTRACE_EVENT_STOP if signal != libc::SIGTRAP => Self::Group,
            _ => Self::Trap,
        }
    }
}

impl Tracer {
    /// Attaches to a process of one thread, before it installs its filter.
    ///
    /// # Errors
    ///
    /// The kernel refuses: the process is traced already, or Yama forbids it.
    pub fn seize(process: u32, mut guards: Vec<Box<dyn Guard>>) -> Result<Self, Error> {
        ptrace::seize(process).map_err(|source| Error::Seize {
            pid: process,
            source,
        })?;
        let root = Task {
            thread: process,
            process,
        };
        for guard in &mut guards {
            guard.born(root, None);
        }
        Ok(Self {
            tasks: Tasks::new(process),
            waiting: Waiting::new(&guards)?,
            guards,
            on_thread: PhantomData,
        })
    }

    /// Goes on until nobody is left, and gives the guards back.
    ///
    /// # Errors
    ///
    /// A request of ptrace(2) failed that no tracee's death explains. All that
    /// was traced is killed when the calling thread ends.
    pub fn run(mut self) -> Result<Vec<Box<dyn Guard>>, Error> {
        let failed = |source| Error::Wait { source };
        while let Some((thread, status)) = ptrace::wait().map_err(failed)? {
            let handled = if self.waiting.is_bell(thread) {
                self.rung(Stop::of(status) == Stop::Ended)
            } else {
                self.stopped(thread, Stop::of(status))
            };
            match handled {
                // SIGKILL ends a thread in any stop.
                Ok(()) | Err(Errno::SRCH) => {}
                Err(source) => return Err(Error::Trace { thread, source }),
            }
            if self.tasks.is_empty() {
                // A child that nobody has told of yet is still waited for.
                alive(self.waiting.dismiss()).map_err(failed)?;
            }
        }
        Ok(std::mem::take(&mut self.guards))
    }

    fn stopped(&mut self, thread: u32, stop: Stop) -> Result<(), Errno> {
        if stop == Stop::Ended {
            return self.ended(thread);
        }
        if self.tasks.get(thread).is_none() && stop != Stop::Exec {
            self.tasks.hold(thread);
            return Ok(());
        }
        match stop {
            Stop::Call => self.call(thread),
            Stop::Return => {
                self.tell(|guard| guard.over(thread));
                ptrace::resume(thread, Resume::Continue(0))
            }
            Stop::NewChild => {
                let child = ptrace::event_thread(thread)?;
                self.new_child(thread, child)?;
                ptrace::resume(thread, Resume::Continue(0))
            }
            Stop::Exec => self.executed(thread),
            Stop::Signal(signal) => ptrace::resume(thread, Resume::Continue(signal)),
            Stop::Group => ptrace::resume(thread, Resume::Listen),
            Stop::Trap | Stop::Ended => ptrace::resume(thread, Resume::Continue(0)),
        }
    }

    fn tell(&mut self, mut tell: impl FnMut(&mut dyn Guard)) {
        for guard in &mut self.guards {
            tell(guard.as_mut());
        }
    }

    fn call(&mut self, thread: u32) -> Result<(), Errno> {
        let info = ptrace::call(thread)?;
        let Some(task) = self.tasks.get(thread) else {
            return Err(Errno::SRCH);
        };
        let call = TracedCall {
            task,
            data: SeccompData {
                nr: u32::try_from(info.number & u64::from(u32::MAX)).unwrap_or(u32::MAX),
                arch: info.arch,
                instruction_pointer: info.instruction_pointer,
                args: info.args,
            },
        };
        match self.judge(&call) {
            Some(verdict) => carry_out(task, verdict),
            None => Ok(()),
        }
    }

    /// What becomes of a call; `None` when that is not known yet.
    fn judge(&mut self, call: &TracedCall) -> Option<Verdict> {
        let mut verdict = Verdict::Go;
        let mut open = BTreeSet::new();
        for at in 0..self.guards.len() {
            match self.guards[at].enter(call) {
                Verdict::Go => {}
                Verdict::GoAndTell => verdict = Verdict::GoAndTell,
                Verdict::Wait(ticket) => {
                    open.insert(ticket);
                }
                denied => {
                    for guard in &mut self.guards[..at] {
                        guard.over(call.task.thread);
                    }
                    return Some(denied);
                }
            }
        }
        if open.is_empty() {
            return Some(verdict);
        }
        if self.waiting.add(call.task, open, verdict) {
            return None;
        }
        self.tell(|guard| guard.over(call.task.thread));
        Some(Verdict::Errno(Errno::ACCESS))
    }

    /// The bell was rung: lets those go on whose answers have come.
    fn rung(&mut self, has_ended: bool) -> Result<(), Errno> {
        self.waiting.rung(has_ended)?;
        for (task, verdict) in self.waiting.decided() {
            if !verdict.goes() {
                self.tell(|guard| guard.over(task.thread));
            }
            alive(carry_out(task, verdict))?;
        }
        Ok(())
    }

    fn new_child(&mut self, parent: u32, child: u32) -> Result<(), Errno> {
        let birth = self
            .tasks
            .told(child, || crate::process::runs(child.cast_signed()));
        if matches!(birth, Birth::New { .. }) {
            self.born(child, self.tasks.get(parent));
        }
        self.tell(|guard| guard.over(parent));
        match birth {
            Birth::New { waits: true } => alive(ptrace::resume(child, Resume::Continue(0))),
            Birth::New { .. } | Birth::Known | Birth::Ended => Ok(()),
        }
    }

    fn born(&mut self, child: u32, parent: Option<Task>) {
        let process = match parent {
            _ if ptrace::leads_process(child) => child,
            Some(parent) => parent.process,
            None => {
                crate::process::thread_group(child.cast_signed()).map_or(child, i32::cast_unsigned)
            }
        };
        let task = Task {
            thread: child,
            process,
        };
        self.tasks.add(task);
        self.tell(|guard| guard.born(task, parent));
    }

    fn executed(&mut self, process: u32) -> Result<(), Errno> {
        let former = ptrace::event_thread(process)?;
        self.tasks.executed(process, former);
        self.waiting.forget(process);
        self.waiting.forget(former);
        let mut runs = true;
        self.tell(|guard| runs &= guard.executed(process, former));
        if runs {
            ptrace::resume(process, Resume::Continue(0))
        } else {
            ptrace::kill(process)
        }
    }

    fn ended(&mut self, thread: u32) -> Result<(), Errno> {
        self.waiting.forget(thread);
        if let Some(task) = self.tasks.ended(thread) {
            self.tell(|guard| guard.ended(task));
        }
        for child in self.tasks.adopt_early() {
            self.born(child, None);
            alive(ptrace::resume(child, Resume::Continue(0)))?;
        }
        Ok(())
    }
}

impl Drop for Tracer {
    /// Nobody would answer the stops of those that are left.
    fn drop(&mut self) {
        for process in self.tasks.processes() {
            // One that is gone already is what this wants.
            let _gone: Result<(), Errno> = ptrace::kill(process);
        }
    }
}

/// Lets a thread that stands at the entry of a call go on with this.
fn carry_out(task: Task, verdict: Verdict) -> Result<(), Errno> {
    let thread = task.thread;
    let skip = |value| {
        ptrace::skip_call(thread, value)?;
        ptrace::resume(thread, Resume::Continue(0))
    };
    match verdict {
        Verdict::Go => ptrace::resume(thread, Resume::Continue(0)),
        Verdict::GoAndTell => ptrace::resume(thread, Resume::UntilReturn),
        Verdict::Errno(errno) => skip(-i64::from(errno.raw_os_error())),
        Verdict::Value(value) => skip(value),
        Verdict::Kill => ptrace::kill(task.process),
        Verdict::Wait(_) => Ok(()),
    }
}

const fn alive(result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(errno) if errno.raw_os_error() == libc::ESRCH => Ok(()),
        result => result,
    }
}

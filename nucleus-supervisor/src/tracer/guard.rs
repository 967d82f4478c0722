//! What decides on the stops of a tracer.

use std::sync::Arc;

use nucleus_seccomp::SeccompData;
use rustix::io::Errno;

use super::answers::{Answers, Ticket};
use crate::{Enforced, Memory, TrapError, Traps};

/// A thread of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Task {
    /// Its id in the tracer's PID namespace.
    pub thread: u32,
    /// The id of its thread group.
    pub process: u32,
}

impl Task {
    /// Whether it is the first thread of its process: the process ends with it.
    #[must_use]
    pub const fn leads(&self) -> bool {
        self.thread == self.process
    }
}

/// A call at whose entry its thread stands still, whatever signals come.
#[derive(Debug, Clone, Copy)]
pub struct TracedCall {
    /// Who makes it.
    pub task: Task,
    /// The registers.
    pub data: SeccompData,
}

impl TracedCall {
    /// The caller's memory. Other threads can change it.
    #[must_use]
    pub fn memory(&self) -> Memory<'_> {
        let arch = self.data.syscall().map(nucleus_seccomp::Syscall::arch);
        Memory::of_tracee(self.task.thread.cast_signed(), arch)
    }

    /// An argument of type `int`: the upper half of the register does not count.
    #[must_use]
    pub fn int(&self, index: usize) -> u32 {
        let register = self.data.args.get(index).copied().unwrap_or(0);
        u32::try_from(register & u64::from(u32::MAX)).unwrap_or(u32::MAX)
    }
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is made.
    Go,
    /// It is made, and the guard hears of its end: [`Guard::over`].
    GoAndTell,
    /// It fails with this, without being made.
    Errno(Errno),
    /// It returns this, without being made.
    Value(i64),
    /// The process is killed.
    Kill,
    /// The caller stands still, and all others go on, until the ticket is
    /// answered: [`Guard::answers`]. Then it goes, if nobody else denies it.
    Wait(Ticket),
}

impl Verdict {
    /// Whether the call is made.
    #[must_use]
    pub const fn goes(self) -> bool {
        matches!(self, Self::Go | Self::GoAndTell)
    }
}

/// Rules of one kind that a [`Tracer`](crate::Tracer) enforces.
///
/// All methods are called on the tracer's thread, one after the other, while
/// the thread in question stands still. They must not wait for anything.
pub trait Guard: Send {
    /// Each rule, and who enforces it.
    fn enforced(&self) -> Vec<Enforced>;

    /// Adds the calls to decide on.
    ///
    /// # Errors
    ///
    /// A test of an argument that no call has.
    fn trap(&self, traps: &mut Traps) -> Result<(), TrapError>;

    /// Decides on a call, of which it has trapped some or another guard has.
    fn enter(&mut self, call: &TracedCall) -> Verdict {
        let _unused: &TracedCall = call;
        Verdict::Go
    }

    /// Where the answers come in to the calls that this makes wait; `None` for
    /// a guard that never does.
    fn answers(&self) -> Option<Arc<Answers>> {
        None
    }

    /// A call of this thread that was to go is over: it has returned, made a
    /// child, or was denied by another guard. Not called when the thread has
    /// ended or executed a program instead.
    fn over(&mut self, thread: u32) {
        let _unused: u32 = thread;
    }

    /// A thread or a process has come to be, and has not run yet; what has
    /// made it is over after this. The parent is not known when the child was
    /// noticed by another task's end.
    fn born(&mut self, child: Task, parent: Option<Task>) {
        let _unused: (Task, Option<Task>) = (child, parent);
    }

    /// A process has a new program, of which no instruction has run. All but
    /// one of its threads are gone; that one, `former`, has taken the
    /// process's id. True lets it run; else the process is killed.
    fn executed(&mut self, process: u32, former: u32) -> bool {
        let _unused: (u32, u32) = (process, former);
        true
    }

    /// A thread is gone, and its process with it if it leads one.
    fn ended(&mut self, task: Task) {
        let _unused: Task = task;
    }

    /// What there is to say at the end, one sentence each.
    fn report(&self) -> Vec<String> {
        Vec::new()
    }
}

//! Who decides on the stops of a tracer.

use std::sync::Arc;

use nucleus_seccomp::{SeccompData, Syscall};
use rustix::io::Errno;

use crate::{Answers, Freezer, Ticket};

/// `SECCOMP_RET_DATA` of a call that a filter leaves to a [`Judge`]. What is
/// below is an errno with which a profile denies.
pub const ASK: u16 = 0x8000;

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
    /// It is made, and the judge hears of its end: [`Judge::over`].
    GoAndTell,
    /// It fails with this, without being made.
    Errno(Errno),
    /// It returns this, without being made.
    Value(i64),
    /// The process is killed.
    Kill,
    /// The caller stands still, and all others go on, until the ticket is
    /// answered: [`Judge::answers`].
    Wait(Ticket),
}

impl Verdict {
    /// Whether the call is made.
    #[must_use]
    pub const fn goes(self) -> bool {
        matches!(self, Self::Go | Self::GoAndTell)
    }
}

/// Decides on the calls that a filter leaves to it ([`ASK`]), and hears of all
/// that comes to be and ends.
///
/// All methods are called on the tracer's thread, one after the other, while
/// the thread in question stands still. They must not wait for anything: what
/// takes time is answered [later](Verdict::Wait).
pub trait Judge {
    /// Where the answers come in to the calls that this makes wait. Asked for
    /// once, before anything else.
    fn answers(&self) -> Vec<Arc<Answers>> {
        Vec::new()
    }

    /// Who may stop all and let them go on. Asked for once, before anything
    /// else; waiting for a stop costs a little more where there is one.
    fn freezer(&self) -> Option<Freezer> {
        None
    }

    /// The calls that are made again after a signal that interrupts them,
    /// whatever its handler says, where the machine
    /// [lets that be](crate::CAN_RESTART). Asked for once, before anything else.
    ///
    /// For calls that are left to a listener and never fail with EINTR of
    /// themselves: whoever waits for a notification to be received is
    /// interrupted, and would fail with it where a handler lacks `SA_RESTART`.
    fn restarts(&self) -> Vec<Syscall> {
        Vec::new()
    }

    /// Decides on a call.
    fn enter(&mut self, call: &TracedCall) -> Verdict;

    /// The answer to a call that waits is here. What it says is done, unless
    /// this says otherwise.
    fn answered(&mut self, call: &TracedCall, verdict: Verdict) -> Verdict {
        let _unused: &TracedCall = call;
        verdict
    }

    /// A call of this thread that was to go is over: it has returned or made a
    /// child. Not called when the thread has ended or executed a program
    /// instead.
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
}

/// Nobody: a call that is left to it fails with ENOSYS, as without a tracer.
impl Judge for () {
    fn enter(&mut self, _call: &TracedCall) -> Verdict {
        Verdict::Errno(Errno::NOSYS)
    }
}

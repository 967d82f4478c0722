//! What decides on the stops of a tracer.

use std::sync::Arc;

use nucleus_seccomp::Syscall;
use nucleus_tracer::{Answers, Task, TracedCall, Verdict};

use crate::{Denial, Enforced, Memory, Policy, TrapError, Traps};

/// The memory of a call's caller. Other threads can change it.
#[must_use]
pub fn memory_of(call: &TracedCall) -> Memory<'_> {
    let arch = call.data.syscall().map(nucleus_seccomp::Syscall::arch);
    Memory::of_tracee(call.task.thread.cast_signed(), arch)
}

/// Rules of one kind that a tracer enforces, as one of its [`Guards`](crate::Guards).
///
/// All methods are called on the tracer's thread, one after the other, while
/// the thread in question stands still. They must not wait for anything: what
/// takes time is answered [later](Verdict::Wait), while the others go on.
pub trait Guard: Send {
    /// Each rule, and who enforces it.
    fn enforced(&self) -> Vec<Enforced>;

    /// Adds the calls to decide on.
    ///
    /// # Errors
    ///
    /// A test of an argument that no call has.
    fn trap(&self, traps: &mut Traps) -> Result<(), TrapError>;

    /// Whether there may be something to [leave](Self::leave_to_listener).
    fn may_leave(&self) -> bool {
        false
    }

    /// Gives what a listener judges in place of the tracer from now on, where
    /// that costs less: a part that [`trap`](Self::trap) leaves out then.
    /// `others` are the traps of all other guards, which must still see their
    /// calls. What it shares with the guard is locked only for as long as
    /// nobody waits.
    ///
    /// # Errors
    ///
    /// A test of an argument that no call has.
    fn leave_to_listener(&mut self, others: &Traps) -> Result<Option<Box<dyn Policy>>, TrapError> {
        let _unused: &Traps = others;
        Ok(None)
    }

    /// The calls that a listener judges and that a signal must not make fail:
    /// [`Judge::restarts`](nucleus_tracer::Judge::restarts).
    fn restarts(&self) -> Vec<Syscall> {
        Vec::new()
    }

    /// Decides on a call that it or another guard has trapped.
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

    /// Why it has just refused a call or killed a process, where there is
    /// somebody to tell. Asked right after [`enter`](Self::enter),
    /// [`executed`](Self::executed) or an answer that has denied.
    fn denial(&mut self) -> Option<Denial> {
        None
    }

    /// What there is to say at the end, one sentence each.
    fn report(&self) -> Vec<String> {
        Vec::new()
    }
}

//! Guards for the few calls that a notification would break or cannot judge:
//! the judge of a [`nucleus_tracer::Tracer`].
//!
//! A caller that waits for a notification to be received is interrupted by
//! signals: a fork fails with EINTR then in programs whose handlers lack
//! `SA_RESTART`, and where the tracer has it made again, each signal costs it a
//! notification. And what an exec runs can be judged only once the kernel has
//! read it. A ptrace stop is not interrupted; children are stopped before they
//! run and programs before their first instruction.

mod guard;
mod kept;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use nucleus_seccomp::{SeccompData, Syscall};
use nucleus_tracer::{Answers, Freezer, Judge, Task, TracedCall, Verdict};

pub use self::guard::{Guard, memory_of};
use crate::denial::Ear;
use crate::{Denied, Enforced, Errno, Policy, TrapError, Traps};

/// Guards, asked one after the other: the first that does not let a call go
/// decides, and those before it hear that it is over.
#[derive(Default)]
pub struct Guards {
    guards: Vec<Box<dyn Guard>>,
    /// Whose answer comes later, by thread.
    asked: BTreeMap<u32, Asked>,
    ear: Ear,
    freezer: Option<Freezer>,
}

/// Where the asking stopped.
#[derive(Debug, Clone, Copy)]
struct Asked {
    guard: usize,
    /// What those before have said.
    before: Verdict,
}

impl fmt::Debug for Guards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guards")
            .field("guards", &self.guards.len())
            .field("asked", &self.asked)
            .finish()
    }
}

impl Guards {
    /// Asked in this order.
    #[must_use]
    pub fn new(guards: Vec<Box<dyn Guard>>) -> Self {
        Self {
            guards,
            asked: BTreeMap::new(),
            ear: Ear::default(),
            freezer: None,
        }
    }

    /// Who stops the program and lets it go on, once a tracer has these guards.
    pub fn freezer(&mut self) -> Freezer {
        self.freezer.get_or_insert_default().clone()
    }

    /// Each rule, and who enforces it.
    pub fn enforced(&self) -> impl Iterator<Item = Enforced> {
        self.guards.iter().flat_map(|guard| guard.enforced())
    }

    /// What is left to the tracer.
    ///
    /// # Errors
    ///
    /// A test of an argument that no call has.
    pub fn traps(&self) -> Result<Traps, TrapError> {
        self.traps_but(None)
    }

    fn traps_but(&self, but: Option<usize>) -> Result<Traps, TrapError> {
        let mut traps = Traps::for_tracer();
        for (at, guard) in self.guards.iter().enumerate() {
            if Some(at) != but {
                guard.trap(&mut traps)?;
            }
        }
        Ok(traps)
    }

    /// Whether there may be something for a listener.
    #[must_use]
    pub fn may_leave(&self) -> bool {
        self.guards.iter().any(|guard| guard.may_leave())
    }

    /// Takes out what costs less where a listener judges it, for a [`Registry`](crate::Registry)
    /// whose listener is that of the filter. The rest goes on with the tracer.
    ///
    /// # Errors
    ///
    /// A test of an argument that no call has.
    pub fn leave_to_listener(&mut self) -> Result<Vec<Box<dyn Policy>>, TrapError> {
        let mut left = Vec::new();
        for at in 0..self.guards.len() {
            let others = self.traps_but(Some(at))?;
            left.extend(self.guards[at].leave_to_listener(&others)?);
        }
        Ok(left)
    }

    /// Whether nobody is asked.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.guards.is_empty()
    }

    /// Tells `hears` of each call that a guard has denied and gives a reason
    /// for, while its thread stands still. What the guards
    /// [report](Self::report) at the end is then said already.
    pub fn on_denial(&mut self, hears: impl Fn(&Denied<'_>) + Send + Sync + 'static) {
        self.ear.lend(hears);
    }

    /// What there is to say at the end, one sentence each.
    pub fn report(&self) -> impl Iterator<Item = String> {
        let untold = (!self.ear.hears()).then_some(&self.guards);
        untold
            .into_iter()
            .flatten()
            .flat_map(|guard| guard.report())
    }

    fn tell_denied(&mut self, by: usize, thread: u32, call: Option<SeccompData>, verdict: Verdict) {
        if !self.ear.hears() {
            return;
        }
        if let Some(denial) = self.guards.get_mut(by).and_then(|guard| guard.denial()) {
            let errno = match verdict {
                Verdict::Kill => None,
                Verdict::Errno(errno) => Some(errno),
                // A value that stands for a failure, such as of brk(2).
                _ => Some(Errno::NOMEM),
            };
            self.ear.hear(Some(thread), call, errno, || denial);
        }
    }

    fn tell(&mut self, mut tell: impl FnMut(&mut dyn Guard)) {
        for guard in &mut self.guards {
            tell(guard.as_mut());
        }
    }

    /// Asks those from `first` on, where those before have said `verdict`.
    fn ask(&mut self, call: &TracedCall, first: usize, mut verdict: Verdict) -> Verdict {
        for at in first..self.guards.len() {
            match self.guards[at].enter(call) {
                Verdict::Go => {}
                Verdict::GoAndTell => verdict = Verdict::GoAndTell,
                Verdict::Wait(ticket) => {
                    let asked = Asked {
                        guard: at,
                        before: verdict,
                    };
                    self.asked.insert(call.task.thread, asked);
                    return Verdict::Wait(ticket);
                }
                denied => return self.denied(call, at, denied),
            }
        }
        verdict
    }

    fn denied(&mut self, call: &TracedCall, by: usize, verdict: Verdict) -> Verdict {
        for guard in &mut self.guards[..by] {
            guard.over(call.task.thread);
        }
        self.tell_denied(by, call.task.thread, Some(call.data), verdict);
        verdict
    }
}

impl Judge for Guards {
    fn answers(&self) -> Vec<Arc<Answers>> {
        let answers = self.guards.iter().filter_map(|guard| guard.answers());
        answers.collect()
    }

    fn freezer(&self) -> Option<Freezer> {
        self.freezer.clone()
    }

    fn restarts(&self) -> Vec<Syscall> {
        let calls = self.guards.iter().flat_map(|guard| guard.restarts());
        calls.collect()
    }

    fn enter(&mut self, call: &TracedCall) -> Verdict {
        self.ask(call, 0, Verdict::Go)
    }

    fn answered(&mut self, call: &TracedCall, verdict: Verdict) -> Verdict {
        let Some(Asked { guard, before }) = self.asked.remove(&call.task.thread) else {
            return verdict;
        };
        match verdict {
            Verdict::Go => self.ask(call, guard + 1, before),
            Verdict::GoAndTell => self.ask(call, guard + 1, verdict),
            denied => self.denied(call, guard, denied),
        }
    }

    fn over(&mut self, thread: u32) {
        self.tell(|guard| guard.over(thread));
    }

    fn born(&mut self, child: Task, parent: Option<Task>) {
        self.tell(|guard| guard.born(child, parent));
    }

    fn executed(&mut self, process: u32, former: u32) -> bool {
        self.asked.remove(&process);
        self.asked.remove(&former);
        let mut runs = true;
        for at in 0..self.guards.len() {
            if !self.guards[at].executed(process, former) {
                runs = false;
                self.tell_denied(at, process, None, Verdict::Kill);
            }
        }
        runs
    }

    fn ended(&mut self, task: Task) {
        self.asked.remove(&task.thread);
        self.tell(|guard| guard.ended(task));
    }
}

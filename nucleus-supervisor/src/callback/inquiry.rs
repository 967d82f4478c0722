//! Questions about processes and memory, and restrictions that children inherit.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Arbiter, Category, Event, Power, Verdict};
use crate::limits::{Fork, heap_start, refuse_unseen_children, trap_claims, trap_forks};
use crate::{Answers, Enforced, Enforcer, Guard, Task, TracedCall, TrapError, Traps};

/// Asks about each process that is to be made and each claim of memory, as far
/// as that is wanted. With it in a tracer, children begin with the restrictions
/// of their parents: [`Context`](super::Context).
#[derive(Debug)]
pub struct Inquiry {
    arbiter: Arbiter,
    about: BTreeSet<Category>,
    answers: Arc<Answers>,
}

impl Inquiry {
    /// Asks about these of [`Category::Process`] and [`Category::Memory`], or
    /// none; the others are asked about by the policies on them.
    #[must_use]
    pub fn new(arbiter: Arbiter, about: impl IntoIterator<Item = Category>) -> Self {
        arbiter.context().enforces(Power::Descent);
        Self {
            arbiter,
            about: about.into_iter().collect(),
            answers: Arc::default(),
        }
    }

    fn event(&self, call: &TracedCall) -> Option<Event> {
        let name = call.data.syscall()?.name()?;
        let asks = |category| self.about.contains(&category);
        let thread = call.task.thread;
        if asks(Category::Process) && Fork::of(call).is_some() {
            return Some(Event::new(name, Category::Process, thread));
        }
        let size = claimed(name, call).filter(|_| asks(Category::Memory))?;
        Some(Event {
            size,
            ..Event::new(name, Category::Memory, thread)
        })
    }
}

/// How much a call claims, where the registers say so; `None` for one that does
/// not.
fn claimed(name: &str, call: &TracedCall) -> Option<Option<u64>> {
    let args = call.data.args;
    match name {
        "mmap" | "mmap2" | "mprotect" | "pkey_mprotect" | "shmget" => Some(Some(args[1])),
        "mremap" => Some(Some(args[2].saturating_sub(args[1]))),
        // From its start on, as the heap is to be.
        "brk" => Some(heap_start(call.task.process).map(|start| args[0].saturating_sub(start))),
        _ => None,
    }
}

impl Guard for Inquiry {
    fn enforced(&self) -> Vec<Enforced> {
        let asks = self.about.iter().map(|category| Enforced {
            rule: format!("what the policy says of each {category} event"),
            by: Enforcer::Tracer,
        });
        asks.collect()
    }

    fn trap(&self, traps: &mut Traps) -> Result<(), TrapError> {
        refuse_unseen_children(traps)?;
        if self.about.contains(&Category::Process) {
            trap_forks(traps)?;
        }
        if self.about.contains(&Category::Memory) {
            trap_claims(traps, None)?;
        }
        Ok(())
    }

    fn answers(&self) -> Option<Arc<Answers>> {
        Some(Arc::clone(&self.answers))
    }

    fn enter(&mut self, call: &TracedCall) -> crate::Verdict {
        let Some(event) = self.event(call) else {
            return crate::Verdict::Go;
        };
        let (answers, ticket) = (Arc::clone(&self.answers), self.answers.ticket());
        self.arbiter
            .ask(event, move |verdict| answers.give(ticket, verdict.into()));
        crate::Verdict::Wait(ticket)
    }

    fn born(&mut self, child: Task, parent: Option<Task>) {
        if child.leads() {
            let parent = parent.map(|parent| parent.process);
            self.arbiter.context().born(child.process, parent);
        }
    }

    fn ended(&mut self, task: Task) {
        if task.leads() {
            self.arbiter.context().ended(task.process);
        }
    }
}

impl From<Verdict> for crate::Verdict {
    fn from(verdict: Verdict) -> Self {
        match verdict.ok() {
            Ok(()) => Self::Go,
            Err(errno) => Self::Errno(errno),
        }
    }
}

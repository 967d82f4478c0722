//! How much memory the program may claim.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nucleus_seccomp::Syscall;

use super::claim::{Small, trap_claims};
use super::ledger::Ledger;
use super::small::SmallClaims;
use super::trap_forks;
use crate::callback::{Context, Power};
use crate::{
    Denial, Enforced, Enforcer, Guard, Policy, Task, TracedCall, TrapError, Traps, Verdict,
};

/// What becomes of a claim beyond the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenFull {
    /// It fails with ENOMEM.
    #[default]
    Refuse,
    /// The process is killed, as by the kernel for a cgroup's limit.
    Kill,
}

/// Limits the memory that all processes can write to, by the growth of their
/// address spaces.
///
/// Each call that makes memory writable is counted before it is made, and the
/// sum is never less than what the kernel counts; when it reaches the limit it
/// is put right by the kernel's figures, for what was given back is not
/// trapped. Memory counts when it is claimed, touched or not, and again for
/// each process that has a copy. Not counted: the growth of stacks, which
/// `RLIMIT_STACK` bounds, the page cache, files in a tmpfs.
///
/// A tracer judges all claims, unless the small ones, which are most, are
/// [left to a listener](Guard::leave_to_listener): that takes three quarters of
/// the time.
#[derive(Debug)]
pub struct MemoryLimit {
    rule: Rule,
    /// What a listener judges.
    small: Option<Small>,
}

/// The limit, as the tracer and a listener know it.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    limit: u64,
    option: Arc<str>,
    ledger: Arc<Mutex<Ledger>>,
}

impl Rule {
    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // Nothing panics between changes that belong together.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn option(&self) -> &str {
        &self.option
    }

    pub(super) fn denial(&self) -> Denial {
        Denial {
            what: "claim memory".to_owned(),
            why: format!("more than {} would be claimed", self.option),
            remedy: Some(format!("raise {}", self.option)),
        }
    }
}

impl MemoryLimit {
    /// At most so many bytes; `option` is what the user asked for, for the
    /// report.
    #[must_use]
    pub fn new(limit: u64, option: String, when_full: WhenFull) -> Self {
        let rule = Rule {
            limit,
            option: option.into(),
            ledger: Arc::new(Mutex::new(Ledger::new(limit, when_full))),
        };
        Self { rule, small: None }
    }

    /// At most what a callback allows, if that is less.
    #[must_use]
    pub fn tightened_by(self, context: &Context) -> Self {
        context.enforces(Power::Memory);
        self.rule.ledger().tightened = context.clone();
        self
    }

    /// What is counted, in bytes.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.rule.ledger().used()
    }
}

impl Guard for MemoryLimit {
    fn enforced(&self) -> Vec<Enforced> {
        vec![Enforced {
            rule: self.rule.option.to_string(),
            by: Enforcer::Tracer,
        }]
    }

    fn trap(&self, traps: &mut Traps) -> Result<(), TrapError> {
        trap_forks(traps)?;
        trap_claims(traps, self.small)
    }

    fn may_leave(&self) -> bool {
        Small::under(self.rule.limit).is_some()
    }

    fn leave_to_listener(&mut self, others: &Traps) -> Result<Option<Box<dyn Policy>>, TrapError> {
        let Some(small) = Small::under(self.rule.limit) else {
            return Ok(None);
        };
        let mut traps = Traps::new();
        small.trap(&mut traps)?;
        if traps.in_common(others).is_some() {
            return Ok(None);
        }
        self.small = Some(small);
        let claims = SmallClaims::new(self.rule.clone(), small);
        Ok(Some(Box::new(claims)))
    }

    fn restarts(&self) -> Vec<Syscall> {
        let calls = self.small.into_iter().flat_map(Small::calls);
        calls.map(|(call, _)| call).collect()
    }

    fn enter(&mut self, call: &TracedCall) -> Verdict {
        self.rule.ledger().enter(call)
    }

    fn over(&mut self, thread: u32) {
        self.rule.ledger().over(thread);
    }

    fn born(&mut self, child: Task, parent: Option<Task>) {
        self.rule.ledger().born(child, parent);
    }

    fn executed(&mut self, process: u32, former: u32) -> bool {
        self.rule.ledger().executed(process, former)
    }

    fn ended(&mut self, task: Task) {
        self.rule.ledger().ended(task);
    }

    fn denial(&mut self) -> Option<Denial> {
        Some(self.rule.denial())
    }

    fn report(&self) -> Vec<String> {
        self.rule.ledger().report(&self.rule.option)
    }
}

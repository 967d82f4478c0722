//! Small claims of memory of one's own, judged by a listener.

use super::claim::Small;
use super::memory::Rule;
use crate::{
    AtOnce, Decision, Enforced, Enforcer, Errno, Failure, Grounds, Handler, Policy, PolicyError,
    Registry, Reply, Request, Verdict,
};

/// Judges the claims that a [`MemoryLimit`](crate::MemoryLimit) leaves to the
/// listener, on registers and what was claimed up to now.
///
/// A caller that is interrupted before its notification was received makes its
/// call again, for which the guard asks the tracer. If it was received before
/// that (a kernel before 5.19), the claim has been counted already, and counts
/// twice until the counts are put right.
#[derive(Debug, Clone)]
pub(super) struct SmallClaims {
    rule: Rule,
    small: Small,
}

impl SmallClaims {
    pub(super) const fn new(rule: Rule, small: Small) -> Self {
        Self { rule, small }
    }
}

impl Policy for SmallClaims {
    fn enforced(&self) -> Vec<Enforced> {
        vec![Enforced {
            rule: format!("small claims of {}", self.rule.option()),
            by: Enforcer::Listener,
        }]
    }

    fn register(self: Box<Self>, registry: &mut Registry) -> Result<(), PolicyError> {
        for (call, refusal) in self.small.refusals() {
            registry.refuse(call, refusal)?;
        }
        for (call, when) in self.small.calls() {
            registry.add(call, when, AtOnce(Self::clone(&self)))?;
        }
        Ok(())
    }
}

impl Handler for SmallClaims {
    fn handle(&self, request: &Request) -> Result<Decision, Failure> {
        let mut ledger = self.rule.ledger();
        // A thread that waits now is known by its id until the ledger is told
        // of its end, which takes the lock. Nobody hears the answer to another.
        let verdict = match request.is_waiting()? {
            true => ledger.enter_thread(request.thread().cast_unsigned(), *request.data()),
            false => Some(Verdict::Errno(Errno::NOMEM)),
        };
        drop(ledger);
        let denied = match verdict {
            Some(Verdict::Go | Verdict::GoAndTell) => {
                return Ok(Decision::Pass(Grounds::RegistersAlone));
            }
            Some(Verdict::Errno(errno)) => Reply::Errno(errno),
            Some(Verdict::Kill) => Reply::Kill,
            // Only a heap is answered by a value, and nobody here waits.
            Some(Verdict::Value(_) | Verdict::Wait(_)) | None => {
                return Err(Failure(Errno::NOMEM));
            }
        };
        request.denied_because(self.rule.denial());
        Ok(Decision::Answer(denied))
    }
}

//! Answers to calls that wait, from other threads to the tracer.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::Verdict;
use crate::line::Line;

/// A call that waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// Where the answers come in to calls that wait.
#[derive(Debug, Default)]
pub struct Answers(Line<Said>);

#[derive(Debug, Default)]
struct Said {
    given: Vec<(Ticket, Verdict)>,
    /// Those whose callers stand still.
    awaited: BTreeSet<Ticket>,
}

impl Answers {
    /// For a call that is to wait; no two are alike, whoever asks.
    #[must_use]
    pub fn ticket(&self) -> Ticket {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Ticket(LAST.fetch_add(1, Ordering::Relaxed))
    }

    /// Answers, from whatever thread; that the caller is gone is no error. An
    /// answer that makes the call wait again is a denial.
    pub fn give(&self, ticket: Ticket, verdict: Verdict) {
        let mut state = self.0.lock();
        state.said.given.push((ticket, verdict));
        let is_awaited = |said: &Said| said.awaited.contains(&ticket);
        drop(self.0.until_heard(state, None, is_awaited));
    }

    /// The calling thread takes the answers from now on.
    pub(crate) fn bind(&self) {
        self.0.bind();
    }

    /// A call stands still until this is answered.
    pub(crate) fn expect(&self, ticket: Ticket) {
        self.0.lock().said.awaited.insert(ticket);
    }

    /// Who waited is gone.
    pub(crate) fn forget(&self, ticket: Ticket) {
        self.0.lock().said.awaited.remove(&ticket);
        self.0.answer();
    }

    /// What was answered since the last look.
    pub(crate) fn take(&self) -> Vec<(Ticket, Verdict)> {
        let mut state = self.0.lock();
        let given = std::mem::take(&mut state.said.given);
        for (ticket, _) in &given {
            state.said.awaited.remove(ticket);
        }
        drop(state);
        self.0.answer();
        given
    }

    /// Nobody takes answers any more.
    pub(crate) fn close(&self) {
        self.0.close();
    }
}

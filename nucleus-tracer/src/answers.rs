//! Answers to calls that wait, from other threads to the tracer.
//!
//! The tracer waits in waitpid(2), which only a signal interrupts; one that
//! comes right before the wait begins is lost. So whoever answers signals
//! until the answer was taken.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::{Verdict, sys};

/// How long a signal may have been lost before the next one. Nothing waits
/// this long but after that rare loss.
const AGAIN: Duration = Duration::from_millis(1);

/// A call that waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// Where the answers come in to calls that wait.
#[derive(Debug, Default)]
pub struct Answers {
    state: Mutex<State>,
    taken: Condvar,
}

#[derive(Debug, Default)]
struct State {
    given: Vec<(Ticket, Verdict)>,
    /// Those whose callers stand still.
    awaited: BTreeSet<Ticket>,
    /// The thread that takes the answers.
    tracer: Option<u32>,
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
        let mut state = self.state();
        state.given.push((ticket, verdict));
        while let Some(tracer) = state.tracer
            && tracer != sys::own_thread()
            && state.awaited.contains(&ticket)
            && sys::wake_thread(tracer).is_ok()
        {
            let waited = self.taken.wait_timeout(state, AGAIN);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The calling thread takes the answers from now on.
    pub(crate) fn bind(&self) {
        self.state().tracer = Some(sys::own_thread());
    }

    /// A call stands still until this is answered.
    pub(crate) fn expect(&self, ticket: Ticket) {
        self.state().awaited.insert(ticket);
    }

    /// Who waited is gone.
    pub(crate) fn forget(&self, ticket: Ticket) {
        self.state().awaited.remove(&ticket);
        self.taken.notify_all();
    }

    /// What was answered since the last look.
    pub(crate) fn take(&self) -> Vec<(Ticket, Verdict)> {
        let mut state = self.state();
        let given = std::mem::take(&mut state.given);
        for (ticket, _) in &given {
            state.awaited.remove(ticket);
        }
        self.taken.notify_all();
        given
    }

    /// Nobody takes answers any more.
    pub(crate) fn close(&self) {
        self.state().tracer = None;
        self.taken.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics between changes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

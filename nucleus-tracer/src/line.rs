//! What other threads have to say to the tracer's.
//!
//! The tracer waits in waitpid(2), which only a signal interrupts; one that
//! comes right before the wait begins is lost. So whoever speaks signals until
//! it was heard.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::sys;

/// How long a signal may have been lost before the next one. Nothing waits
/// this long but after that rare loss.
const AGAIN: Duration = Duration::from_millis(1);

/// Something that the tracer's thread and others share.
#[derive(Debug, Default)]
pub(crate) struct Line<T> {
    state: Mutex<State<T>>,
    heard: Condvar,
}

#[derive(Debug, Default)]
pub(crate) struct State<T> {
    pub(crate) said: T,
    /// The thread that listens.
    tracer: Option<u32>,
}

impl<T> State<T> {
    pub(crate) const fn has_tracer(&self) -> bool {
        self.tracer.is_some()
    }

    pub(crate) fn is_own_thread(&self) -> bool {
        self.tracer == Some(sys::own_thread())
    }
}

impl<T> Line<T> {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Nothing panics between changes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The calling thread listens from now on.
    pub(crate) fn bind(&self) {
        self.lock().tracer = Some(sys::own_thread());
    }

    /// Nobody listens any more.
    pub(crate) fn close(&self) {
        self.lock().tracer = None;
        self.heard.notify_all();
    }

    /// What was said was heard; those who wait for that look again.
    pub(crate) fn answer(&self) {
        self.heard.notify_all();
    }

    /// Wakes the tracer as long as `is_unheard`, up to a moment if there is
    /// one. On the tracer's own thread, or without one, it returns at once.
    pub(crate) fn until_heard<'a>(
        &'a self,
        mut state: MutexGuard<'a, State<T>>,
        until: Option<Instant>,
        is_unheard: impl Fn(&T) -> bool,
    ) -> MutexGuard<'a, State<T>> {
        while let Some(tracer) = state.tracer
            && !state.is_own_thread()
            && is_unheard(&state.said)
            && until.is_none_or(|until| Instant::now() < until)
            && sys::wake_thread(tracer).is_ok()
        {
            let waited = self.heard.wait_timeout(state, AGAIN);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state
    }
}

//! Stopping a whole program, and letting it go on, from other threads.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::line::Line;

/// Stops all that a tracer follows, and lets it go on: for where there is no
/// cgroup v2 to freeze. A clone is the same freezer.
///
/// The tracer takes it over from its judge: [`Judge::freezer`](crate::Judge::freezer).
///
/// What a frozen program does is left as it is and served after the thaw:
/// calls that it was about to make are judged then, children that it has just
/// made have not run, and neither have those that made them. A thread that
/// waited in the kernel sees what SIGSTOP and SIGCONT would have shown it: most
/// calls go on to wait, some fail with EINTR (signal(7)).
///
/// Whoever is killed while frozen is dead, and when the tracer's thread ends,
/// the kernel kills them all.
#[derive(Debug, Clone, Default)]
pub struct Freezer(Arc<Line<Said>>);

#[derive(Debug, Default)]
struct Said {
    wanted: bool,
    /// What the tracer has made of that: those that still run, while frozen.
    running: Option<BTreeSet<u32>>,
}

impl Said {
    fn is_frozen(&self) -> bool {
        self.running.as_ref().is_some_and(BTreeSet::is_empty)
    }
}

/// Why a program was not frozen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FreezeError {
    /// There is nobody to freeze.
    #[error("nothing is traced: the program has not started yet, or has ended")]
    NotTraced,
    /// Some are in the kernel, which lets them stop only when they return.
    #[error(
        "not all of the program stopped within {waited:?}: threads {threads:?} are still to stop, \
         and do so when the kernel lets them return, until the thaw"
    )]
    StillRunning {
        /// The threads' ids in the tracer's PID namespace; none where the
        /// tracer itself was busy for all that time.
        threads: BTreeSet<u32>,
        /// How long was waited.
        waited: Duration,
    },
}

impl Freezer {
    /// Stops everybody, and returns when nobody runs any more, or another
    /// thread has thawed them meanwhile. It does no harm to a program that is
    /// frozen already.
    ///
    /// On the tracer's own thread, where a judge is called, it returns at once:
    /// the tracer begins when the judge has returned.
    ///
    /// # Errors
    ///
    /// Nobody was there to freeze, or some did not stop within `patience`. In
    /// the latter case they stop as soon as they can; [`thaw`](Self::thaw)
    /// takes it all back.
    pub fn freeze(&self, patience: Duration) -> Result<(), FreezeError> {
        let mut state = self.0.lock();
        if !state.has_tracer() {
            return Err(FreezeError::NotTraced);
        }
        state.said.wanted = true;
        if state.is_own_thread() {
            return Ok(());
        }
        // A thaw by another thread is an answer, too.
        let is_unheard = |said: &Said| said.wanted && !said.is_frozen();
        let until = Instant::now().checked_add(patience);
        let state = self.0.until_heard(state, until, is_unheard);
        if !state.has_tracer() {
            return Err(FreezeError::NotTraced);
        }
        if is_unheard(&state.said) {
            return Err(FreezeError::StillRunning {
                threads: state.said.running.clone().unwrap_or_default(),
                waited: patience,
            });
        }
        Ok(())
    }

    /// Lets everybody go on. It does no harm where nobody is frozen.
    pub fn thaw(&self) {
        let mut state = self.0.lock();
        state.said.wanted = false;
        let is_unheard = |said: &Said| !said.wanted && said.running.is_some();
        drop(self.0.until_heard(state, None, is_unheard));
    }

    /// Whether all stand still.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.0.lock().said.is_frozen()
    }

    /// The calling thread is the tracer's.
    pub(crate) fn bind(&self) {
        self.0.bind();
    }

    /// The tracer has ended, and nobody is left.
    pub(crate) fn close(&self) {
        let mut state = self.0.lock();
        state.said = Said::default();
        drop(state);
        self.0.close();
    }

    pub(crate) fn is_wanted(&self) -> bool {
        self.0.lock().said.wanted
    }

    /// These run still, or nobody is frozen.
    pub(crate) fn tell(&self, running: Option<BTreeSet<u32>>) {
        self.0.lock().said.running = running;
        self.0.answer();
    }
}

//! The ptrace source: a tracer that the program's filter stops for.

use std::process::ExitStatus;
use std::time::SystemTime;

use nucleus_seccomp::{Completeness, SeccompData};
pub use nucleus_tracer::Mode as PtraceMode;
use nucleus_tracer::{Judge, Seen, Tracer};

use crate::proc;
use crate::{Error, Event, Source};

/// The calls of one process and all that it starts, without privilege: the
/// events of a [`Tracer`].
#[derive(Debug)]
pub struct PtraceSource<J: Judge = ()> {
    tracer: Tracer<J>,
}

impl PtraceSource {
    /// Attaches to a running process of one thread that has not installed its
    /// filter yet: calls made under the filter before this fail with ENOSYS.
    ///
    /// # Errors
    ///
    /// [`Error::Trace`] with the reason that the kernel had.
    pub fn seize(pid: u32, mode: PtraceMode) -> Result<Self, Error> {
        Self::seize_and_judge(pid, mode, ())
    }
}

impl<J: Judge> PtraceSource<J> {
    /// As [`seize`](PtraceSource::seize), with a judge of the calls that the
    /// filter leaves to it.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn seize_and_judge(pid: u32, mode: PtraceMode, judge: J) -> Result<Self, Error> {
        let tracer = Tracer::seize(pid, mode, judge).map_err(Error::Trace)?;
        Ok(Self { tracer })
    }

    /// Keeps a rehearsal from letting these calls go on, as
    /// [`Tracer::keep_denied`].
    pub fn keep_denied(&mut self, which: impl Fn(&SeccompData) -> bool + 'static) {
        self.tracer.keep_denied(which);
    }

    /// Who judges.
    #[must_use]
    pub const fn judge(&self) -> &J {
        self.tracer.judge()
    }

    /// How the process that was seized ended; `None` while it runs.
    ///
    /// If it is a child of this very thread, this is the only place that
    /// tells: the source has waited for it.
    #[must_use]
    pub const fn root_status(&self) -> Option<ExitStatus> {
        self.tracer.root_status()
    }

    /// What may have made the program behave otherwise than untraced, one
    /// sentence each.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        self.tracer.notes()
    }
}

impl<J: Judge> Source for PtraceSource<J> {
    fn name(&self) -> &'static str {
        "ptrace"
    }

    /// Ends when the last traced process has ended. The thread of a denied
    /// call stands still until the next event is asked for.
    fn next(&mut self) -> Result<Option<Event>, Error> {
        Ok(self.tracer.next().map_err(Error::Trace)?.map(event))
    }

    fn completeness(&self) -> Completeness {
        self.tracer.completeness().clone()
    }
}

fn event(seen: Seen) -> Event {
    let mut event = Event {
        time: None,
        pid: seen.task.process,
        tid: Some(seen.task.thread),
        session: None,
        call: seen.call,
        action: seen.action,
        comm: None,
        exe: None,
    };
    if event.action.is_denial() {
        event.time = Some(SystemTime::now());
        event.comm = proc::comm(seen.task.thread);
        event.exe = proc::exe(seen.task.thread);
    }
    event
}

//! Denials counted, and a thread that reads them while the program runs.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use nucleus_seccomp::{Action, Completeness};

use crate::log::Next;
use crate::{Belonging, Call, Error, Event, LogSource, Scope, Source, Stopper, Target};

/// How many kinds of denials are told apart by program. A hostile program can
/// have any number of names; beyond this they are counted without.
const MAX_APART: usize = 16 * 1024;

/// How often a target's new processes are taken in while nothing is denied:
/// no machine makes more in this time than the kernel keeps.
const KEEP_UP: Duration = Duration::from_secs(1);

/// Denials that are alike: the same call by the same program, answered the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// The call, as it was first made.
    pub call: Call,
    /// What the filter answered.
    pub action: Action,
    /// The program's file, where known and while there are not too many.
    pub exe: Option<PathBuf>,
    /// The name of the thread that made it first.
    pub comm: Option<OsString>,
    /// The process that made it first.
    pub pid: u32,
    /// When that was, where known.
    pub time: Option<SystemTime>,
    /// How often it was made.
    pub count: u64,
}

/// What was denied, and how far that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DenialReport {
    /// By architecture, number, answer and program.
    pub denials: Vec<Denial>,
    /// Denials of processes that may or may not be within the scope.
    pub unattributed: u64,
    /// The source's verdict.
    pub completeness: Completeness,
}

type Key = (u32, u32, Action, Option<PathBuf>);

/// Counts the denials among events, within a scope.
///
/// Calls that were allowed, recorded, or only logged are not denials.
#[derive(Debug)]
pub struct Denials {
    scope: Scope,
    counts: BTreeMap<Key, Denial>,
    unattributed: u64,
}

impl Denials {
    /// With nothing seen yet.
    #[must_use]
    pub const fn new(scope: Scope) -> Self {
        Self {
            scope,
            counts: BTreeMap::new(),
            unattributed: 0,
        }
    }

    /// Takes in an event. `None`: it is no denial.
    pub fn see(&mut self, event: &Event) -> Option<Belonging> {
        if !event.action.is_denial() {
            return None;
        }
        let belonging = self.scope.judge(event);
        match belonging {
            Belonging::Ours => self.count(event),
            Belonging::Unattributed => self.unattributed += 1,
            Belonging::Other => {}
        }
        Some(belonging)
    }

    /// The processes, where they are known by their ids.
    const fn target(&mut self) -> Option<&mut Target> {
        match &mut self.scope {
            Scope::Target(target) => Some(target),
            Scope::All | Scope::Session(_) => None,
        }
    }

    /// Whether one like this was seen before.
    #[must_use]
    pub fn knows(&self, event: &Event) -> bool {
        let key = |exe| (event.call.arch, event.call.nr, event.action, exe);
        self.counts.contains_key(&key(event.exe.clone()))
            || (self.counts.len() >= MAX_APART && self.counts.contains_key(&key(None)))
    }

    fn count(&mut self, event: &Event) {
        let call = event.call;
        let exe = event.exe.clone().filter(|_| self.counts.len() < MAX_APART);
        let key = (call.arch, call.nr, event.action, exe.clone());
        let denial = self.counts.entry(key).or_insert_with(|| Denial {
            call,
            action: event.action,
            exe,
            comm: event.comm.clone(),
            pid: event.pid,
            time: event.time,
            count: 0,
        });
        denial.count += 1;
    }

    /// What was seen, with the verdict of the source it came from.
    #[must_use]
    pub fn report(self, completeness: Completeness) -> DenialReport {
        DenialReport {
            denials: self.counts.into_values().collect(),
            unattributed: self.unattributed,
            completeness,
        }
    }
}

/// Reads denials on a thread of its own until it is told to finish.
///
/// ```no_run
/// use nucleus_audit::{
///     DenialLogger, Denials, LogPurpose, LogSource, Scope, enter_session,
/// };
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (source, _why_not_better) = LogSource::open_best(LogPurpose::Denials)?;
/// let denials = Denials::new(Scope::Session(enter_session()?));
/// let logger = DenialLogger::start(source, denials, |event, _belonging| {
///     eprintln!("{event:?}");
/// })?;
/// // Start a program on this thread and wait for its end. Its filter must
/// // have been installed with InstallFlags::LOG.
/// let report = logger.finish()?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct DenialLogger {
    stopper: Stopper,
    reader: JoinHandle<Result<DenialReport, Error>>,
}

impl DenialLogger {
    /// Starts to read. `on_denial` is called with every denial within the
    /// scope, and with those that cannot be attributed.
    ///
    /// # Errors
    ///
    /// When no thread can be started; for a [`Scope::Target`] also where the
    /// records number processes otherwise than this process's PID namespace.
    pub fn start(
        mut source: LogSource,
        mut denials: Denials,
        mut on_denial: impl FnMut(&Event, Belonging) + Send + 'static,
    ) -> Result<Self, Error> {
        let by_pid = denials.target().is_some();
        if by_pid && !source.numbers_as_here() {
            return Err(Error::ForeignPids);
        }
        let stopper = source.stopper();
        let ended = stopper.clone();
        let mut read = move |denials: &mut Denials| {
            loop {
                let rest = by_pid.then(|| Instant::now() + KEEP_UP);
                let event = match source.next_before(rest)? {
                    Next::Event(event) => event,
                    Next::Nothing => {
                        denials.target().map(Target::keep_up);
                        continue;
                    }
                    Next::End => return Ok(source.completeness()),
                };
                match denials.see(&event) {
                    Some(belonging @ (Belonging::Ours | Belonging::Unattributed)) => {
                        on_denial(&event, belonging);
                    }
                    Some(Belonging::Other) | None => {}
                }
            }
        };
        let run = move || {
            let verdict = read(&mut denials);
            // Whoever waits for the stopper shall see an early end too.
            ended.stop()?;
            Ok(denials.report(verdict?))
        };
        let thread = thread::Builder::new().name("audit-reader".into());
        let reader = thread.spawn(run).map_err(Error::Thread)?;
        Ok(Self { stopper, reader })
    }

    /// What ends the reading from another thread; [`Self::finish`] still gives
    /// the report.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Reads what the kernel still holds, and reports.
    ///
    /// # Errors
    ///
    /// What the source failed with.
    pub fn finish(self) -> Result<DenialReport, Error> {
        self.stopper.stop()?;
        self.wait()
    }

    /// Waits until something else stops the reading, and reports.
    ///
    /// # Errors
    ///
    /// What the source failed with.
    pub fn wait(self) -> Result<DenialReport, Error> {
        match self.reader.join() {
            Ok(report) => report,
            Err(_panic) => Err(Error::ReaderPanicked),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(session: u32, nr: u32, action: Action) -> Event {
        Event {
            time: None,
            pid: 7,
            tid: None,
            session: Some(session),
            call: Call {
                arch: 0xc000_003e,
                nr,
                instruction_pointer: 0,
                args: None,
            },
            action,
            comm: Some("x".into()),
            exe: Some("/x".into()),
        }
    }

    #[test]
    fn alike_denials_of_the_session_are_counted_once() {
        let mut denials = Denials::new(Scope::Session(3));
        let denied = Action::Errno(1);
        assert_eq!(denials.see(&event(3, 41, denied)), Some(Belonging::Ours));
        denials.see(&event(3, 41, denied));
        denials.see(&event(3, 2, Action::KillProcess));
        assert_eq!(denials.see(&event(4, 41, denied)), Some(Belonging::Other));
        let report = denials.report(Completeness::Complete);
        let counts: Vec<_> = report
            .denials
            .iter()
            .map(|denial| (denial.call.nr, denial.count))
            .collect();
        assert_eq!(counts, [(2, 1), (41, 2)]);
        assert_eq!(report.unattributed, 0);
    }

    #[test]
    fn what_was_not_denied_is_no_denial() {
        let mut denials = Denials::new(Scope::All);
        for action in [Action::Allow, Action::Log, Action::Notify, Action::Trace(1)] {
            assert_eq!(denials.see(&event(3, 41, action)), None);
        }
        assert_eq!(denials.report(Completeness::Complete).denials, []);
    }
}

//! Telling of denials: each as it happens or all at the end, and as NDJSON.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nucleus_audit::{Belonging, Call, DenialReport, Denials, Event, Scope};
use nucleus_seccomp::{Action, Arch, Completeness, Syscall};
use nucleus_supervisor::{Denial, Denied};

use crate::denials::{self, Events, Remedy};
use crate::event_json::Line;
use crate::explained::Explanation;
use crate::report;

/// How many kinds of denials by rules are told apart. A hostile program can
/// make any number; the rest are counted.
const MAX_KINDS: usize = 1024;

/// What is told of denials, whoever saw them.
#[derive(Debug, Clone)]
pub(crate) struct Teller(Arc<Mutex<Told>>);

#[derive(Debug)]
struct Told {
    at_once: bool,
    denials: Denials,
    by_rules: BTreeMap<(Denial, Option<PathBuf>), u64>,
    more: u64,
    events: Option<Events>,
    remedy: Remedy,
}

/// Reads a path in the memory of a thread that stands still.
pub(crate) type ReadPath<'a> = &'a dyn Fn(u64) -> Option<Vec<u8>>;

impl Teller {
    /// `at_once`: the first of each kind is explained as it happens.
    pub(crate) fn new(at_once: bool, events: Option<Events>, remedy: Remedy) -> Self {
        Self(Arc::new(Mutex::new(Told {
            at_once,
            // What sees them passes on what is of this run alone.
            denials: Denials::new(Scope::All),
            by_rules: BTreeMap::new(),
            more: 0,
            events,
            remedy,
        })))
    }

    /// A call that the profile denies. Its thread stands still where a path can
    /// be read.
    pub(crate) fn profile(&self, event: &Event, program: u32, read: ReadPath<'_>) {
        let mut told = self.told();
        if told.at_once && event.action.is_denial() && !told.denials.knows(event) {
            report::note(Explanation::new(event, read).describe(&told.remedy));
        }
        if told.denials.see(event).is_some() {
            told.write(&Line::new(event, Belonging::Ours, Some(program)));
        }
    }

    /// What a rule denies; the thread that asked stands still.
    pub(crate) fn rule(&self, denied: &Denied<'_>) {
        let event = denied.thread.map(|thread| event(thread, denied));
        let exe = event.as_ref().and_then(|event| event.exe.clone());
        let mut told = self.told();
        let key = (denied.denial.clone(), exe.clone());
        let is_new = !told.by_rules.contains_key(&key);
        if is_new && told.by_rules.len() >= MAX_KINDS {
            told.more += 1;
        } else {
            if is_new && told.at_once {
                report::note(ByRule {
                    denial: denied.denial,
                    by: exe.as_ref(),
                    process: event.as_ref().map(|event| event.pid),
                    count: 1,
                });
            }
            *told.by_rules.entry(key).or_default() += 1;
        }
        told.write(&Line::of_rule(event.as_ref(), denied.denial));
    }

    /// Says what is left to say, and gives the report on the profile's denials.
    /// `in_words`: with the list of them, where they were not said at once.
    pub(crate) fn finish(
        self,
        completeness: Completeness,
        in_words: bool,
    ) -> anyhow::Result<DenialReport> {
        let mut told = self.told();
        let (by_rules, more) = (std::mem::take(&mut told.by_rules), told.more);
        let denials = std::mem::replace(&mut told.denials, Denials::new(Scope::All));
        let report = denials.report(completeness);
        if told.at_once {
            for denial in report.denials.iter().filter(|denial| denial.count > 1) {
                let name = denials::name(&denial.call);
                report::note(format_args!("denied {} times in all: {name}", denial.count));
            }
            for ((denial, _exe), count) in by_rules.iter().filter(|(_, count)| **count > 1) {
                let what = &denial.what;
                report::note(format_args!("denied {count} times in all: {what}"));
            }
        } else if in_words {
            for denial in &report.denials {
                report::note(denials::describe(denial, &told.remedy));
            }
            for ((denial, exe), &count) in &by_rules {
                report::note(ByRule {
                    denial,
                    by: exe.as_ref(),
                    process: None,
                    count,
                });
            }
        }
        if more > 0 && (told.at_once || in_words) {
            report::note(format_args!("{more} more calls denied by rules"));
        }
        let events = told.events.take();
        drop(told);
        if let Some(events) = events {
            events.finish(&report)?;
        }
        Ok(report)
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        // A panic of another thread ends the run anyway, and says so.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Told {
    fn write(&mut self, line: &Line<'_>) {
        if let Some(events) = &mut self.events {
            events.write(line);
        }
    }
}

/// The call, with its process and program.
fn event(thread: u32, denied: &Denied<'_>) -> Event {
    let call = match denied.call {
        Some(data) => Call {
            arch: data.arch,
            nr: data.nr,
            instruction_pointer: data.instruction_pointer,
            args: Some(data.args),
        },
        None => {
            // What a process has become is known when its exec is over.
            let exec = Arch::native().and_then(|arch| Syscall::by_name(arch, "execve"));
            Call {
                arch: exec.map_or(0, |call| call.arch().audit()),
                nr: exec.map_or(0, Syscall::number),
                instruction_pointer: 0,
                args: None,
            }
        }
    };
    let errno = denied
        .errno
        .map(|errno| u16::try_from(errno.raw_os_error()));
    let action = match errno {
        None => Action::KillProcess,
        Some(errno) => Action::Errno(errno.unwrap_or(u16::MAX)),
    };
    Event::of_thread(thread, call, action)
}

/// One line on what a rule has denied, and what would allow it.
struct ByRule<'a> {
    denial: &'a Denial,
    by: Option<&'a PathBuf>,
    process: Option<u32>,
    count: u64,
}

impl fmt::Display for ByRule<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Denial { what, why, remedy } = self.denial;
        write!(f, "denied: {what}")?;
        if let Some(program) = self.by {
            write!(f, " by {}", program.display())?;
        }
        if let Some(process) = self.process {
            write!(f, " (process {process})")?;
        }
        if self.count > 1 {
            write!(f, ", {} times", self.count)?;
        }
        write!(f, ": {why}")?;
        match remedy {
            Some(remedy) => write!(f, "; to allow it, {remedy}"),
            None => Ok(()),
        }
    }
}

//! Questions about what is to be executed.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::callback::{self, Arbiter, Category, Event};
use crate::{Answers, Errno, TracedCall, Verdict};

/// A file that is executed, or that interprets one, with its arguments.
#[derive(Debug)]
pub(super) struct Step {
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl Step {
    pub(super) fn new(path: Option<&[u8]>, arguments: &[Vec<u8>]) -> Self {
        let text = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
        Self {
            path: text(path.unwrap_or_default()).into(),
            arguments: arguments.iter().map(|word| text(word)).collect(),
        }
    }

    fn event(self, blank: Event) -> Event {
        Event {
            path: Some(self.path),
            argv: Some(self.arguments),
            ..blank
        }
    }
}

/// Whoever is asked, and where the tracer hears of the answers.
#[derive(Debug)]
pub(super) struct Inquiry {
    arbiter: Arbiter,
    answers: Arc<Answers>,
}

impl Inquiry {
    pub(super) fn new(arbiter: Arbiter) -> Self {
        Self {
            arbiter,
            answers: Arc::default(),
        }
    }

    pub(super) fn answers(&self) -> Arc<Answers> {
        Arc::clone(&self.answers)
    }

    /// Asks about all steps of an exec at once: each must be allowed.
    pub(super) fn ask(&self, call: &TracedCall, steps: Vec<Step>) -> Verdict {
        let blank = event(call);
        let mut steps = steps;
        let context = self.arbiter.context();
        let within = |step: &Step| context.allows_path(blank.pid, &step.path);
        if let Some(at) = steps.iter().position(|step| !within(step)) {
            self.tell_denied(call, steps.swap_remove(at));
            return Verdict::Errno(Errno::ACCESS);
        }
        let ticket = self.answers.ticket();
        let paths: Vec<PathBuf> = steps.iter().map(|step| step.path.clone()).collect();
        let last = Arc::new((context.clone(), paths));
        let pid = blank.pid;
        let left = Arc::new(Mutex::new((steps.len(), callback::Verdict::Allow)));
        for step in steps {
            let event = step.event(blank.clone());
            let (left, answers) = (Arc::clone(&left), Arc::clone(&self.answers));
            let last = Arc::clone(&last);
            self.arbiter.ask(event, move |verdict| {
                // Nothing panics while it is held.
                let mut left = left.lock().unwrap_or_else(PoisonError::into_inner);
                *left = (left.0 - 1, left.1.and(verdict));
                if left.0 == 0 {
                    let (context, paths) = &*last;
                    // It may have been taken away by the verdict itself.
                    if !paths.iter().all(|path| context.allows_path(pid, path)) {
                        left.1 = left.1.and(callback::Verdict::DENY);
                    }
                    answers.give(ticket, left.1.into());
                }
            });
        }
        Verdict::Wait(ticket)
    }

    pub(super) fn tell_denied(&self, call: &TracedCall, step: Step) {
        self.arbiter.tell_denied(step.event(event(call)));
    }
}

fn event(call: &TracedCall) -> Event {
    let name = call.data.syscall().and_then(nucleus_seccomp::Syscall::name);
    Event::new(name.unwrap_or("unknown"), Category::Exec, call.task.thread)
}

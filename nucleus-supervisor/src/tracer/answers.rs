//! Answers to calls that wait, from other threads to the tracer.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::io::Errno;

use super::guard::{Guard, Task, Verdict};
use crate::Error;
use crate::sys::{bell, ptrace};

/// A call that waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// Where a guard lets the answers come in to the calls that it makes wait.
///
/// The tracer sleeps in wait(2), which nothing but a tracee ends: it keeps one
/// of its own for that, which is signalled when an answer has come.
#[derive(Debug, Default)]
pub struct Answers {
    given: Mutex<Vec<(Ticket, Verdict)>>,
    bell: OnceLock<Arc<OwnedFd>>,
}

impl Answers {
    /// For a call that is to wait; no two are alike, whoever asks.
    #[must_use]
    pub fn ticket(&self) -> Ticket {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Ticket(LAST.fetch_add(1, Ordering::Relaxed))
    }

    /// Answers, from whatever thread; that the caller is gone is no error.
    pub fn give(&self, ticket: Ticket, verdict: Verdict) {
        self.given().push((ticket, verdict));
        if let Some(bell) = self.bell.get() {
            // It ends with the tracer, which needs no answers then.
            let _over: Result<(), Errno> = bell::ring(bell);
        }
    }

    fn given(&self) -> MutexGuard<'_, Vec<(Ticket, Verdict)>> {
        // A push or a take leaves nothing half done.
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Vec<(Ticket, Verdict)> {
        std::mem::take(&mut *self.given())
    }
}

/// The calls that wait.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    bell: Option<Bell>,
    answers: Vec<Arc<Answers>>,
    calls: BTreeMap<u32, Call>,
}

/// A tracee of the tracer's own.
#[derive(Debug)]
struct Bell {
    process: u32,
    dismissed: bool,
}

#[derive(Debug)]
struct Call {
    task: Task,
    open: BTreeSet<Ticket>,
    /// What becomes of it when no answer denies it.
    goes: Verdict,
}

impl Waiting {
    /// For guards of which some may make calls wait.
    pub(super) fn new(guards: &[Box<dyn Guard>]) -> Result<Self, Error> {
        let answers: Vec<_> = guards.iter().filter_map(|guard| guard.answers()).collect();
        if answers.is_empty() {
            return Ok(Self::default());
        }
        let failed = |source| Error::Bell { source };
        let (process, pidfd) = bell::fork().map_err(failed)?;
        ptrace::seize(process).map_err(failed)?;
        let pidfd = Arc::new(pidfd);
        for answers in &answers {
            // A guard is traced once.
            let _first: Result<(), _> = answers.bell.set(Arc::clone(&pidfd));
        }
        Ok(Self {
            bell: Some(Bell {
                process,
                dismissed: false,
            }),
            answers,
            calls: BTreeMap::new(),
        })
    }

    /// Whether it is the bell that has stopped.
    pub(super) fn is_bell(&self, thread: u32) -> bool {
        self.bell.as_ref().is_some_and(|it| it.process == thread)
    }

    /// Handles a stop of the bell.
    ///
    /// # Errors
    ///
    /// It is gone, without which no answer would be heard (EOWNERDEAD).
    pub(super) fn rung(&mut self, has_ended: bool) -> Result<(), Errno> {
        if !has_ended {
            return self
                .bell
                .as_ref()
                .map_or(Ok(()), |bell| ptrace::resume(bell.process, CONTINUE));
        }
        match self.bell.take() {
            Some(bell) if !bell.dismissed => Err(Errno::OWNERDEAD),
            _ => Ok(()),
        }
    }

    /// Nobody is left who could wait: the bell ends.
    pub(super) fn dismiss(&mut self) -> Result<(), Errno> {
        match &mut self.bell {
            Some(bell) if !bell.dismissed => {
                bell.dismissed = true;
                ptrace::kill(bell.process)
            }
            _ => Ok(()),
        }
    }

    /// A call waits until all its tickets are answered. False when there is
    /// nobody any more who would hear of answers.
    pub(super) fn add(&mut self, task: Task, open: BTreeSet<Ticket>, goes: Verdict) -> bool {
        let hears = self.bell.as_ref().is_some_and(|bell| !bell.dismissed);
        if hears {
            self.calls.insert(task.thread, Call { task, open, goes });
        }
        hears
    }

    /// A thread is gone, or executes another program.
    pub(super) fn forget(&mut self, thread: u32) {
        self.calls.remove(&thread);
    }

    /// The calls about which all is known now.
    pub(super) fn decided(&mut self) -> Vec<(Task, Verdict)> {
        let given: Vec<_> = self.answers.iter().flat_map(|it| it.take()).collect();
        given
            .into_iter()
            .filter_map(|(ticket, verdict)| self.answer(ticket, verdict))
            .collect()
    }

    fn answer(&mut self, ticket: Ticket, verdict: Verdict) -> Option<(Task, Verdict)> {
        let mut calls = self.calls.values_mut();
        let call = calls.find(|call| call.open.contains(&ticket))?;
        call.open.remove(&ticket);
        let task = call.task;
        let decided = match verdict {
            Verdict::Go | Verdict::GoAndTell => {
                if verdict == Verdict::GoAndTell {
                    call.goes = verdict;
                }
                call.open.is_empty().then_some(call.goes)
            }
            // An answer that is none would be waited for for ever.
            Verdict::Wait(_) => Some(Verdict::Errno(Errno::ACCESS)),
            denied => Some(denied),
        };
        let decided = decided?;
        self.calls.remove(&task.thread);
        Some((task, decided))
    }
}

const CONTINUE: ptrace::Resume = ptrace::Resume::Continue(0);

#[cfg(test)]
mod tests {
    use super::*;

    const TASK: Task = Task {
        thread: 2,
        process: 1,
    };

    /// One call that waits for two answers; nobody is traced.
    fn waiting(answers: &Arc<Answers>) -> (Waiting, [Ticket; 2]) {
        let tickets = [answers.ticket(), answers.ticket()];
        let mut waiting = Waiting {
            bell: Some(Bell {
                process: 0,
                dismissed: false,
            }),
            answers: vec![Arc::clone(answers)],
            calls: BTreeMap::new(),
        };
        assert!(waiting.add(TASK, BTreeSet::from(tickets), Verdict::GoAndTell));
        (waiting, tickets)
    }

    #[test]
    fn a_call_goes_on_when_all_have_answered() {
        let answers = Arc::default();
        let (mut waiting, [first, second]) = waiting(&answers);
        answers.give(second, Verdict::Go);
        assert_eq!(waiting.decided(), []);
        answers.give(first, Verdict::Go);
        assert_eq!(waiting.decided(), [(TASK, Verdict::GoAndTell)]);
        answers.give(first, Verdict::Kill);
        assert_eq!(waiting.decided(), []);
    }

    #[test]
    fn one_denial_is_enough() {
        let answers = Arc::default();
        let (mut waiting, [first, second]) = waiting(&answers);
        let denied = Verdict::Errno(Errno::ACCESS);
        answers.give(second, denied);
        answers.give(first, Verdict::Go);
        assert_eq!(waiting.decided(), [(TASK, denied)]);
    }

    #[test]
    fn an_answer_to_the_dead_is_not_their_successors() {
        let answers = Arc::default();
        let (mut waiting, [first, _]) = waiting(&answers);
        waiting.forget(TASK.thread);
        let fresh = answers.ticket();
        assert!(waiting.add(TASK, BTreeSet::from([fresh]), Verdict::Go));
        answers.give(first, Verdict::Errno(Errno::ACCESS));
        assert_eq!(waiting.decided(), []);
        answers.give(fresh, Verdict::Go);
        assert_eq!(waiting.decided(), [(TASK, Verdict::Go)]);
    }
}

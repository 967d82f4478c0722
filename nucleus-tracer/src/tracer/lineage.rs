//! Who comes from whom: births, new programs, ends.

use std::mem;

use crate::status::Status;
use crate::tasks::Birth;
use crate::tracer::{Tracer, alive, event_tid};
use crate::{Error, Judge, Mode, Task, TracedCall, sys};

impl<J: Judge> Tracer<J> {
    pub(super) fn new_child(&mut self, parent: u32, child: u32, lends: bool) -> Result<(), Error> {
        let is_dead = || Status::of(child).is_none_or(|status| status.is_dead);
        let birth = self.tasks.told(child, || !is_dead());
        if matches!(birth, Birth::New { .. }) {
            self.born(child, self.tasks.get(parent));
        }
        if lends {
            self.tasks.lends(parent, child);
        }
        self.tell_end(parent);
        match birth {
            Birth::New { waits: true } => self.resume(child),
            Birth::New { .. } | Birth::Known | Birth::Ended => Ok(()),
        }
    }

    pub(super) fn born(&mut self, child: u32, parent: Option<Task>) {
        let process = match parent {
            _ if sys::leads_group(child) => child,
            Some(parent) => parent.process,
            None => Status::of(child)
                .and_then(|status| status.process)
                .unwrap_or(child),
        };
        let task = Task {
            thread: child,
            process,
        };
        self.tasks.add(task, parent);
        self.judge.born(task, parent);
    }

    pub(super) fn exec_stop(&mut self, process: u32) -> Result<(), Error> {
        if self.mode == Mode::Record && !mem::replace(&mut self.has_filter, true) {
            let reason =
                format!("process {process} executed a program without the recording filter");
            self.completeness.lose(None, reason);
        }
        if let Some(former) = event_tid(process)? {
            self.tasks.executed(process, former);
            self.forget(process);
            self.forget(former);
            let runs = self.judge.executed(process, former);
            if former != process {
                self.tasks.lost();
                self.adopt_early()?;
            }
            if !runs {
                return alive("kill", process, sys::kill(process)).map(drop);
            }
        }
        self.resume(process)
    }

    pub(super) fn ended(&mut self, tid: u32) -> Result<(), Error> {
        if let Some(task) = self.tasks.ended(tid) {
            self.forget(tid);
            self.judge.ended(task);
        }
        self.adopt_early()
    }

    /// Whether the maker of a thread that has stopped first can still tell of
    /// it. A thread that is killed in the stop in which it would tell never
    /// does: by a signal, or because another thread of its process executes a
    /// program or exits. Its child may be seen before that or after, and belong
    /// to another process by then.
    pub(super) fn will_be_told_of(&self, child: u32) -> bool {
        let maker = Status::of(child).and_then(|status| match status.process {
            Some(process) if process != child => Some(process),
            _ => status.parent,
        });
        maker.is_some_and(|maker| self.tasks.tells(maker))
    }

    pub(super) fn adopt_early(&mut self) -> Result<(), Error> {
        for child in self.tasks.adopt_early() {
            self.born(child, None);
            self.resume(child)?;
        }
        Ok(())
    }

    /// A thread does not wait for an answer any more.
    pub(super) fn forget(&mut self, tid: u32) {
        let waits = |&(_, call): &(_, &TracedCall)| call.task.thread == tid;
        let Some(ticket) = self.parked.iter().find(waits).map(|it| *it.0) else {
            return;
        };
        self.parked.remove(&ticket);
        for answers in &self.answers {
            answers.forget(ticket);
        }
    }
}

//! Standing still together.
//!
//! Everybody is made to stop (`PTRACE_INTERRUPT`), and no stop but the last one
//! before an end is served until the thaw, so that nobody goes on: neither who made a child at that moment,
//! which is a stop, nor the child, whose first stop comes before its first
//! instruction.

use std::collections::BTreeSet;

use crate::status::Status;
use crate::stop::Stop;
use crate::tracer::{Tracer, alive};
use crate::{Error, Judge, Seen, sys};

impl<J: Judge> Tracer<J> {
    /// Whether nothing is to be served.
    pub(super) fn is_held(&mut self) -> Result<bool, Error> {
        let Some(freezer) = &self.freezer else {
            return Ok(false);
        };
        match (freezer.is_wanted(), self.running.is_some()) {
            (true, false) => self.freeze()?,
            (false, true) => {
                self.running = None;
                freezer.tell(None);
            }
            (true, true) | (false, false) => {}
        }
        Ok(self.running.is_some())
    }

    fn freeze(&mut self) -> Result<(), Error> {
        self.look_for_others()?;
        let mut running: BTreeSet<u32> = self.tasks.threads().collect();
        let stands = self.reports.threads();
        let stands = stands.chain(self.parked.values().map(|call| call.task.thread));
        for thread in stands.chain(self.waiting.map(|it| it.0)) {
            running.remove(&thread);
        }
        for &thread in &running {
            alive("PTRACE_INTERRUPT", thread, sys::interrupt(thread))?;
        }
        self.running = Some(running);
        self.tell_running();
        Ok(())
    }

    /// Lets end who is about to: nothing that was killed waits for the thaw. One
    /// that is not known yet has not run.
    pub(super) fn exits_while_frozen(&mut self, thread: u32) -> Result<Option<Seen>, Error> {
        if self.tasks.get(thread).is_some() {
            return self.exit_stop(thread);
        }
        self.resume(thread)?;
        Ok(None)
    }

    /// Takes in what the kernel tells of a thread.
    pub(super) fn told(&mut self, thread: u32, status: i32) {
        self.reports.add(thread, status);
        if let Some(running) = &mut self.running
            && running.remove(&thread)
            && running.is_empty()
        {
            self.tell_running();
        }
    }

    /// Looks for those that stand still and never tell: a first thread that has
    /// ended before the others of its process, and who waits for a child to end
    /// or to execute a program (vfork), which it cannot do.
    pub(super) fn look_at_running(&mut self) {
        let Some(before) = self.running.take() else {
            return;
        };
        let goes_on = |child| {
            let stop = self.reports.last_of(child).map(Stop::of);
            before.contains(&child) || matches!(stop, Some(Stop::Exec | Stop::Ended))
        };
        let runs = |&thread: &u32| {
            let child = self.tasks.waits_for(thread);
            child.is_none_or(goes_on) && Status::of(thread).is_some_and(|it| !it.is_dead)
        };
        self.running = Some(before.iter().copied().filter(runs).collect());
        self.tell_running();
    }

    fn tell_running(&self) {
        if let Some(freezer) = &self.freezer {
            freezer.tell(self.running.clone());
        }
    }
}

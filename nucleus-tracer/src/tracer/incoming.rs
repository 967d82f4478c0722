//! What comes in: stops and ends by the kernel, answers by other threads.

use rustix::io::Errno;

use crate::sys::{self, Waited};
use crate::tracer::Tracer;
use crate::{Error, Judge, Verdict};

impl<J: Judge> Tracer<J> {
    /// Waits until there is something to serve; false when nobody is left.
    pub(super) fn wait(&mut self) -> Result<bool, Error> {
        let can_be_woken = self.freezer.is_some() || !self.parked.is_empty();
        if can_be_woken {
            sys::let_wake(true);
        }
        let waited = sys::wait_tracee();
        if can_be_woken {
            sys::let_wake(false);
        }
        match waited.map_err(Error::Wait)? {
            Waited::Stopped(tid, status) => {
                self.told(tid, status);
                if self.reports.is_time_to_look() && !self.tasks.is_one() {
                    self.look_for_others()?;
                }
                Ok(true)
            }
            Waited::Interrupted => {
                self.look_at_running();
                Ok(true)
            }
            Waited::None => {
                // Nobody is left to be frozen, or to be given an answer.
                self.close();
                Ok(false)
            }
        }
    }

    /// Takes in all that has stopped or ended by now: nobody stops twice
    /// before it was served, so that this comes to an end.
    pub(super) fn look_for_others(&mut self) -> Result<(), Error> {
        while let Waited::Stopped(tid, status) = sys::look_at_tracees().map_err(Error::Wait)? {
            self.told(tid, status);
        }
        Ok(())
    }

    pub(super) fn take_answers(&mut self) {
        if !self.parked.is_empty() {
            let answers = self.answers.iter();
            self.given.extend(answers.flat_map(|it| it.take()));
        }
    }

    pub(super) fn carry_out_answers(&mut self) -> Result<(), Error> {
        for (ticket, verdict) in std::mem::take(&mut self.given) {
            if let Some(call) = self.parked.remove(&ticket) {
                let verdict = match verdict {
                    Verdict::Wait(_) => Verdict::Errno(Errno::PERM),
                    verdict => verdict,
                };
                let verdict = self.judge.answered(&call, verdict);
                self.carry_out(&call, verdict)?;
            }
        }
        Ok(())
    }
}

impl<J> Tracer<J> {
    /// Nobody needs to be heard any more.
    pub(super) fn close(&self) {
        for answers in &self.answers {
            answers.close();
        }
        if let Some(freezer) = &self.freezer {
            freezer.close();
        }
    }
}

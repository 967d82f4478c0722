//! Calls that have stopped: told, judged, answered.

use std::mem;

use nucleus_seccomp::{Action, Arch, SeccompData, Syscall};

use crate::tracer::{Tracer, alive, low_16, low_32};
use crate::{ASK, Error, Judge, Mode, Seen, TracedCall, Verdict, regs, sys};

/// The answer that a rehearsal gives, and a call that nobody judges gets: the
/// same number on every architecture.
const ENOSYS: u16 = 38;

impl<J: Judge> Tracer<J> {
    pub(super) fn seccomp_stop(&mut self, tid: u32) -> Result<Option<Seen>, Error> {
        self.has_filter |= self.mode != Mode::RecordEntries;
        // A thread killed in this stop never makes the call.
        if !self.read_info(tid)? {
            return Ok(None);
        }
        let data = low_16(self.info.ret_data);
        if self.mode == Mode::Record {
            let entered = self.tasks.state(tid).is_some_and(|state| state.entered);
            self.take_care(tid)?;
            self.resume(tid)?;
            return Ok((!entered).then(|| self.seen(tid, Action::Trace(data))));
        }
        if data & ASK != 0 {
            if self.mode != Mode::RecordEntries && self.refuses_untraced(tid)? {
                return Ok(None);
            }
            let call = self.call(tid);
            let verdict = self.judge.enter(&call);
            self.carry_out(&call, verdict)?;
            return Ok(None);
        }
        if !self.mode.denies() {
            // Of a filter that the program has installed: as without a tracer.
            self.skip(tid, -i64::from(ENOSYS))?;
            return Ok(None);
        }
        let goes_on = self.mode == Mode::Rehearse
            && data != ENOSYS
            && !(self.must_stay_denied)(&self.call(tid).data);
        let answered = goes_on || self.set_result(tid, -i64::from(data))?;
        if !answered {
            return Ok(None);
        }
        self.waiting = Some((tid, 0));
        Ok(Some(self.seen(tid, Action::Errno(data))))
    }

    /// A stop of `PTRACE_SYSCALL`: of a call whose end is to be told, or of a
    /// thread with filters of its own, which may answer before ours.
    pub(super) fn syscall_stop(&mut self, tid: u32) -> Result<Option<Seen>, Error> {
        let mut state = self
            .tasks
            .state(tid)
            .map_or_else(Default::default, |it| *it);
        if state.tell && !state.own_filter && state.restore.is_none() {
            // It was resumed from within the call.
            self.tell_end(tid);
            self.resume(tid)?;
            return Ok(None);
        }
        if !self.read_info(tid)? {
            return Ok(None);
        }
        let entry = self.info.op == sys::INFO_ENTRY;
        if !entry {
            self.tell_end(tid);
            if let Some((address, word)) = state.restore.take() {
                alive("PTRACE_POKEDATA", tid, sys::poke(tid, address, word))?;
            }
        }
        if let Some(known) = self.tasks.state(tid) {
            known.entered = entry;
            known.restore = state.restore;
        }
        let is_told = entry && state.own_filter && self.mode.records() && self.has_begun();
        if is_told && self.mode == Mode::RecordEntries {
            self.take_care(tid)?;
        }
        self.resume(tid)?;
        Ok(is_told.then(|| self.seen(tid, Action::Trace(0))))
    }

    /// What comes before the filter and `execve` is not the program's.
    fn has_begun(&mut self) -> bool {
        if !self.has_filter {
            let call = self.call(self.root).data.syscall();
            let name = call.and_then(nucleus_seccomp::Syscall::name);
            self.has_filter = matches!(name, Some("execve" | "execveat"));
        }
        self.has_filter
    }

    /// At a stop for a signal: sees to it that the call which that has
    /// interrupted is made again, if the judge wants it to be.
    pub(super) fn restart_interrupted(&mut self, tid: u32) -> Result<(), Error> {
        if self.restarts.is_empty() {
            return Ok(());
        }
        let call = match regs::interrupted_call(tid) {
            Ok(Some(call)) => call,
            Ok(None) => return Ok(()),
            Err(error) => return alive("reading the result", tid, Err(error)).map(drop),
        };
        // For the architecture.
        if !self.read_info(tid)? {
            return Ok(());
        }
        let call = Arch::of(self.info.arch, call).map(|arch| Syscall::new(arch, call));
        if call.is_some_and(|call| self.restarts.contains(&call)) {
            alive("setting the result", tid, regs::restart_call(tid))?;
        }
        Ok(())
    }

    pub(super) fn carry_out(&mut self, call: &TracedCall, verdict: Verdict) -> Result<(), Error> {
        let tid = call.task.thread;
        match verdict {
            Verdict::Go => self.resume(tid),
            Verdict::GoAndTell => {
                if let Some(state) = self.tasks.state(tid) {
                    state.tell = true;
                }
                self.resume(tid)
            }
            Verdict::Errno(errno) => self.skip(tid, -i64::from(errno.raw_os_error())),
            Verdict::Value(value) => self.skip(tid, value),
            Verdict::Kill => {
                let killed = sys::kill(call.task.process);
                alive("kill", tid, killed).map(drop)
            }
            Verdict::Wait(ticket) => {
                for answers in &self.answers {
                    answers.expect(ticket);
                }
                self.parked.insert(ticket, *call);
                Ok(())
            }
        }
    }

    pub(super) fn tell_end(&mut self, tid: u32) {
        if let Some(state) = self.tasks.state(tid)
            && mem::take(&mut state.tell)
        {
            self.judge.over(tid);
        }
    }

    /// Reads the call of a stopped thread; false when it was killed meanwhile.
    pub(crate) fn read_info(&mut self, tid: u32) -> Result<bool, Error> {
        let read = sys::syscall_info(tid, &mut self.info);
        alive("PTRACE_GET_SYSCALL_INFO", tid, read)
    }

    /// The call that was read last.
    fn call(&self, tid: u32) -> TracedCall {
        TracedCall {
            task: self.task(tid),
            data: SeccompData {
                nr: low_32(self.info.nr),
                arch: self.info.arch,
                instruction_pointer: self.info.instruction_pointer,
                args: self.info.args,
            },
        }
    }

    fn seen(&self, tid: u32, action: Action) -> Seen {
        let TracedCall { task, data } = self.call(tid);
        Seen {
            task,
            call: data.into(),
            action,
        }
    }

    /// Lets a call return this without being made; false when its thread was
    /// killed meanwhile.
    fn set_result(&self, tid: u32, result: i64) -> Result<bool, Error> {
        alive("setting the result", tid, regs::skip_call(tid, result))
    }

    pub(crate) fn skip(&mut self, tid: u32, result: i64) -> Result<(), Error> {
        if self.set_result(tid, result)? {
            self.resume(tid)?;
        }
        Ok(())
    }
}

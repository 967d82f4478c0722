//! Denials that a tracer does not answer itself: SIGSYS and kills.

use nucleus_seccomp::Action;

use super::{PtraceSource, alive, event_tid, low_16, regs, with_program};
use crate::proc::Status;
use crate::{Call, Error, Event, sys};

/// `SYS_SECCOMP`: the `si_code` of a SIGSYS by a filter.
const CODE_SECCOMP: i32 = 1;

impl PtraceSource {
    /// A signal that the program may handle. With `SYS_SECCOMP` a filter sent it.
    pub(super) fn sigsys_stop(&mut self, tid: u32) -> Result<Option<Event>, Error> {
        let info = match sys::signal_info(tid) {
            Ok(info) => info,
            Err(error) => {
                alive("PTRACE_GETSIGINFO", tid, Err(error))?;
                return Ok(None);
            }
        };
        let survives = |status: Status| status.survives(libc::SIGSYS);
        if !Status::of(tid).is_some_and(survives) {
            self.tracees.dies_of_signal(tid);
        }
        let event = (info.code == CODE_SECCOMP).then(|| {
            let call = Call {
                arch: info.arch,
                nr: info.nr.cast_unsigned(),
                instruction_pointer: info.call_addr,
                // The kernel has put the registers back to those of the call.
                args: regs::arguments(tid, info.arch).ok(),
            };
            let data = low_16(info.errno.cast_unsigned());
            self.denial(tid, call, Action::Trap(data))
        });
        if event.is_some() {
            self.waiting = Some((tid, libc::SIGSYS));
        } else {
            self.resume_with(tid, libc::SIGSYS)?;
        }
        Ok(event)
    }

    /// The end of a thread; by SIGSYS that was no signal, a filter killed it.
    pub(super) fn exit_stop(&mut self, tid: u32) -> Result<Option<Event>, Error> {
        let Some(status) = event_tid(tid)? else {
            return Ok(None);
        };
        let status = status.cast_signed();
        let mut event = None;
        if libc::WIFSIGNALED(status)
            && libc::WTERMSIG(status) == libc::SIGSYS
            && !self.tracees.dying_of_signal(tid)
            && self.read_info(tid)?
        {
            event = self.killed(tid)?;
        }
        self.resume(tid)?;
        Ok(event)
    }

    fn killed(&mut self, tid: u32) -> Result<Option<Event>, Error> {
        let pid = self.tracees.get(tid).tgid;
        let killed = match regs::killed_call(tid, self.tracees.is_alone(tid)) {
            Ok(killed) => killed,
            Err(error) => {
                alive("reading the number of a fatal call", tid, Err(error))?;
                return Ok(None);
            }
        };
        let (nr, action) = match killed {
            regs::Killed::Process(nr) => (nr, Action::KillProcess),
            regs::Killed::Thread(nr) => (nr, Action::KillThread),
            regs::Killed::Bystander => return Ok(None),
            regs::Killed::Unknown => {
                let reason = format!("a filter killed process {pid} for a call that is unknown");
                self.completeness.lose(None, reason);
                return Ok(None);
            }
        };
        let call = Call {
            arch: self.info.arch,
            nr,
            instruction_pointer: self.info.instruction_pointer,
            args: None,
        };
        Ok(Some(self.denial(tid, call, action)))
    }

    fn denial(&mut self, tid: u32, call: Call, action: Action) -> Event {
        with_program(Event {
            time: None,
            pid: self.tracees.get(tid).tgid,
            tid: Some(tid),
            session: None,
            call,
            action,
            comm: None,
            exe: None,
        })
    }
}

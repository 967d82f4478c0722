//! Denials that a tracer does not answer itself: SIGSYS and kills.

use nucleus_seccomp::{Action, Call};

use crate::status::Status;
use crate::tracer::{alive, event_tid, low_16};
use crate::{Error, Judge, Seen, Tracer, regs, sys};

/// `SYS_SECCOMP`: the `si_code` of a SIGSYS by a filter.
const CODE_SECCOMP: i32 = 1;

impl<J: Judge> Tracer<J> {
    /// A signal that the program may handle. With `SYS_SECCOMP` a filter sent it.
    pub(crate) fn sigsys_stop(&mut self, tid: u32) -> Result<Option<Seen>, Error> {
        let info = match sys::signal_info(tid) {
            Ok(info) => info,
            Err(error) => {
                alive("PTRACE_GETSIGINFO", tid, Err(error))?;
                return Ok(None);
            }
        };
        let task = self.task(tid);
        let survives = |status: Status| status.survives(libc::SIGSYS);
        if !Status::of(tid).is_some_and(survives) {
            self.tasks.dies_of_signal(task.process);
        }
        if info.code != CODE_SECCOMP {
            self.resume_with(tid, libc::SIGSYS)?;
            return Ok(None);
        }
        self.waiting = Some((tid, libc::SIGSYS));
        Ok(Some(Seen {
            task,
            call: Call {
                arch: info.arch,
                nr: info.nr.cast_unsigned(),
                instruction_pointer: info.call_addr,
                // The kernel has put the registers back to those of the call.
                args: regs::arguments(tid, info.arch).ok(),
            },
            action: Action::Trap(low_16(info.errno.cast_unsigned())),
        }))
    }

    /// The end of a thread; by SIGSYS that was no signal, a filter killed it.
    pub(crate) fn exit_stop(&mut self, tid: u32) -> Result<Option<Seen>, Error> {
        let Some(status) = event_tid(tid)? else {
            return Ok(None);
        };
        let status = status.cast_signed();
        let mut seen = None;
        if libc::WIFSIGNALED(status)
            && libc::WTERMSIG(status) == libc::SIGSYS
            && !self.tasks.dying_of_signal(self.task(tid).process)
            && self.read_info(tid)?
        {
            seen = self.killed(tid)?;
        }
        if seen.is_some() {
            self.dying = Some(tid);
        } else {
            self.resume(tid)?;
        }
        Ok(seen)
    }

    fn killed(&mut self, tid: u32) -> Result<Option<Seen>, Error> {
        let task = self.task(tid);
        let killed = match regs::killed_call(tid, self.tasks.is_alone(task)) {
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
                let process = task.process;
                let reason =
                    format!("a filter killed process {process} for a call that is unknown");
                self.completeness.lose(None, reason);
                return Ok(None);
            }
        };
        Ok(Some(Seen {
            task,
            call: Call {
                arch: self.info.arch,
                nr,
                instruction_pointer: self.info.instruction_pointer,
                args: None,
            },
            action,
        }))
    }
}

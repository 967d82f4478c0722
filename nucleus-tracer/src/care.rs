//! What a tracer does beyond counting and judging, so that nothing escapes it.

use std::io;

use crate::special::{Special, installs_filter};
use crate::tracer::{alive, low_32};
use crate::{Error, Judge, Tracer, regs, sys};

/// `CLONE_UNTRACED` (`include/uapi/linux/sched.h`): no tracer for the child.
const CLONE_UNTRACED: u64 = 0x0080_0000;
/// `SECCOMP_FILTER_FLAG_TSYNC`: the filter goes to every thread.
const FLAG_TSYNC: u64 = 1;
/// `EPERM`, the same number on every architecture.
const EPERM: i64 = 1;

impl<J: Judge> Tracer<J> {
    /// Does what the recorded call at hand needs before it goes on.
    pub(crate) fn take_care(&mut self, tid: u32) -> Result<(), Error> {
        let nr = low_32(self.info.nr);
        let Some(special) = self.specials.find(self.info.arch, nr) else {
            return Ok(());
        };
        let args = self.info.args;
        match special {
            Special::Clone if args[0] & CLONE_UNTRACED != 0 => {
                let flags = args[0] & !CLONE_UNTRACED;
                let set = regs::set_argument(tid, self.info.arch, 0, flags);
                self.hold_untraced(tid, set)
            }
            Special::Clone3 => self.hold_clone3(tid, args[0]),
            Special::Seccomp | Special::Prctl if installs_filter(special, &args) => {
                let everywhere = special == Special::Seccomp && args[1] & FLAG_TSYNC != 0;
                for sibling in self.tasks.own_filter(tid, everywhere) {
                    alive("PTRACE_INTERRUPT", sibling, sys::interrupt(sibling))?;
                }
                Ok(())
            }
            Special::Ptrace => {
                self.note(
                    "a traced program called ptrace itself: it cannot trace while it is traced",
                );
                Ok(())
            }
            Special::Clone | Special::Seccomp | Special::Prctl => Ok(()),
        }
    }

    /// Refuses to make a child without a tracer: nobody would judge it, nor
    /// tell of what is denied to it. Whether it did.
    ///
    /// The flags of `clone3` are in memory, which other threads can change: one
    /// who wants to can still have such a child. What the filter leaves to the
    /// tracer then fails with ENOSYS.
    pub(crate) fn refuses_untraced(&mut self, tid: u32) -> Result<bool, Error> {
        let nr = low_32(self.info.nr);
        let first = self.info.args[0];
        let flags = match self.specials.find(self.info.arch, nr) {
            Some(Special::Clone) => first,
            // Where it cannot be read, the call fails by itself.
            Some(Special::Clone3) => sys::peek(tid, first).unwrap_or(0),
            _ => return Ok(false),
        };
        if flags & CLONE_UNTRACED == 0 {
            return Ok(false);
        }
        self.skip(tid, -EPERM)?;
        self.note(
            "a child without a tracer (CLONE_UNTRACED) was refused with EPERM: \
             what it does could not be told",
        );
        Ok(true)
    }

    /// Takes `CLONE_UNTRACED` out of the flags in memory until the call is
    /// over: such a child would have no tracer, so its calls would fail.
    fn hold_clone3(&mut self, tid: u32, address: u64) -> Result<(), Error> {
        let flags = match sys::peek(tid, address) {
            Ok(flags) if flags & CLONE_UNTRACED != 0 => flags,
            // The call fails as it would have, or the thread is gone.
            Ok(_) | Err(_) => return Ok(()),
        };
        let set = sys::poke(tid, address, flags & !CLONE_UNTRACED);
        if set.is_ok()
            && let Some(state) = self.tasks.state(tid)
        {
            state.restore = Some((address, flags));
        }
        self.hold_untraced(tid, set)
    }

    fn hold_untraced(&mut self, tid: u32, set: io::Result<()>) -> Result<(), Error> {
        match set {
            Ok(()) => Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            Err(error) => {
                let reason = format!(
                    "thread {tid} made an untraced child (CLONE_UNTRACED), whose calls fail unseen: {error}"
                );
                self.completeness.lose(None, reason);
                Ok(())
            }
        }
    }
}

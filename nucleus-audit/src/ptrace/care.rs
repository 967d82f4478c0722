//! What a recording tracer does beyond counting, so that nothing escapes it.

use std::io;

use super::special::{Special, installs_filter};
use super::{PtraceSource, alive, low_32, regs};
use crate::{Error, sys};

/// `CLONE_UNTRACED` (`include/uapi/linux/sched.h`): no tracer for the child.
const CLONE_UNTRACED: u64 = 0x0080_0000;
/// `SECCOMP_FILTER_FLAG_TSYNC`: the filter goes to every thread.
const FLAG_TSYNC: u64 = 1;

impl PtraceSource {
    /// Does what the call at hand needs before it goes on.
    pub(super) fn take_care(&mut self, tid: u32) -> Result<(), Error> {
        let nr = low_32(self.info.nr);
        let Some(special) = self.specials.find(self.info.arch, nr) else {
            return Ok(());
        };
        let args = self.info.args;
        match special {
            Special::Clone if args[0] & CLONE_UNTRACED != 0 => {
                let flags = args[0] & !CLONE_UNTRACED;
                let set = regs::set_first_argument(tid, self.info.arch, flags);
                self.hold_untraced(tid, set)
            }
            Special::Clone3 => self.hold_clone3(tid, args[0]),
            Special::Seccomp | Special::Prctl if installs_filter(special, &args) => {
                let everywhere = special == Special::Seccomp && args[1] & FLAG_TSYNC != 0;
                for sibling in self.tracees.own_filter(tid, everywhere) {
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

    /// Takes `CLONE_UNTRACED` out of the flags in memory until the call is
    /// over: such a child would have no tracer, so its calls would fail.
    fn hold_clone3(&mut self, tid: u32, address: u64) -> Result<(), Error> {
        let flags = match sys::peek(tid, address) {
            Ok(flags) if flags & CLONE_UNTRACED != 0 => flags,
            // The call fails as it would have, or the thread is gone.
            Ok(_) | Err(_) => return Ok(()),
        };
        let set = sys::poke(tid, address, flags & !CLONE_UNTRACED);
        if set.is_ok() {
            self.tracees.get(tid).restore = Some((address, flags));
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

//! What would get a program out of its tracer's sight.

use nucleus_seccomp::{Arch, Syscall};

use crate::{ArgTest, Errno, Refusal, TrapError, Traps, When};

/// `CLONE_UNTRACED`: the child has no tracer.
const CLONE_UNTRACED: u32 = 0x80_0000;
/// `SECCOMP_SET_MODE_FILTER`.
const SET_MODE_FILTER: u32 = 1;
/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`.
const NEW_LISTENER: u32 = 8;

impl Traps {
    /// Keeps all that the program starts under its tracer, and the tracer the
    /// one that is asked: children without a tracer are left to it, which
    /// refuses them with EPERM, and a filter with a listener of the program's
    /// own fails with EBUSY, as where there is one already.
    ///
    /// # Errors
    ///
    /// None: the arguments that it tests are there.
    pub fn keep_traced(&mut self) -> Result<(), TrapError> {
        let int = |index, mask, value| ArgTest::Int { index, mask, value };
        for arch in Arch::ALL {
            let call = |name| Syscall::by_name(arch, name);
            if let Some(clone) = call("clone") {
                let untraced = int(0, CLONE_UNTRACED, CLONE_UNTRACED);
                self.add(clone, When::test(untraced))?;
            }
            if let Some(clone3) = call("clone3") {
                self.add(clone3, When::Always)?;
            }
            if let Some(seccomp) = call("seccomp") {
                let listens = vec![
                    ArgTest::int(0, SET_MODE_FILTER),
                    int(1, NEW_LISTENER, NEW_LISTENER),
                ];
                self.refuse(seccomp, Refusal::Of(When::Any(vec![listens]), Errno::BUSY))?;
            }
        }
        Ok(())
    }
}

//! What would get a program out of its tracer's sight.

use nucleus_seccomp::{Arch, Syscall};

use crate::{ArgTest, TrapError, Traps, When};

/// `CLONE_UNTRACED`: the child has no tracer.
const CLONE_UNTRACED: u32 = 0x80_0000;

impl Traps {
    /// Keeps all that the program starts under its tracer: children without one
    /// are left to it, which refuses them with EPERM.
    ///
    /// # Errors
    ///
    /// None: the arguments that it tests are there.
    pub fn keep_traced(&mut self) -> Result<(), TrapError> {
        for arch in Arch::ALL {
            let call = |name| Syscall::by_name(arch, name);
            if let Some(clone) = call("clone") {
                let untraced = ArgTest::Int {
                    index: 0,
                    mask: CLONE_UNTRACED,
                    value: CLONE_UNTRACED,
                };
                self.add(clone, When::test(untraced))?;
            }
            if let Some(clone3) = call("clone3") {
                self.add(clone3, When::Always)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nucleus_seccomp::{Action, SeccompData};

    #[test]
    fn no_child_gets_past_the_tracer() {
        let mut traps = Traps::for_tracer();
        traps.keep_traced().expect("valid");
        let check = |name, flags, expected| {
            let call = Syscall::by_name(Arch::X86_64, name).expect("in the table");
            let data = SeccompData {
                nr: call.number(),
                arch: call.arch().audit(),
                instruction_pointer: 0,
                args: [flags, 0, 0, 0, 0, 0],
            };
            assert_eq!(traps.decide(&data), expected, "{name} {flags:x}");
        };
        let asked = Action::Trace(nucleus_tracer::ASK);
        check("clone", 0x80_0011, asked);
        check("clone", 0x11, Action::Allow);
        check("clone3", 0x1000, asked);
    }
}

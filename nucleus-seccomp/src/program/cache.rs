//! Which calls the kernel allows without running the program.

use super::Program;
use crate::{Action, Arch, offset, op};

impl Program {
    /// Whether a kernel since 5.11 finds out at load time that it always
    /// allows this call, and then never runs the program for it
    /// (`seccomp_is_const_allow`, `kernel/seccomp.c`).
    ///
    /// `nr` is `seccomp_data.nr`. The kernel keeps one bit for each number of
    /// its native table and of its 32-bit table; x32 calls are in neither.
    /// Numbers beyond the running kernel's table are not cached either: which
    /// these are is not known here.
    #[must_use]
    pub fn cached(&self, arch: Arch, nr: u32) -> bool {
        // No table is near this long; x32 calls lie beyond it.
        const BEYOND_EVERY_TABLE: u32 = 4096;
        nr < BEYOND_EVERY_TABLE && self.always_allows(arch.audit(), nr)
    }

    fn always_allows(&self, arch: u32, nr: u32) -> bool {
        let mut accumulator = 0;
        let mut at = 0;
        while let Some(insn) = self.insns().get(at) {
            at += 1;
            let k = insn.k;
            let holds = match insn.code {
                op::LD_ABS if k == offset::NR => {
                    accumulator = nr;
                    continue;
                }
                op::LD_ABS if k == offset::ARCH => {
                    accumulator = arch;
                    continue;
                }
                op::AND_K => {
                    accumulator &= k;
                    continue;
                }
                op::JA => {
                    at += k as usize;
                    continue;
                }
                op::JEQ_K => accumulator == k,
                op::JGT_K => accumulator > k,
                op::JGE_K => accumulator >= k,
                op::JSET_K => accumulator & k != 0,
                op::RET_K => return k == Action::Allow.to_ret(),
                _ => return false,
            };
            at += usize::from(if holds { insn.jt } else { insn.jf });
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Insn, X32_SYSCALL_BIT};

    fn program(first: Insn) -> Program {
        Program::new(vec![
            first,
            Insn::load(offset::NR),
            Insn::jump(op::JEQ_K, 1, 0, 1),
            Insn::ret(Action::Allow),
            Insn::ret(Action::Log),
        ])
        .unwrap()
    }

    #[test]
    fn plain_tests_of_the_number_are_cached() {
        let program = program(Insn::load(offset::ARCH));
        assert!(program.cached(Arch::X86_64, 1));
        assert!(!program.cached(Arch::X86_64, 2));
        assert!(!program.cached(Arch::X32, X32_SYSCALL_BIT | 1));
    }

    #[test]
    fn one_argument_load_or_store_on_the_way_is_enough_to_miss() {
        for first in [
            Insn::load(offset::arg_low(0)),
            Insn::load(offset::IP_LOW),
            Insn::stmt(op::ST, 0),
            Insn::stmt(op::LD_IMM, 0),
            Insn::stmt(op::RSH_K, 1),
        ] {
            assert!(!program(first).cached(Arch::X86_64, 1), "{first:?}");
        }
    }
}

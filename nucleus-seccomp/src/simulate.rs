//! Runs a filter as the kernel does.

use crate::{Action, Insn, Program, SeccompData, offset, op};

/// What a filter says to one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Outcome {
    /// What the kernel makes of the return value.
    pub action: Action,
    /// The return value itself.
    pub ret: u32,
    /// Instructions executed, the return included.
    pub executed: usize,
}

impl Program {
    /// Runs the filter on one call, with the kernel's semantics
    /// (`bpf_convert_filter`, `net/core/filter.c`): 32-bit wrapping
    /// arithmetic, unsigned comparisons, `A` and `X` start at 0, a division
    /// by `X` = 0 returns 0, a shift by `X` takes its lower five bits.
    ///
    /// On x86_64 the kernel lets two calls of its own through whatever a
    /// filter says: uretprobe (335, since 6.11) and uprobe (336, since 6.18).
    #[must_use]
    pub fn run(&self, data: &SeccompData) -> Outcome {
        let mut machine = Machine::default();
        let mut executed = 0;
        let ret = loop {
            // The loader's checks leave no way past the last instruction.
            let insn = self.insns()[machine.next];
            executed += 1;
            if let Some(ret) = machine.step(insn, data) {
                break ret;
            }
        };
        Outcome {
            action: Action::from_ret(ret),
            ret,
            executed,
        }
    }
}

/// The word of `seccomp_data` at an aligned offset, as a little-endian
/// machine lays it out.
pub(crate) const fn word(data: &SeccompData, at: u32) -> u32 {
    match at {
        offset::NR => data.nr,
        offset::ARCH => data.arch,
        offset::IP_LOW => half(data.instruction_pointer, at),
        offset::IP_HIGH => half(data.instruction_pointer, at),
        _ => half(data.args[(at as usize - 16) / 8], at),
    }
}

/// The upper half at offsets 4, 12, 20 and so on, the lower one elsewhere.
const fn half(value: u64, at: u32) -> u32 {
    let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
    if at % 8 == 4 {
        u32::from_le_bytes([e, f, g, h])
    } else {
        u32::from_le_bytes([a, b, c, d])
    }
}

#[derive(Default)]
struct Machine {
    next: usize,
    a: u32,
    x: u32,
    memory: [u32; 16],
}

impl Machine {
    /// Executes one instruction; the return value when it was the last.
    fn step(&mut self, insn: Insn, data: &SeccompData) -> Option<u32> {
        let Insn { code, k, .. } = insn;
        self.next += 1;
        match code {
            op::LD_ABS => self.a = word(data, k),
            op::LD_IMM => self.a = k,
            op::LD_MEM => self.a = self.memory[k as usize],
            op::LD_LEN => self.a = offset::END,
            op::LDX_IMM => self.x = k,
            op::LDX_MEM => self.x = self.memory[k as usize],
            op::LDX_LEN => self.x = offset::END,
            op::ST => self.memory[k as usize] = self.a,
            op::STX => self.memory[k as usize] = self.x,
            op::TAX => self.x = self.a,
            op::TXA => self.a = self.x,
            op::NEG => self.a = self.a.wrapping_neg(),
            op::ADD_K => self.a = self.a.wrapping_add(k),
            op::ADD_X => self.a = self.a.wrapping_add(self.x),
            op::SUB_K => self.a = self.a.wrapping_sub(k),
            op::SUB_X => self.a = self.a.wrapping_sub(self.x),
            op::MUL_K => self.a = self.a.wrapping_mul(k),
            op::MUL_X => self.a = self.a.wrapping_mul(self.x),
            op::DIV_K => self.a /= k,
            op::DIV_X => match self.a.checked_div(self.x) {
                Some(quotient) => self.a = quotient,
                None => return Some(0),
            },
            op::OR_K => self.a |= k,
            op::OR_X => self.a |= self.x,
            op::AND_K => self.a &= k,
            op::AND_X => self.a &= self.x,
            op::XOR_K => self.a ^= k,
            op::XOR_X => self.a ^= self.x,
            op::LSH_K => self.a <<= k,
            op::LSH_X => self.a = self.a.wrapping_shl(self.x),
            op::RSH_K => self.a >>= k,
            op::RSH_X => self.a = self.a.wrapping_shr(self.x),
            op::JA => self.next += k as usize,
            op::JEQ_K => self.branch(insn, self.a == k),
            op::JEQ_X => self.branch(insn, self.a == self.x),
            op::JGT_K => self.branch(insn, self.a > k),
            op::JGT_X => self.branch(insn, self.a > self.x),
            op::JGE_K => self.branch(insn, self.a >= k),
            op::JGE_X => self.branch(insn, self.a >= self.x),
            op::JSET_K => self.branch(insn, self.a & k != 0),
            op::JSET_X => self.branch(insn, self.a & self.x != 0),
            op::RET_A => return Some(self.a),
            // RET_K, and nothing else: the loader refuses other codes.
            _ => return Some(k),
        }
        None
    }

    fn branch(&mut self, insn: Insn, holds: bool) {
        self.next += usize::from(if holds { insn.jt } else { insn.jf });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(insns: &[Insn], ret: u32) {
        let mut insns = insns.to_vec();
        insns.push(Insn::stmt(op::RET_A, 0));
        let data = SeccompData {
            nr: 7,
            arch: 0xc000_003e,
            instruction_pointer: 0x1122_3344_5566_7788,
            args: [0, 1, 2, 3, 4, 0xaabb_ccdd_eeff_0011],
        };
        assert_eq!(Program::new(insns).unwrap().run(&data).ret, ret);
    }

    #[test]
    fn loads() {
        check(&[Insn::load(offset::NR)], 7);
        check(&[Insn::load(offset::ARCH)], 0xc000_003e);
        check(&[Insn::load(offset::IP_LOW)], 0x5566_7788);
        check(&[Insn::load(offset::IP_HIGH)], 0x1122_3344);
        check(&[Insn::load(offset::arg_low(3))], 3);
        check(&[Insn::load(offset::arg_low(5))], 0xeeff_0011);
        check(&[Insn::load(offset::arg_high(5))], 0xaabb_ccdd);
        check(&[Insn::stmt(op::LD_LEN, 0)], 64);
    }

    #[test]
    fn arithmetic_wraps_and_dividing_by_a_zero_register_returns_zero() {
        check(&[Insn::stmt(op::SUB_K, 1)], u32::MAX);
        check(&[Insn::stmt(op::LD_IMM, 9), Insn::stmt(op::DIV_X, 0)], 0);
        check(
            &[
                Insn::stmt(op::LD_IMM, 1),
                Insn::stmt(op::LDX_IMM, 33),
                Insn::stmt(op::LSH_X, 0),
            ],
            2,
        );
    }

    #[test]
    fn the_outcome_counts_what_ran() {
        let program = Program::new(vec![
            Insn::load(offset::NR),
            Insn::jump(op::JGT_K, 5, 1, 0),
            Insn::ret(Action::KillProcess),
            Insn::ret(Action::Allow),
        ])
        .unwrap();
        let run = |nr| {
            program.run(&SeccompData {
                nr,
                ..SeccompData::default()
            })
        };
        assert_eq!(run(6).action, Action::Allow);
        assert_eq!(run(5).action, Action::KillProcess);
        assert_eq!(run(6).executed, 3);
    }
}

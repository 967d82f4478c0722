//! One classic BPF instruction.

use crate::Action;

/// `struct sock_filter` (`include/uapi/linux/filter.h`), with its layout.
///
/// A value of this type can be anything; [`Program::new`](crate::Program::new)
/// checks what the kernel checks.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Insn {
    /// The operation; see [`op`].
    pub code: u16,
    /// Instructions to skip when the comparison holds.
    pub jt: u8,
    /// Instructions to skip when it does not.
    pub jf: u8,
    /// The operand: a constant, an offset, or a scratch cell.
    pub k: u32,
}

/// The operation codes that a seccomp filter may use
/// (`seccomp_check_filter`, `kernel/seccomp.c`). `A` is the accumulator, `X`
/// the index register, `M` the 16 cells of scratch memory.
pub mod op {
    /// `A =` 32 bits of `seccomp_data` at offset `k`.
    pub const LD_ABS: u16 = 0x20;
    /// `A = k`.
    pub const LD_IMM: u16 = 0x00;
    /// `A = M[k]`.
    pub const LD_MEM: u16 = 0x60;
    /// `A =` the size of `seccomp_data`.
    pub const LD_LEN: u16 = 0x80;
    /// `X = k`.
    pub const LDX_IMM: u16 = 0x01;
    /// `X = M[k]`.
    pub const LDX_MEM: u16 = 0x61;
    /// `X =` the size of `seccomp_data`.
    pub const LDX_LEN: u16 = 0x81;
    /// `M[k] = A`.
    pub const ST: u16 = 0x02;
    /// `M[k] = X`.
    pub const STX: u16 = 0x03;
    /// `A += k`.
    pub const ADD_K: u16 = 0x04;
    /// `A += X`.
    pub const ADD_X: u16 = 0x0c;
    /// `A -= k`.
    pub const SUB_K: u16 = 0x14;
    /// `A -= X`.
    pub const SUB_X: u16 = 0x1c;
    /// `A *= k`.
    pub const MUL_K: u16 = 0x24;
    /// `A *= X`.
    pub const MUL_X: u16 = 0x2c;
    /// `A /= k`.
    pub const DIV_K: u16 = 0x34;
    /// `A /= X`; returns 0 from the filter when `X` is 0.
    pub const DIV_X: u16 = 0x3c;
    /// `A |= k`.
    pub const OR_K: u16 = 0x44;
    /// `A |= X`.
    pub const OR_X: u16 = 0x4c;
    /// `A &= k`.
    pub const AND_K: u16 = 0x54;
    /// `A &= X`.
    pub const AND_X: u16 = 0x5c;
    /// `A <<= k`.
    pub const LSH_K: u16 = 0x64;
    /// `A <<= X & 31`.
    pub const LSH_X: u16 = 0x6c;
    /// `A >>= k`.
    pub const RSH_K: u16 = 0x74;
    /// `A >>= X & 31`.
    pub const RSH_X: u16 = 0x7c;
    /// `A = -A`.
    pub const NEG: u16 = 0x84;
    /// `A ^= k`.
    pub const XOR_K: u16 = 0xa4;
    /// `A ^= X`.
    pub const XOR_X: u16 = 0xac;
    /// Skips `k` instructions.
    pub const JA: u16 = 0x05;
    /// Whether `A == k`.
    pub const JEQ_K: u16 = 0x15;
    /// Whether `A == X`.
    pub const JEQ_X: u16 = 0x1d;
    /// Whether `A > k`, unsigned.
    pub const JGT_K: u16 = 0x25;
    /// Whether `A > X`, unsigned.
    pub const JGT_X: u16 = 0x2d;
    /// Whether `A >= k`, unsigned.
    pub const JGE_K: u16 = 0x35;
    /// Whether `A >= X`, unsigned.
    pub const JGE_X: u16 = 0x3d;
    /// Whether `A & k` is not 0.
    pub const JSET_K: u16 = 0x45;
    /// Whether `A & X` is not 0.
    pub const JSET_X: u16 = 0x4d;
    /// Returns `k`.
    pub const RET_K: u16 = 0x06;
    /// Returns `A`.
    pub const RET_A: u16 = 0x16;
    /// `X = A`.
    pub const TAX: u16 = 0x07;
    /// `A = X`.
    pub const TXA: u16 = 0x87;
}

/// Offsets into `struct seccomp_data`. The two halves of an argument lie as
/// on a little-endian machine, which every known [`Arch`](crate::Arch) is.
pub mod offset {
    /// The system call number.
    pub const NR: u32 = 0;
    /// The `AUDIT_ARCH_*` value.
    pub const ARCH: u32 = 4;
    /// The lower half of the instruction pointer.
    pub const IP_LOW: u32 = 8;
    /// The upper half of the instruction pointer.
    pub const IP_HIGH: u32 = 12;
    /// The size of the structure.
    pub const END: u32 = 64;

    /// The lower half of argument `index` (0 to 5).
    #[must_use]
    pub const fn arg_low(index: u8) -> u32 {
        16 + 8 * index as u32
    }

    /// The upper half of argument `index` (0 to 5).
    #[must_use]
    pub const fn arg_high(index: u8) -> u32 {
        20 + 8 * index as u32
    }
}

impl Insn {
    /// An instruction without jump offsets.
    #[must_use]
    pub const fn stmt(code: u16, k: u32) -> Self {
        Self {
            code,
            jt: 0,
            jf: 0,
            k,
        }
    }

    /// A conditional jump.
    #[must_use]
    pub const fn jump(code: u16, k: u32, jt: u8, jf: u8) -> Self {
        Self { code, jt, jf, k }
    }

    /// `A =` the word of `seccomp_data` at this [`offset`].
    #[must_use]
    pub const fn load(offset: u32) -> Self {
        Self::stmt(op::LD_ABS, offset)
    }

    /// Ends the filter with this verdict.
    #[must_use]
    pub const fn ret(action: Action) -> Self {
        Self::stmt(op::RET_K, action.to_ret())
    }

    /// Whether it jumps on a condition, so that `jt` and `jf` mean something.
    #[must_use]
    pub const fn is_conditional(self) -> bool {
        matches!(
            self.code,
            op::JEQ_K
                | op::JEQ_X
                | op::JGT_K
                | op::JGT_X
                | op::JGE_K
                | op::JGE_X
                | op::JSET_K
                | op::JSET_X
        )
    }
}

//! The loader's checks, in the kernel's order: `bpf_check_classic`
//! (`net/core/filter.c`), then `seccomp_check_filter` (`kernel/seccomp.c`).

use super::MAX_INSNS;
use crate::{Insn, LoadError, offset, op};

/// Cells of scratch memory (`BPF_MEMWORDS`).
const MEMORY_CELLS: u32 = 16;

pub(super) fn check(insns: &[Insn]) -> Result<(), LoadError> {
    let Some(last) = insns.last() else {
        return Err(LoadError::Empty);
    };
    if insns.len() > MAX_INSNS {
        return Err(LoadError::TooLong { len: insns.len() });
    }
    for (at, insn) in insns.iter().enumerate() {
        operand(at, insn, insns.len())?;
    }
    if !matches!(last.code, op::RET_K | op::RET_A) {
        return Err(LoadError::NoReturn {
            at: insns.len() - 1,
        });
    }
    memory(insns)
}

/// What can be said of one instruction alone.
fn operand(at: usize, insn: &Insn, len: usize) -> Result<(), LoadError> {
    // Instructions behind this one; a jump may skip fewer than that.
    let behind = len - at - 1;
    match insn.code {
        op::LD_ABS => {
            if insn.k >= offset::END || !insn.k.is_multiple_of(4) {
                return Err(LoadError::Offset { at, offset: insn.k });
            }
        }
        op::DIV_K => {
            if insn.k == 0 {
                return Err(LoadError::DivisionByZero { at });
            }
        }
        op::LSH_K | op::RSH_K => {
            if insn.k >= 32 {
                return Err(LoadError::Shift { at, by: insn.k });
            }
        }
        op::LD_MEM | op::LDX_MEM | op::ST | op::STX => {
            if insn.k >= MEMORY_CELLS {
                return Err(LoadError::Cell { at, cell: insn.k });
            }
        }
        op::JA => {
            if insn.k as usize >= behind {
                return Err(LoadError::Jump { at, skip: insn.k });
            }
        }
        _ if insn.is_conditional() => {
            for skip in [insn.jt, insn.jf] {
                if usize::from(skip) >= behind {
                    return Err(LoadError::Jump {
                        at,
                        skip: u32::from(skip),
                    });
                }
            }
        }
        op::LD_IMM
        | op::LD_LEN
        | op::LDX_IMM
        | op::LDX_LEN
        | op::ADD_K
        | op::ADD_X
        | op::SUB_K
        | op::SUB_X
        | op::MUL_K
        | op::MUL_X
        | op::DIV_X
        | op::OR_K
        | op::OR_X
        | op::AND_K
        | op::AND_X
        | op::LSH_X
        | op::RSH_X
        | op::NEG
        | op::XOR_K
        | op::XOR_X
        | op::RET_K
        | op::RET_A
        | op::TAX
        | op::TXA => {}
        code => return Err(LoadError::Opcode { at, code }),
    }
    Ok(())
}

/// No scratch cell is read before every path to the read has written it
/// (`check_load_and_stores`). Jumps go forward only, so one pass is enough.
fn memory(insns: &[Insn]) -> Result<(), LoadError> {
    // Cells that are written on every jump to the instruction.
    let mut written_at = vec![u16::MAX; insns.len()];
    let mut written = 0_u16;
    for (at, insn) in insns.iter().enumerate() {
        written &= written_at[at];
        match insn.code {
            op::ST | op::STX => written |= 1 << insn.k,
            op::LD_MEM | op::LDX_MEM if written & 1 << insn.k == 0 => {
                return Err(LoadError::Unwritten { at, cell: insn.k });
            }
            op::JA => {
                written_at[at + 1 + insn.k as usize] &= written;
                written = u16::MAX;
            }
            _ if insn.is_conditional() => {
                written_at[at + 1 + usize::from(insn.jt)] &= written;
                written_at[at + 1 + usize::from(insn.jf)] &= written;
                written = u16::MAX;
            }
            // As the kernel does it, a RET does not start afresh: code that
            // only falls in from behind a RET is judged by what came before.
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Action;

    const RET: Insn = Insn::ret(Action::Allow);

    fn check_case(insns: &[Insn], expected: Result<(), LoadError>) {
        assert_eq!(check(insns), expected, "{insns:?}");
    }

    #[test]
    fn length() {
        check_case(&[], Err(LoadError::Empty));
        check_case(&[RET], Ok(()));
        check_case(&[RET; 4096], Ok(()));
        check_case(&[RET; 4097], Err(LoadError::TooLong { len: 4097 }));
    }

    #[test]
    fn the_last_instruction_returns() {
        check_case(&[Insn::stmt(op::RET_A, 0)], Ok(()));
        check_case(
            &[RET, Insn::load(offset::NR)],
            Err(LoadError::NoReturn { at: 1 }),
        );
    }

    #[test]
    fn operands() {
        let cases = [
            (Insn::load(60), Ok(())),
            (Insn::load(64), Err(LoadError::Offset { at: 0, offset: 64 })),
            (Insn::load(2), Err(LoadError::Offset { at: 0, offset: 2 })),
            (Insn::stmt(op::DIV_K, 1), Ok(())),
            (
                Insn::stmt(op::DIV_K, 0),
                Err(LoadError::DivisionByZero { at: 0 }),
            ),
            (Insn::stmt(op::LSH_K, 31), Ok(())),
            (
                Insn::stmt(op::RSH_K, 32),
                Err(LoadError::Shift { at: 0, by: 32 }),
            ),
            (Insn::stmt(op::ST, 15), Ok(())),
            (
                Insn::stmt(op::STX, 16),
                Err(LoadError::Cell { at: 0, cell: 16 }),
            ),
            (Insn::stmt(op::JA, 0), Ok(())),
            (
                Insn::stmt(op::JA, 1),
                Err(LoadError::Jump { at: 0, skip: 1 }),
            ),
            (
                Insn::stmt(op::JA, u32::MAX),
                Err(LoadError::Jump {
                    at: 0,
                    skip: u32::MAX,
                }),
            ),
            (Insn::jump(op::JEQ_K, 0, 0, 0), Ok(())),
            (
                Insn::jump(op::JEQ_K, 0, 0, 1),
                Err(LoadError::Jump { at: 0, skip: 1 }),
            ),
            // MOD is classic BPF, yet no instruction of a seccomp filter.
            (
                Insn::stmt(0x94, 3),
                Err(LoadError::Opcode { at: 0, code: 0x94 }),
            ),
            (
                Insn::stmt(0x28, 0),
                Err(LoadError::Opcode { at: 0, code: 0x28 }),
            ),
        ];
        for (insn, expected) in cases {
            check_case(&[insn, RET], expected);
        }
    }

    #[test]
    fn scratch_cells_are_written_before_they_are_read() {
        let load = Insn::stmt(op::LD_MEM, 3);
        let store = Insn::stmt(op::ST, 3);
        check_case(&[store, load, RET], Ok(()));
        check_case(&[load, RET], Err(LoadError::Unwritten { at: 0, cell: 3 }));
        // One branch writes the cell, the other jumps over the store.
        check_case(
            &[Insn::jump(op::JEQ_K, 0, 0, 1), store, load, RET],
            Err(LoadError::Unwritten { at: 2, cell: 3 }),
        );
        check_case(
            &[
                Insn::jump(op::JEQ_K, 0, 0, 2),
                store,
                Insn::stmt(op::JA, 1),
                store,
                load,
                RET,
            ],
            Ok(()),
        );
    }
}

//! The instructions that tests of arguments become.

use nucleus_seccomp::{Action, Insn, op};

use super::{ArgTest, When};

/// Goes on when the accumulator is `value`, else skips `length` instructions;
/// a conditional jump alone reaches no further than 255.
pub(super) fn skip_unless_equal(out: &mut Vec<Insn>, value: u32, length: usize) {
    out.push(Insn::jump(op::JEQ_K, value, 1, 0));
    out.push(skip(length));
}

pub(super) fn emit_when(out: &mut Vec<Insn>, when: &When, trapped: Action, otherwise: Action) {
    let When::Any(lists) = when else {
        out.push(Insn::ret(trapped));
        return;
    };
    for list in lists {
        emit_list(list, out, Insn::ret(trapped));
    }
    out.push(Insn::ret(otherwise));
}

/// `then` where every test of the list holds; falls through otherwise.
pub(super) fn emit_list(list: &[ArgTest], out: &mut Vec<Insn>, then: Insn) {
    // The tests of one list are few: six arguments, four instructions each.
    let mut rest: usize = list
        .iter()
        .map(|test| usize::from(test.length()))
        .sum::<usize>()
        + 1;
    for test in list {
        rest -= usize::from(test.length());
        test.emit(out, u8::try_from(rest).unwrap_or(u8::MAX));
    }
    out.push(then);
}

pub(super) fn skip(length: usize) -> Insn {
    Insn::stmt(op::JA, u32::try_from(length).unwrap_or(u32::MAX))
}

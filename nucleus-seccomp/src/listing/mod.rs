//! A program as text: for people to read, and back to the same bytes.
//!
//! ```text
//!    0  ld   [arch]
//!    1  jeq  #x86_64, 2, 5
//!    2  ld   [nr]
//!    3  jeq  #110, 4, 5               ; getppid
//!    4  ret  errno(1)
//!    5  ret  allow
//! ```
//!
//! Jumps name the instructions they go to: where the comparison holds, then
//! where it does not. What follows `;` is a comment. Numbers stay numbers in
//! the operand, because a name means a number only together with an
//! architecture, and a filter is free to get that wrong.

mod context;
mod export;
mod parse;

use std::fmt;

use crate::{Action, Arch, Insn, Program, Syscall, op};
use context::{Context, Holds};

/// What the operand of an operation is, and so how it is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `[nr]`: a word of `seccomp_data`.
    Field,
    /// `#7`, `#0x1000`, `#x86_64`.
    Constant,
    /// `M[3]`.
    Cell,
    /// `len`.
    Length,
    /// `x`.
    Index,
    /// `a`.
    Accumulator,
    /// `allow`, `errno(1)`, `#0x1`.
    Verdict,
    /// The number of an instruction.
    Target,
    /// No operand.
    None,
}

/// Every operation with its mnemonic: one table for both directions.
const FORMS: &[(u16, &str, Form)] = &[
    (op::LD_ABS, "ld", Form::Field),
    (op::LD_IMM, "ld", Form::Constant),
    (op::LD_MEM, "ld", Form::Cell),
    (op::LD_LEN, "ld", Form::Length),
    (op::LDX_IMM, "ldx", Form::Constant),
    (op::LDX_MEM, "ldx", Form::Cell),
    (op::LDX_LEN, "ldx", Form::Length),
    (op::ST, "st", Form::Cell),
    (op::STX, "stx", Form::Cell),
    (op::ADD_K, "add", Form::Constant),
    (op::ADD_X, "add", Form::Index),
    (op::SUB_K, "sub", Form::Constant),
    (op::SUB_X, "sub", Form::Index),
    (op::MUL_K, "mul", Form::Constant),
    (op::MUL_X, "mul", Form::Index),
    (op::DIV_K, "div", Form::Constant),
    (op::DIV_X, "div", Form::Index),
    (op::OR_K, "or", Form::Constant),
    (op::OR_X, "or", Form::Index),
    (op::AND_K, "and", Form::Constant),
    (op::AND_X, "and", Form::Index),
    (op::LSH_K, "lsh", Form::Constant),
    (op::LSH_X, "lsh", Form::Index),
    (op::RSH_K, "rsh", Form::Constant),
    (op::RSH_X, "rsh", Form::Index),
    (op::XOR_K, "xor", Form::Constant),
    (op::XOR_X, "xor", Form::Index),
    (op::NEG, "neg", Form::None),
    (op::TAX, "tax", Form::None),
    (op::TXA, "txa", Form::None),
    (op::JA, "jmp", Form::Target),
    (op::JEQ_K, "jeq", Form::Constant),
    (op::JEQ_X, "jeq", Form::Index),
    (op::JGT_K, "jgt", Form::Constant),
    (op::JGT_X, "jgt", Form::Index),
    (op::JGE_K, "jge", Form::Constant),
    (op::JGE_X, "jge", Form::Index),
    (op::JSET_K, "jset", Form::Constant),
    (op::JSET_X, "jset", Form::Index),
    (op::RET_K, "ret", Form::Verdict),
    (op::RET_A, "ret", Form::Accumulator),
];

/// The words of `seccomp_data`, each at 4 times its position.
const FIELDS: [&str; 16] = [
    "nr", "arch", "ip.lo", "ip.hi", "arg0.lo", "arg0.hi", "arg1.lo", "arg1.hi", "arg2.lo",
    "arg2.hi", "arg3.lo", "arg3.hi", "arg4.lo", "arg4.hi", "arg5.lo", "arg5.hi",
];

/// The mnemonic of an instruction whose unused fields are not all 0.
const RAW: &str = "raw";

impl fmt::Display for Program {
    /// The listing, one line an instruction; [`Program::from_str`] reads it back.
    ///
    /// [`Program::from_str`]: std::str::FromStr::from_str
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (insn, context)) in self
            .insns()
            .iter()
            .zip(context::contexts(self.insns()))
            .enumerate()
        {
            let text = text(at, *insn, context);
            match comment(*insn, context) {
                Some(comment) => writeln!(f, "{at:>4}  {text:<28}  ; {comment}")?,
                None => writeln!(f, "{at:>4}  {text}")?,
            }
        }
        Ok(())
    }
}

/// One instruction without its number and comment.
fn text(at: usize, insn: Insn, context: Context) -> String {
    let Insn { code, jt, jf, k } = insn;
    let Some((_, mnemonic, form)) = FORMS
        .iter()
        .find(|(known, ..)| *known == code)
        .filter(|(.., form)| is_canonical(insn, *form))
    else {
        return format!("{RAW}  {code:#x} {jt} {jf} {k:#x}");
    };
    let operand = match form {
        Form::Field => format!("[{}]", FIELDS[(k / 4) as usize]),
        Form::Constant => format!("#{}", constant(k, context)),
        Form::Cell => format!("M[{k}]"),
        Form::Length => "len".to_owned(),
        Form::Index => "x".to_owned(),
        Form::Accumulator => "a".to_owned(),
        Form::Verdict => verdict(k),
        Form::Target => format!("{}", at + 1 + k as usize),
        Form::None => return (*mnemonic).to_owned(),
    };
    if insn.is_conditional() {
        let (yes, no) = (at + 1 + usize::from(jt), at + 1 + usize::from(jf));
        format!("{mnemonic:<4} {operand}, {yes}, {no}")
    } else {
        format!("{mnemonic:<4} {operand}")
    }
}

/// Whether the fields that the operation does not use are 0, so that the text
/// says all there is.
fn is_canonical(insn: Insn, form: Form) -> bool {
    let jumps = insn.is_conditional() || (insn.jt == 0 && insn.jf == 0);
    let uses_k = matches!(
        form,
        Form::Field | Form::Constant | Form::Cell | Form::Verdict | Form::Target
    );
    jumps && (uses_k || insn.k == 0)
}

fn constant(k: u32, context: Context) -> String {
    match Arch::of(k, 0) {
        Some(arch) if context.holds == Holds::Arch => arch.to_string(),
        _ if k < 0x1000 => k.to_string(),
        _ => format!("{k:#x}"),
    }
}

fn verdict(ret: u32) -> String {
    let action = Action::from_ret(ret);
    if action.to_ret() == ret {
        action.to_string()
    } else {
        format!("#{ret:#x}")
    }
}

/// What a person would look up.
fn comment(insn: Insn, context: Context) -> Option<String> {
    let k = insn.k;
    match insn.code {
        op::JEQ_K | op::JGT_K | op::JGE_K if context.holds == Holds::Number => {
            let arch = Arch::of(context.arch?, k)?;
            if arch == Arch::X32 && k & !crate::X32_SYSCALL_BIT == 0 && insn.code == op::JGE_K {
                return Some("x32".to_owned());
            }
            Syscall::new(arch, k).name().map(str::to_owned)
        }
        op::RET_K if Action::from_ret(k).to_ret() != k => Some(Action::from_ret(k).to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offset;

    #[test]
    fn names_what_it_knows() {
        let program = Program::new(vec![
            Insn::load(offset::ARCH),
            Insn::jump(op::JEQ_K, Arch::X86_64.audit(), 0, 8),
            Insn::load(offset::NR),
            Insn::jump(op::JGE_K, crate::X32_SYSCALL_BIT, 6, 0),
            Insn::jump(op::JEQ_K, 257, 0, 4),
            Insn::load(offset::arg_high(2)),
            Insn::jump(op::JSET_K, 0x1_0000, 2, 0),
            Insn::stmt(op::JA, 1),
            Insn::stmt(op::RET_K, 0x7fff_0001),
            Insn::ret(Action::Allow),
            Insn::ret(Action::Errno(1)),
        ])
        .unwrap();
        let expected = "   0  ld   [arch]
   1  jeq  #x86_64, 2, 10
   2  ld   [nr]
   3  jge  #0x40000000, 10, 4       ; x32
   4  jeq  #257, 5, 9               ; openat
   5  ld   [arg2.hi]
   6  jset #0x10000, 9, 7
   7  jmp  9
   8  ret  #0x7fff0001              ; allow
   9  ret  allow
  10  ret  errno(1)
";
        assert_eq!(program.to_string(), expected);
        assert_eq!(expected.parse::<Program>().unwrap(), program);
    }

    #[test]
    fn a_number_of_an_unknown_architecture_has_no_name() {
        let program = Program::new(vec![
            Insn::load(offset::NR),
            Insn::jump(op::JEQ_K, 257, 0, 0),
            Insn::ret(Action::Allow),
        ])
        .unwrap();
        assert!(!program.to_string().contains("openat"));
    }

    #[test]
    fn fields_that_an_operation_ignores_survive() {
        let program = Program::new(vec![
            Insn::jump(op::TAX, 9, 1, 2),
            Insn::jump(op::RET_K, 0, 0, 3),
            Insn::ret(Action::KillThread),
        ])
        .unwrap();
        let listing = program.to_string();
        assert_eq!(listing.parse::<Program>().unwrap(), program, "{listing}");
    }
}

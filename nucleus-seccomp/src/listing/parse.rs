//! Reads a listing.

use std::str::FromStr;

use super::{FIELDS, FORMS, Form, RAW};
use crate::{Action, Arch, Insn, ListingError, Program};

impl FromStr for Program {
    type Err = ListingError;

    /// Reads what [`Display`](std::fmt::Display) writes. The numbers in front
    /// of the instructions may be left out; empty lines and what follows `;`
    /// are skipped.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut insns = Vec::new();
        for (line, full) in (1..).zip(text.lines()) {
            let code = full.split(';').next().unwrap_or_default().trim();
            if code.is_empty() {
                continue;
            }
            insns.push(instruction(insns.len(), code).map_err(|expected| {
                ListingError::Syntax {
                    line,
                    text: full.trim().to_owned(),
                    expected,
                }
            })?);
        }
        Ok(Self::new(insns)?)
    }
}

/// What would have been right.
type Expected = &'static str;

fn instruction(at: usize, text: &str) -> Result<Insn, Expected> {
    let (first, rest) = split(text);
    let (mnemonic, rest) = if first.starts_with(|c: char| c.is_ascii_digit()) {
        if first.trim_end_matches(':').parse() != Ok(at) {
            return Err("the number of this instruction, counted from 0, or none");
        }
        split(rest)
    } else {
        (first, rest)
    };
    if mnemonic == RAW {
        return raw(rest);
    }
    if !FORMS.iter().any(|(_, known, _)| *known == mnemonic) {
        return Err("a mnemonic such as ld, jeq, and, ret");
    }
    let mut operands = rest.split(',').map(str::trim);
    let operand = operands.next().unwrap_or_default();
    let (code, k) = FORMS
        .iter()
        .filter(|(_, known, _)| *known == mnemonic)
        .find_map(|(code, _, form)| Some((*code, value(*form, operand, at)?)))
        .ok_or("an operand that goes with the mnemonic: [nr], [arch], [arg0.lo], #7, #x86_64, M[3], len, x, a, a verdict, an instruction further down")?;
    let mut insn = Insn::stmt(code, k);
    if insn.is_conditional() {
        let mut target = || {
            let skip = skip(operands.next()?, at)?;
            u8::try_from(skip).ok()
        };
        insn.jt = target().ok_or(TARGETS)?;
        insn.jf = target().ok_or(TARGETS)?;
    }
    match operands.next() {
        None => Ok(insn),
        Some(_) => Err("nothing more behind the operands"),
    }
}

const TARGETS: Expected =
    "two instructions further down, at most 256 away: where to go on if it holds, and if not";

/// The first word and what follows it.
fn split(text: &str) -> (&str, &str) {
    let (first, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (first, rest.trim_start())
}

fn value(form: Form, operand: &str, at: usize) -> Option<u32> {
    match form {
        Form::Field => {
            let name = operand.strip_prefix('[')?.strip_suffix(']')?;
            let field = FIELDS.iter().position(|field| *field == name)?;
            u32::try_from(field * 4).ok()
        }
        Form::Constant => constant(operand),
        Form::Cell => operand.strip_prefix("M[")?.strip_suffix(']')?.parse().ok(),
        Form::Length => (operand == "len").then_some(0),
        Form::Index => (operand == "x").then_some(0),
        Form::Accumulator => (operand == "a").then_some(0),
        Form::Verdict => verdict(operand),
        Form::Target => skip(operand, at),
        Form::None => operand.is_empty().then_some(0),
    }
}

/// `#7`, `#0x1000`, `#x86_64`.
fn constant(operand: &str) -> Option<u32> {
    let constant = operand.strip_prefix('#')?;
    number(constant).or_else(|| constant.parse::<Arch>().ok().map(Arch::audit))
}

fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

fn verdict(operand: &str) -> Option<u32> {
    let (name, data) = match operand.strip_suffix(')') {
        Some(call) => {
            let (name, data) = call.split_once('(')?;
            (name, Some(data.parse().ok()?))
        }
        None => (operand, None),
    };
    let action = match (name, data) {
        ("kill_process", None) => Action::KillProcess,
        ("kill_thread", None) => Action::KillThread,
        ("trap", Some(data)) => Action::Trap(data),
        ("errno", Some(data)) => Action::Errno(data),
        ("user_notif", None) => Action::Notify,
        ("trace", Some(data)) => Action::Trace(data),
        ("log", None) => Action::Log,
        ("allow", None) => Action::Allow,
        _ => return constant(operand),
    };
    Some(action.to_ret())
}

/// How many instructions to skip to get from `at` to the named one.
fn skip(target: &str, at: usize) -> Option<u32> {
    let target: usize = target.parse().ok()?;
    u32::try_from(target.checked_sub(at + 1)?).ok()
}

/// `raw CODE JT JF K`: all four fields.
fn raw(operands: &str) -> Result<Insn, Expected> {
    const FORM: Expected = "raw with the four fields code, jt, jf and k";
    let mut fields = operands.split_whitespace().map(number);
    let mut field = || fields.next().flatten().ok_or(FORM);
    let narrow = |field: u32| u8::try_from(field).ok().ok_or(FORM);
    let insn = Insn {
        code: u16::try_from(field()?).ok().ok_or(FORM)?,
        jt: narrow(field()?)?,
        jf: narrow(field()?)?,
        k: field()?,
    };
    if fields.next().is_some() {
        return Err(FORM);
    }
    Ok(insn)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LoadError;

    fn check(text: &str, line: usize, needle: &str) {
        let error = text.parse::<Program>().unwrap_err();
        match &error {
            ListingError::Syntax {
                line: at, expected, ..
            } => {
                assert_eq!(*at, line, "{error}");
                assert!(expected.contains(needle), "{error}");
            }
            other => panic!("{other}"),
        }
    }

    #[test]
    fn says_which_line_is_wrong_and_what_would_be_right() {
        check("ret allow\nfoo #1", 2, "mnemonic");
        check("ld [nr\nret allow", 1, "operand");
        check("ld [arg6.lo]\nret allow", 1, "operand");
        check("\n 5 ret allow", 2, "number of this instruction");
        check("jeq #1, 1\nret allow", 1, "two instructions");
        check("jeq #1, 0, 1\nret allow", 1, "two instructions");
        check("jeq #1, 1, 300\nret allow", 1, "two instructions");
        check("ret allow, 3", 1, "nothing more");
        check("ret errno", 1, "operand");
        check("raw 1 2 3", 1, "four fields");
        check("raw 1 2 3 4 5", 1, "four fields");
    }

    #[test]
    fn the_loader_has_the_last_word() {
        assert_eq!(
            "ld [nr]".parse::<Program>(),
            Err(ListingError::Load(LoadError::NoReturn { at: 0 }))
        );
        assert_eq!(
            "; nothing\n".parse::<Program>(),
            Err(ListingError::Load(LoadError::Empty))
        );
    }
}

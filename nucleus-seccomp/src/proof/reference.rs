//! What a policy answers, as a function of the input: from its rules, not
//! from its program.

use super::diagram::{Diagram, FALSE, Ref, TRUE};
use super::word::{self, Word, ZERO, constant};
use crate::policy::{ArchPolicy, has_wide_registers};
use crate::{
    Arch, ArgTest, Clause, Comparison, Policy, ProofError, Verdict, X32_SYSCALL_BIT, offset,
};

type Result<T> = std::result::Result<T, ProofError>;

pub(super) fn behaviour(diagram: &mut Diagram, policy: &Policy) -> Result<Ref> {
    let mut answer = diagram.verdict(policy.bad_arch())?;
    for part in policy.arch_policies() {
        let here = arch_policy(diagram, part)?;
        let applies = is_of(diagram, part.arch)?;
        answer = diagram.choose(applies, here, answer)?;
    }
    Ok(answer)
}

/// Whether a call is of this architecture; see [`Arch::of`].
fn is_of(diagram: &mut Diagram, arch: Arch) -> Result<Ref> {
    let audit = word::input(diagram, offset::ARCH)?;
    let same = diagram.equal(&audit, &constant(arch.audit()))?;
    let number = word::input(diagram, offset::NR)?;
    let marked = diagram.greater(&number, &constant(X32_SYSCALL_BIT), TRUE)?;
    let none = diagram.equal(&number, &constant(u32::MAX))?;
    let x32 = diagram.choose(none, FALSE, marked)?;
    match arch {
        Arch::X86_64 => diagram.choose(x32, FALSE, same),
        Arch::X32 => diagram.and(x32, same),
        Arch::I386 | Arch::Aarch64 | Arch::Riscv64 => Ok(same),
    }
}

fn arch_policy(diagram: &mut Diagram, policy: &ArchPolicy) -> Result<Ref> {
    let number = word::input(diagram, offset::NR)?;
    let mut answer = diagram.verdict(policy.default)?;
    if let Some(newer) = policy.newer {
        let is_newer = diagram.greater(&number, &constant(newer.above), FALSE)?;
        let action = diagram.verdict(newer.action)?;
        answer = diagram.choose(is_newer, action, answer)?;
    }
    for (&call, verdict) in &policy.calls {
        let here = verdict_of(diagram, verdict, has_wide_registers(policy.arch))?;
        let is_call = diagram.equal(&number, &constant(call))?;
        answer = diagram.choose(is_call, here, answer)?;
    }
    Ok(answer)
}

fn verdict_of(diagram: &mut Diagram, verdict: &Verdict, wide: bool) -> Result<Ref> {
    match verdict {
        Verdict::Always(action) => diagram.verdict(*action),
        Verdict::When { clauses, otherwise } => {
            let mut answer = diagram.verdict(*otherwise)?;
            // The first that holds counts, so it is put on top last.
            for clause in clauses.iter().rev() {
                let holds = clause_holds(diagram, clause, wide)?;
                let action = diagram.verdict(clause.action)?;
                answer = diagram.choose(holds, action, answer)?;
            }
            Ok(answer)
        }
    }
}

fn clause_holds(diagram: &mut Diagram, clause: &Clause, wide: bool) -> Result<Ref> {
    let mut all = TRUE;
    for test in &clause.tests {
        let holds = test_holds(diagram, *test, wide)?;
        all = diagram.and(all, holds)?;
    }
    Ok(all)
}

/// An argument or operand: the upper half, then the lower.
type Long = [Word; 2];

fn long(value: u64) -> Long {
    let [a, b, c, d, e, f, g, h] = value.to_be_bytes();
    [[a, b, c, d], [e, f, g, h]].map(|half| constant(u32::from_be_bytes(half)))
}

fn test_holds(diagram: &mut Diagram, test: ArgTest, wide: bool) -> Result<Ref> {
    let index = test.index.get();
    let argument = [
        if wide {
            word::input(diagram, offset::arg_high(index))?
        } else {
            ZERO
        },
        word::input(diagram, offset::arg_low(index))?,
    ];
    match test.comparison {
        Comparison::Equal(value) => equal(diagram, &argument, &long(value)),
        Comparison::NotEqual(value) => {
            let equal = equal(diagram, &argument, &long(value))?;
            diagram.not(equal)
        }
        Comparison::Greater(value) => greater(diagram, &argument, &long(value), FALSE),
        Comparison::GreaterOrEqual(value) => greater(diagram, &argument, &long(value), TRUE),
        Comparison::Less(value) => greater(diagram, &long(value), &argument, FALSE),
        Comparison::LessOrEqual(value) => greater(diagram, &long(value), &argument, TRUE),
        Comparison::MaskedEqual { mask, value } => {
            let mask = long(mask);
            let masked = both_halves(diagram, &argument, &mask)?;
            let value = both_halves(diagram, &long(value), &mask)?;
            equal(diagram, &masked, &value)
        }
    }
}

fn both_halves(diagram: &mut Diagram, a: &Long, b: &Long) -> Result<Long> {
    Ok([
        diagram.and_words(&a[0], &b[0])?,
        diagram.and_words(&a[1], &b[1])?,
    ])
}

fn equal(diagram: &mut Diagram, a: &Long, b: &Long) -> Result<Ref> {
    let upper = diagram.equal(&a[0], &b[0])?;
    let lower = diagram.equal(&a[1], &b[1])?;
    diagram.and(upper, lower)
}

fn greater(diagram: &mut Diagram, a: &Long, b: &Long, if_equal: Ref) -> Result<Ref> {
    let lower = diagram.greater(&a[1], &b[1], if_equal)?;
    diagram.greater(&a[0], &b[0], lower)
}

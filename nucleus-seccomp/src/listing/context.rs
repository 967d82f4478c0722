//! What is known in front of each instruction, whichever way it was reached.

use crate::{Insn, offset, op};

/// What the accumulator holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    Number,
    Arch,
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Context {
    pub(super) holds: Holds,
    /// The one value that `seccomp_data.arch` can have here.
    pub(super) arch: Option<u32>,
}

const NOTHING: Context = Context {
    holds: Holds::Other,
    arch: None,
};

/// One context for each instruction. Jumps only go forward, so that one pass
/// has seen every way to an instruction before it gets there.
pub(super) fn contexts(insns: &[Insn]) -> Vec<Context> {
    let mut contexts: Vec<Option<Context>> = vec![None; insns.len()];
    contexts[0] = Some(NOTHING);
    for (at, insn) in insns.iter().enumerate() {
        let Some(here) = contexts[at] else { continue };
        let mut reach = |skip: usize, context: Context| {
            let known = &mut contexts[at + 1 + skip];
            *known = Some(known.map_or(context, |other| merge(other, context)));
        };
        match insn.code {
            op::RET_K | op::RET_A => {}
            op::JA => reach(insn.k as usize, here),
            op::JEQ_K if here.holds == Holds::Arch => {
                let arch = Some(insn.k);
                reach(usize::from(insn.jt), Context { arch, ..here });
                reach(usize::from(insn.jf), here);
            }
            _ if insn.is_conditional() => {
                reach(usize::from(insn.jt), here);
                reach(usize::from(insn.jf), here);
            }
            op::LD_ABS => {
                let holds = match insn.k {
                    offset::NR => Holds::Number,
                    offset::ARCH => Holds::Arch,
                    _ => Holds::Other,
                };
                reach(0, Context { holds, ..here });
            }
            // These leave the accumulator alone.
            op::LDX_IMM | op::LDX_MEM | op::LDX_LEN | op::ST | op::STX | op::TAX => reach(0, here),
            _ => {
                let holds = Holds::Other;
                reach(0, Context { holds, ..here });
            }
        }
    }
    contexts
        .into_iter()
        .map(|context| context.unwrap_or(NOTHING))
        .collect()
}

fn merge(a: Context, b: Context) -> Context {
    Context {
        holds: if a.holds == b.holds {
            a.holds
        } else {
            Holds::Other
        },
        arch: a.arch.filter(|_| a.arch == b.arch),
    }
}

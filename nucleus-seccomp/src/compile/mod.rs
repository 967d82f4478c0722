//! From a policy to a program.
//!
//! - [`interval`]: the line of all numbers of one `AUDIT_ARCH_*` value, cut
//!   where the verdict changes
//! - [`tree`]: a decision tree over the intervals
//! - [`argument`]: tests of arguments, at the leaves of the tree
//! - [`emit`]: instructions, written from the end to the start
//!
//! Everything before an argument is looked at uses only instructions that the
//! kernel can evaluate in advance (`seccomp_is_const_allow`,
//! `kernel/seccomp.c`), so that a call that is always allowed runs no filter.

mod argument;
mod emit;
mod interval;
mod term;
mod tree;

use std::collections::BTreeMap;

use self::emit::{Emitter, Label};
use self::interval::Line;
use crate::policy::Policy;
use crate::{CompileError, MAX_INSNS, Program, Syscall, offset, op};

/// How to compile a policy.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CompileOptions {
    /// How often each call is made: frequent ones get shorter ways through
    /// the program. Calls that are always allowed run no filter at all on
    /// 5.11 and later, so this is for the others and for older kernels.
    pub hot: BTreeMap<Syscall, u64>,
}

impl Policy {
    /// The filter program with exactly the verdicts of [`Policy::decide`].
    ///
    /// The same policy and options always give the same program.
    ///
    /// # Errors
    /// [`CompileError::TooLong`], with the rules that take the most room.
    pub fn compile(&self, options: &CompileOptions) -> Result<Program, CompileError> {
        let mut emitter = Emitter::new();
        let mut arguments = argument::Arguments::default();
        let mut audits: Vec<u32> = Vec::new();
        for arch in self.arches() {
            if !audits.contains(&arch.audit()) {
                audits.push(arch.audit());
            }
        }
        // From the end of the program to its start, so the machine's own last.
        let mut sections: Vec<(u32, Label)> = Vec::new();
        for &audit in audits.iter().rev() {
            let line = Line::new(self, audit, &options.hot);
            sections.push((audit, tree::emit(&mut emitter, &mut arguments, &line)));
        }
        let mut next = emitter.ret(self.bad_arch());
        for (audit, section) in sections {
            next = emitter.branch(op::JEQ_K, audit, section, next);
        }
        emitter.load(offset::ARCH, next);
        let insns = emitter.into_insns();
        if insns.len() > MAX_INSNS {
            return Err(CompileError::TooLong {
                len: insns.len(),
                largest: arguments.largest(),
            });
        }
        Ok(Program::new(insns)?)
    }
}

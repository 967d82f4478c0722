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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Action, Arch, ArgIndex, ArgTest, CallName, Comparison, KernelVersion, Profile, Rule,
        SeccompData, Target,
    };

    const TARGET: Target = Target::new(Arch::X86_64, KernelVersion::new(6, 18));

    fn policy(profile: &Profile) -> Policy {
        profile.resolve(&TARGET).unwrap()
    }

    /// Rules that allow ioctl for as many requests.
    fn requests(count: u64) -> Profile {
        let mut profile = Profile::new(Action::Errno(1));
        profile.rules = (0..count)
            .map(|request| {
                Rule::new(vec![CallName::from("ioctl")], Action::Allow).when(vec![ArgTest {
                    index: ArgIndex::new(1).unwrap(),
                    // Not neighbours of each other, in both halves.
                    comparison: Comparison::Equal(request << 33 | request << 1),
                }])
            })
            .collect();
        profile
    }

    #[test]
    fn the_sandbox_default_is_short() {
        let policy = policy(&Profile::sandbox_default());
        let program = policy.compile(&CompileOptions::default()).unwrap();
        let len = program.insns().len();
        assert!(len <= 160, "{len} instructions");
        let runs = Syscall::all(Arch::X86_64).map(|call| {
            let data = SeccompData {
                nr: call.number(),
                arch: call.arch().audit(),
                ..SeccompData::default()
            };
            program.run(&data).executed
        });
        let (count, executed) = runs.fold((0, 0), |(n, sum), one| (n + 1, sum + one));
        assert!(executed <= 12 * count, "{executed} in {count} calls");
    }

    #[test]
    fn many_tests_of_one_call_compile_without_much_recursion() {
        for count in [255, 257, 900] {
            let policy = policy(&requests(count));
            let program = policy.compile(&CompileOptions::default()).unwrap();
            let last = (count - 1) << 33 | (count - 1) << 1;
            for (request, action) in [(last, Action::Allow), (last + 1, Action::Errno(1))] {
                let data = SeccompData {
                    nr: 16,
                    arch: Arch::X86_64.audit(),
                    args: [0, request, 0, 0, 0, 0],
                    ..SeccompData::default()
                };
                assert_eq!(program.run(&data).action, action, "{count} {request:#x}");
            }
        }
    }

    #[test]
    fn too_long_a_program_names_the_calls_that_make_it_so() {
        let error = policy(&requests(2000)).compile(&CompileOptions::default());
        let error = error.unwrap_err();
        assert!(matches!(&error, CompileError::TooLong { largest, .. }
            if largest[0].0.name() == Some("ioctl") && largest.len() == 1));
        let text = error.to_string();
        assert!(text.contains("at most 4096"), "{text}");
        assert!(text.contains("ioctl (x86_64): "), "{text}");
    }

    #[test]
    fn frequent_calls_have_shorter_ways() {
        let policy = policy(&Profile::sandbox_default());
        let ptrace = Syscall::by_name(Arch::X86_64, "ptrace").unwrap();
        let data = SeccompData {
            nr: ptrace.number(),
            arch: Arch::X86_64.audit(),
            ..SeccompData::default()
        };
        let hot = CompileOptions {
            hot: BTreeMap::from([(ptrace, 1 << 40)]),
        };
        let executed = |options: &CompileOptions| {
            let program = policy.compile(options).unwrap();
            program.run(&data).executed
        };
        assert!(executed(&hot) + 3 <= executed(&CompileOptions::default()));
    }
}

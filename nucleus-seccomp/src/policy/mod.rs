//! What a profile means on one machine, and the reference evaluator.
//!
//! Several rules for one call combine as in libseccomp behind runc:
//!
//! - An unconditional rule swallows the conditional ones; of two
//!   unconditional ones the first counts.
//! - A rule with the default action is left out, as runc does.
//! - Where conditional rules overlap and differ, they are tried in
//!   libseccomp's order: a higher argument index first; then equality and
//!   masks, then `<` and `<=`, then `>` and `>=`; then the larger operand
//!   (for `<` and `<=` the smaller); a rule with further tests last.
//! - On architectures with 32-bit registers (i386, and x32 as libseccomp sees
//!   it) only the lower halves of arguments and operands count.
//! - On i386 a rule for a call that `socketcall(2)` or `ipc(2)` can reach too
//!   holds for that way as well. There the arguments are behind a pointer: a
//!   conditional rule counts only where it denies more than the default
//!   action. (libseccomp lets it allow, too; that would open what the
//!   condition is there to close.)

mod order;
mod resolve;

use std::collections::BTreeMap;

use crate::profile::{ArgTest, Flag};
use crate::{Action, Arch, InstallFlags, SeccompData, Syscall};

/// A profile resolved for a target: names are numbers, conditions decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The machine's own first.
    arches: Vec<ArchPolicy>,
    bad_arch: Action,
    flags: Vec<Flag>,
}

/// The part of a policy for one architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ArchPolicy {
    pub(crate) arch: Arch,
    pub(crate) default: Action,
    pub(crate) newer: Option<Newer>,
    pub(crate) calls: BTreeMap<u32, Verdict>,
}

/// What happens to the numbers above the newest call that the profile names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Newer {
    pub(crate) above: u32,
    pub(crate) action: Action,
}

/// What happens to one call.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// The same, whatever the arguments.
    Always(Action),
    /// The action of the first clause that holds, or else the other one.
    When {
        /// In the order in which they are tried; never empty.
        clauses: Vec<Clause>,
        /// Where none holds.
        otherwise: Action,
    },
}

/// Tests of arguments that must all hold, and what happens then.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Clause {
    /// Never empty; each argument at most once.
    pub tests: Vec<ArgTest>,
    /// What happens.
    pub action: Action,
}

impl Policy {
    /// What happens to a call: the reference that compiled programs are
    /// checked against.
    #[must_use]
    pub fn decide(&self, data: &SeccompData) -> Action {
        let Some(policy) = Arch::of(data.arch, data.nr).and_then(|arch| self.arch(arch)) else {
            return self.bad_arch;
        };
        match policy.calls.get(&data.nr) {
            Some(verdict) => verdict.decide(policy.arch, &data.args),
            None => policy.without_rule(data.nr),
        }
    }

    /// What happens to calls of architectures that the profile does not name:
    /// as in libseccomp, the thread is killed.
    #[must_use]
    pub const fn bad_arch(&self) -> Action {
        self.bad_arch
    }

    /// The architectures of the profile, the machine's own first.
    pub fn arches(&self) -> impl Iterator<Item = Arch> {
        self.arches.iter().map(|policy| policy.arch)
    }

    /// The calls of an architecture that have rules, by number.
    pub fn calls(&self, arch: Arch) -> impl Iterator<Item = (Syscall, &Verdict)> {
        let calls = self.arch(arch).map(|policy| &policy.calls);
        calls
            .into_iter()
            .flatten()
            .map(move |(&number, verdict)| (Syscall::new(arch, number), verdict))
    }

    /// What happens to a call without looking at arguments, where that decides it.
    #[must_use]
    pub fn verdict(&self, call: Syscall) -> Verdict {
        let Some(policy) = self.arch(call.arch()) else {
            return Verdict::Always(self.bad_arch);
        };
        match policy.calls.get(&call.number()) {
            Some(verdict) => verdict.clone(),
            None => Verdict::Always(policy.without_rule(call.number())),
        }
    }

    /// What a rule of the profile says of a call, or `None` without one.
    #[must_use]
    pub fn rule(&self, call: Syscall) -> Option<&Verdict> {
        self.arch(call.arch())?.calls.get(&call.number())
    }

    /// What happens to calls without a rule, apart from new ones.
    #[must_use]
    pub fn default_action(&self) -> Action {
        // There is always the machine's own architecture.
        self.arches.first().map_or(self.bad_arch, |own| own.default)
    }

    /// The flags that the profile asks for.
    #[must_use]
    pub fn flags(&self) -> &[Flag] {
        &self.flags
    }

    /// The flags that a launcher without a listener installs the filter with.
    ///
    /// `TSYNC` is left out, because a program starts with one thread, and
    /// `WAIT_KILLABLE_RECV`, because it is about a listener.
    #[must_use]
    pub fn install_flags(&self) -> InstallFlags {
        self.flags
            .iter()
            .map(|flag| match flag {
                Flag::Log => InstallFlags::LOG,
                Flag::SpecAllow => InstallFlags::SPEC_ALLOW,
                Flag::Tsync | Flag::WaitKillableRecv => InstallFlags::empty(),
            })
            .collect()
    }

    /// The same policy with other actions, such as denials that a tracer answers.
    #[must_use]
    pub fn map_actions(mut self, mut map: impl FnMut(Action) -> Action) -> Self {
        self.bad_arch = map(self.bad_arch);
        for policy in &mut self.arches {
            policy.default = map(policy.default);
            if let Some(newer) = &mut policy.newer {
                newer.action = map(newer.action);
            }
            for verdict in policy.calls.values_mut() {
                match verdict {
                    Verdict::Always(action) => *action = map(*action),
                    Verdict::When { clauses, otherwise } => {
                        *otherwise = map(*otherwise);
                        for clause in clauses {
                            clause.action = map(clause.action);
                        }
                    }
                }
            }
        }
        self
    }

    pub(crate) fn arch_policies(&self) -> &[ArchPolicy] {
        &self.arches
    }

    fn arch(&self, arch: Arch) -> Option<&ArchPolicy> {
        self.arches.iter().find(|policy| policy.arch == arch)
    }
}

impl ArchPolicy {
    /// What happens to a number without a rule.
    pub(crate) fn without_rule(&self, number: u32) -> Action {
        match self.newer {
            Some(newer) if number > newer.above => newer.action,
            _ => self.default,
        }
    }
}

impl Verdict {
    fn decide(&self, arch: Arch, args: &[u64; 6]) -> Action {
        match self {
            Self::Always(action) => *action,
            Self::When { clauses, otherwise } => {
                let args = args.map(|arg| {
                    if has_wide_registers(arch) {
                        arg
                    } else {
                        arg & LOW
                    }
                });
                let holds = |clause: &&Clause| clause.tests.iter().all(|test| test.holds(&args));
                let clause = clauses.iter().find(holds);
                clause.map_or(*otherwise, |clause| clause.action)
            }
        }
    }
}

const LOW: u64 = u32::MAX as u64;

/// Whether the upper halves of arguments count.
pub(crate) const fn has_wide_registers(arch: Arch) -> bool {
    match arch {
        Arch::X86_64 | Arch::Aarch64 | Arch::Riscv64 => true,
        Arch::I386 | Arch::X32 => false,
    }
}

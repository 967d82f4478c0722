//! From a profile to a policy.

use std::collections::{BTreeMap, BTreeSet};

use super::{ArchPolicy, Clause, Newer, Policy, Verdict, has_wide_registers, order};
use crate::profile::{
    ArgIndex, ArgTest, CallName, Comparison, NewCalls, Profile, Rule, Target, When,
};
use crate::{Action, Arch, ResolveError, Syscall, table};

/// libseccomp's action for architectures that a filter does not have.
const BAD_ARCH: Action = Action::KillThread;

/// `ENOSYS`, the same on every architecture with a table.
const ENOSYS: u16 = 38;

impl Profile {
    /// What the profile means for a target.
    ///
    /// # Errors
    /// Two rules with the same tests and different actions, and what runc
    /// refuses: a default action of `Notify`.
    pub fn resolve(&self, target: &Target) -> Result<Policy, ResolveError> {
        if self.default_action == Action::Notify {
            return Err(ResolveError::NotifyByDefault);
        }
        let rules: Vec<&Rule> = self
            .rules
            .iter()
            .filter(|rule| rule.applies_to(target))
            .collect();
        let arches = self
            .arches(target)
            .into_iter()
            .map(|arch| resolve_arch(self.default_action, &rules, arch, target))
            .collect::<Result<_, _>>()?;
        Ok(Policy {
            arches,
            bad_arch: BAD_ARCH,
            flags: self.flags.clone(),
        })
    }

    /// The architectures that may make calls and have a table, the machine's
    /// own first.
    fn arches(&self, target: &Target) -> Vec<Arch> {
        let mut arches = vec![target.arch];
        for arch in self
            .other_architectures(target)
            .iter()
            .filter_map(|oci| oci.arch())
        {
            if !arches.contains(&arch) {
                arches.push(arch);
            }
        }
        arches
    }
}

/// What the rules say of one call, before they are combined.
#[derive(Default)]
struct Collected {
    always: Option<Action>,
    clauses: Vec<Clause>,
    /// Ways to it through a multiplexer: selector and action.
    multiplexed: BTreeMap<u64, Action>,
}

fn resolve_arch(
    default: Action,
    rules: &[&Rule],
    arch: Arch,
    target: &Target,
) -> Result<ArchPolicy, ResolveError> {
    let mut calls: BTreeMap<u32, Collected> = BTreeMap::new();
    let mut newest = None;
    for rule in rules {
        for call in &rule.calls {
            let number = number(call, arch, target);
            newest = newest.max(number);
            if rule.action == default {
                continue;
            }
            if let Some(number) = number {
                let collected = calls.entry(number).or_default();
                collect(collected, rule, arch);
            }
            if let (Arch::I386, CallName::Name(name)) = (arch, call)
                && let Some(way) = table::multiplexed(name)
                && (rule.when == When::Always || rule.action < default)
            {
                let ways = &mut calls.entry(way.number).or_default().multiplexed;
                let action = ways.entry(way.selector).or_insert(rule.action);
                *action = rule.action.min(*action);
            }
        }
    }
    let calls = calls
        .into_iter()
        .map(|(number, collected)| {
            let verdict = combine(collected, default, Syscall::new(arch, number))?;
            Ok((number, verdict))
        })
        .collect::<Result<_, ResolveError>>()?;
    let newer = newest
        .filter(|_| gives_enosys(default, target.new_calls))
        .map(|above| Newer {
            above,
            action: Action::Errno(ENOSYS),
        });
    Ok(ArchPolicy {
        arch,
        default,
        newer,
        calls,
    })
}

/// runc leaves its rule out where the default action lets calls through (to a
/// tracer as well) or says ENOSYS itself.
fn gives_enosys(default: Action, new_calls: NewCalls) -> bool {
    new_calls == NewCalls::Enosys
        && !matches!(
            default,
            Action::Allow | Action::Log | Action::Trace(_) | Action::Errno(ENOSYS)
        )
}

fn number(call: &CallName, arch: Arch, target: &Target) -> Option<u32> {
    match call {
        CallName::Name(name) => table::number(arch, name),
        CallName::Number(number) => {
            (Arch::of(target.arch.audit(), *number) == Some(arch)).then_some(*number)
        }
    }
}

/// Adds what one rule says. As in runc, tests that share an argument are
/// alternatives.
fn collect(collected: &mut Collected, rule: &Rule, arch: Arch) {
    let action = rule.action;
    let When::Args(tests) = &rule.when else {
        collected.always.get_or_insert(action);
        return;
    };
    let mut tests: Vec<ArgTest> = tests.iter().map(|test| narrow(*test, arch)).collect();
    let indices: BTreeSet<ArgIndex> = tests.iter().map(|test| test.index).collect();
    if indices.len() == tests.len() {
        tests.sort_by_key(|test| test.index);
        collected.clauses.push(Clause { tests, action });
    } else {
        let alternatives = tests.into_iter().map(|test| Clause {
            tests: vec![test],
            action,
        });
        collected.clauses.extend(alternatives);
    }
}

fn narrow(test: ArgTest, arch: Arch) -> ArgTest {
    let comparison = if has_wide_registers(arch) {
        test.comparison
    } else {
        test.comparison.narrow()
    };
    ArgTest { comparison, ..test }
}

fn combine(collected: Collected, default: Action, call: Syscall) -> Result<Verdict, ResolveError> {
    if let Some(action) = collected.always {
        return Ok(Verdict::Always(action));
    }
    let mut clauses = collected.clauses;
    for (selector, action) in collected.multiplexed {
        let tests = vec![ArgTest {
            index: ArgIndex::FIRST,
            comparison: Comparison::Equal(selector),
        }];
        // What the profile says of the multiplexer itself goes first.
        if !clauses.iter().any(|clause| clause.tests == tests) {
            clauses.push(Clause { tests, action });
        }
    }
    clauses.sort_by(order::compare);
    clauses.dedup();
    if let Some(pair) = clauses
        .windows(2)
        .find(|pair| pair[0].tests == pair[1].tests)
    {
        return Err(ResolveError::Conflict {
            call,
            tests: pair[0].tests.clone(),
            actions: [pair[0].action, pair[1].action],
        });
    }
    Ok(Verdict::When {
        clauses,
        otherwise: default,
    })
}

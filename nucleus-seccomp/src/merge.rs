//! One profile of several.

use std::collections::{BTreeMap, BTreeSet};

use crate::policy::{Clause, Policy, Verdict};
use crate::profile::{Architectures, ArgTest, CallName, Comparison, OciArch, Profile, Rule, When};
use crate::{Action, Arch, MergeError, Syscall};

/// How profiles are merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merge {
    /// A call passes if it passes one of them: of the actions, the one that
    /// the kernel gives the lowest precedence (allow, log, trace, notify,
    /// errno, trap, kill).
    Union,
    /// A call passes only if it passes all of them: the action with the
    /// highest precedence, as when the kernel has all filters installed.
    Intersection,
}

impl Merge {
    fn action(self, a: Action, b: Action) -> Action {
        match self {
            Self::Union => a.max(b),
            Self::Intersection => a.min(b),
        }
    }
}

/// Merges policies, each with the name of its origin, to a profile for the
/// same target. Rules say where they come from in their comments.
///
/// # Errors
/// Nothing to merge; different architectures in a union, which would let calls
/// of one profile pass on the architectures of another; and what no OCI
/// profile can say, such as two ranges of one argument at a time.
pub fn merge(policies: &[(String, Policy)], how: Merge) -> Result<Profile, MergeError> {
    let Some(((_, first), rest)) = policies.split_first() else {
        return Err(MergeError::Nothing);
    };
    let mut arches: Vec<Arch> = first.arches().collect();
    for (name, policy) in rest {
        let others: BTreeSet<Arch> = policy.arches().collect();
        let same = others.len() == arches.len() && arches.iter().all(|arch| others.contains(arch));
        if how == Merge::Union && !same {
            return Err(MergeError::DifferentArches {
                origin: name.clone(),
            });
        }
        arches.retain(|arch| others.contains(arch));
    }
    let defaults = policies.iter().map(|(_, policy)| policy.default_action());
    let default = defaults
        .reduce(|a, b| how.action(a, b))
        .ok_or(MergeError::Nothing)?;

    let mut profile = Profile::new(default);
    profile.architectures =
        Architectures::Listed(arches.iter().copied().map(OciArch::from).collect());
    profile.flags = first.flags().to_vec();
    for (_, policy) in rest {
        profile.flags.extend(policy.flags());
    }
    profile.flags.sort_unstable();
    profile.flags.dedup();

    // Calls with the same verdict from the same origins share a rule.
    let mut groups: BTreeMap<(Verdict, String), BTreeSet<CallName>> = BTreeMap::new();
    for (name, call) in named(policies, &arches) {
        let mut verdict: Option<Verdict> = None;
        let mut origins = Vec::new();
        for (origin, policy) in policies {
            let one = match policy.rule(call) {
                Some(verdict) => {
                    origins.push(origin.as_str());
                    verdict.with_default(default)
                }
                None => Verdict::Always(how.action(policy.default_action(), default)),
            };
            verdict = Some(match verdict {
                None => one,
                Some(before) => {
                    combine(before, one, how).ok_or(MergeError::Inexpressible { call })?
                }
            });
        }
        if let Some(verdict) = verdict {
            let comment = format!("from {}", origins.join(", "));
            groups.entry((verdict, comment)).or_default().insert(name);
        }
    }
    for ((verdict, comment), calls) in groups {
        profile.rules.extend(rules(verdict, &comment, calls));
    }
    Ok(profile)
}

/// Every call that a policy has a rule for, once, by name where it has one:
/// as a rule is by name, the first architecture that has the call speaks for
/// all.
fn named(policies: &[(String, Policy)], arches: &[Arch]) -> BTreeMap<CallName, Syscall> {
    let mut calls = BTreeMap::new();
    for &arch in arches {
        for (_, policy) in policies {
            for (call, _) in policy.calls(arch) {
                let name = match call.name() {
                    Some(name) => CallName::Name(name.to_owned()),
                    None => CallName::Number(call.number()),
                };
                calls.entry(name).or_insert(call);
            }
        }
    }
    calls
}

/// Both have the merged profile's default where no clause holds, and so must
/// the result: an OCI profile has no other way to say "otherwise".
fn combine(a: Verdict, b: Verdict, how: Merge) -> Option<Verdict> {
    match (a, b) {
        (a, b) if a == b => Some(a),
        (Verdict::Always(a), Verdict::Always(b)) => Some(Verdict::Always(how.action(a, b))),
        (Verdict::Always(action), when) | (when, Verdict::Always(action)) => {
            with_action(when, action, how)
        }
        (
            Verdict::When {
                clauses: a,
                otherwise,
            },
            Verdict::When { clauses: b, .. },
        ) => {
            let action = a[0].action;
            if a.iter().chain(&b).any(|clause| clause.action != action) {
                return None;
            }
            let clauses = if how.action(action, otherwise) == action {
                a.into_iter().chain(b).collect()
            } else {
                both(&a, &b)?
            };
            Some(simplified(clauses, otherwise))
        }
    }
}

/// A verdict that depends on arguments, with one that does not.
fn with_action(verdict: Verdict, action: Action, how: Merge) -> Option<Verdict> {
    let Verdict::When { clauses, otherwise } = verdict else {
        return None;
    };
    let clauses = clauses.into_iter().map(|clause| Clause {
        action: how.action(action, clause.action),
        ..clause
    });
    let merged = simplified(clauses.collect(), how.action(action, otherwise));
    match merged {
        Verdict::When {
            otherwise: other, ..
        } if other != otherwise => None,
        merged => Some(merged),
    }
}

fn simplified(mut clauses: Vec<Clause>, otherwise: Action) -> Verdict {
    clauses.sort();
    clauses.dedup();
    if clauses.iter().all(|clause| clause.action == otherwise) {
        Verdict::Always(otherwise)
    } else {
        Verdict::When { clauses, otherwise }
    }
}

/// The clauses that hold where one of each list does.
fn both(a: &[Clause], b: &[Clause]) -> Option<Vec<Clause>> {
    let mut clauses = Vec::new();
    for a in a {
        for b in b {
            if let Some(tests) = conjunction(&a.tests, &b.tests)? {
                clauses.push(Clause {
                    tests,
                    action: a.action,
                });
            }
        }
    }
    Some(clauses)
}

/// The tests of both, each argument once: `Some(None)` where they cannot all
/// hold, `None` where one test of an argument cannot say it.
fn conjunction(a: &[ArgTest], b: &[ArgTest]) -> Option<Option<Vec<ArgTest>>> {
    let mut tests: Vec<ArgTest> = a.to_vec();
    for test in b {
        match tests.iter_mut().find(|other| other.index == test.index) {
            None => tests.push(*test),
            Some(other) => match intersect(other.comparison, test.comparison) {
                Intersection::One(comparison) => other.comparison = comparison,
                Intersection::Never => return Some(None),
                Intersection::Inexpressible => return None,
            },
        }
    }
    tests.sort();
    Some(Some(tests))
}

enum Intersection {
    One(Comparison),
    Never,
    Inexpressible,
}

fn intersect(a: Comparison, b: Comparison) -> Intersection {
    use Comparison::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, MaskedEqual};
    match (a, b) {
        _ if a == b => Intersection::One(a),
        (Equal(value), other) | (other, Equal(value)) => {
            if other.holds(value) {
                Intersection::One(Equal(value))
            } else {
                Intersection::Never
            }
        }
        (Less(a), Less(b)) => Intersection::One(Less(a.min(b))),
        (LessOrEqual(a), LessOrEqual(b)) => Intersection::One(LessOrEqual(a.min(b))),
        (Greater(a), Greater(b)) => Intersection::One(Greater(a.max(b))),
        (GreaterOrEqual(a), GreaterOrEqual(b)) => Intersection::One(GreaterOrEqual(a.max(b))),
        (
            MaskedEqual {
                mask: a_mask,
                value: a,
            },
            MaskedEqual {
                mask: b_mask,
                value: b,
            },
        ) => {
            let common = a_mask & b_mask;
            if a & common != b & common {
                return Intersection::Never;
            }
            Intersection::One(MaskedEqual {
                mask: a_mask | b_mask,
                value: a & a_mask | b & b_mask,
            })
        }
        _ => Intersection::Inexpressible,
    }
}

/// The rules that give some calls a verdict. One with the default action is
/// kept, although it changes nothing for its calls: they are no new ones.
fn rules(verdict: Verdict, comment: &str, calls: BTreeSet<CallName>) -> Vec<Rule> {
    let calls: Vec<CallName> = calls.into_iter().collect();
    let rule = |action, when| Rule {
        when,
        comment: Some(comment.to_owned()),
        ..Rule::new(calls.clone(), action)
    };
    match verdict {
        Verdict::Always(action) => vec![rule(action, When::Always)],
        Verdict::When { clauses, .. } => clauses
            .into_iter()
            .map(|clause| rule(clause.action, When::Args(clause.tests)))
            .collect(),
    }
}

impl Verdict {
    /// The same clauses in a profile with another default action.
    fn with_default(&self, default: Action) -> Self {
        match self {
            Self::Always(action) => Self::Always(*action),
            Self::When { clauses, .. } => simplified(clauses.clone(), default),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{KernelVersion, SeccompData, Target, proof};

    const TARGET: Target = Target::new(Arch::X86_64, KernelVersion::new(6, 18));

    fn policy(syscalls: &str) -> (String, Policy) {
        let json = format!(r#"{{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{syscalls}]}}"#);
        let profile = Profile::from_json(json.as_bytes()).unwrap();
        ("x.json".to_owned(), profile.resolve(&TARGET).unwrap())
    }

    fn allow(names: &str, args: &str) -> String {
        format!(r#"{{"names": [{names}], "action": "SCMP_ACT_ALLOW", "args": [{args}]}}"#)
    }

    fn arg(index: u8, op: &str, value: u64) -> String {
        format!(r#"{{"index": {index}, "op": "SCMP_CMP_{op}", "value": {value}}}"#)
    }

    fn decide(policy: &Policy, name: &str, args: [u64; 2]) -> Action {
        let call = Syscall::by_name(Arch::X86_64, name).unwrap();
        policy.decide(&SeccompData {
            nr: call.number(),
            arch: call.arch().audit(),
            args: [args[0], args[1], 0, 0, 0, 0],
            ..SeccompData::default()
        })
    }

    #[test]
    fn a_union_is_what_either_allows_and_an_intersection_what_both_do() {
        let a = policy(
            &[
                allow(r#""read", "write""#, ""),
                allow(r#""socket""#, &arg(0, "LT", 10)),
            ]
            .join(","),
        );
        let b = policy(
            &[
                allow(r#""read", "close", "mseal""#, ""),
                allow(
                    r#""socket""#,
                    &format!("{}, {}", arg(0, "EQ", 2), arg(1, "NE", 3)),
                ),
                allow(r#""socket""#, &arg(0, "EQ", 40)),
                allow(r#""write""#, &arg(0, "EQ", 1)),
            ]
            .join(","),
        );
        let policies = [a, b];
        let merged = |how| {
            let profile = merge(&policies, how).unwrap();
            let json = profile.to_json();
            assert_eq!(Profile::from_json(json.as_bytes()).unwrap(), profile);
            profile.resolve(&TARGET).unwrap()
        };
        let (union, both) = (merged(Merge::Union), merged(Merge::Intersection));
        for (_, policy) in &policies {
            assert!(proof::subset(policy, &union).unwrap().holds());
            assert!(proof::subset(&both, policy).unwrap().holds());
        }
        for call in Syscall::all(Arch::X86_64) {
            let name = call.name().unwrap();
            for args in [[0, 0], [2, 1], [2, 3], [9, 0], [10, 0], [40, 0], [1, 0]] {
                let [a, b] = [0, 1].map(|i| decide(&policies[i].1, name, args));
                let expect = |passes, actual: Action| {
                    assert_eq!(!actual.is_denial(), passes, "{name} {args:?}");
                };
                expect(!a.is_denial() || !b.is_denial(), decide(&union, name, args));
                expect(!a.is_denial() && !b.is_denial(), decide(&both, name, args));
            }
        }
    }

    #[test]
    fn what_no_profile_can_say_is_an_error() {
        let a = policy(&allow(r#""socket""#, &arg(0, "LT", 10)));
        let b = policy(&allow(r#""socket""#, &arg(0, "GT", 3)));
        let error = merge(&[a, b], Merge::Intersection).unwrap_err();
        assert!(
            matches!(error, MergeError::Inexpressible { call } if call.name() == Some("socket"))
        );
        assert_eq!(merge(&[], Merge::Union), Err(MergeError::Nothing));
    }
}

//! The smallest change of a profile that allows a call.

use std::fmt;

use nucleus_seccomp::{
    Action, Arch, ArchMapping, Architectures, ArgTest, CallName, Comparison, OciArch, Policy,
    Profile, ResolveError, Rule, SeccompData, Syscall, Target, Verdict, When,
};

use crate::arguments::{self, Argument, Width};
use crate::explain::{holds, names_call};

/// A change that allows a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    /// The changed profile.
    pub profile: Profile,
    /// The rules that were added, or a rule with nothing but the call where it
    /// was added to an existing one.
    pub added: Vec<Rule>,
    /// The rules that the call was taken out of, by position in the profile
    /// before.
    pub taken_from: Vec<usize>,
    /// Whether the profile lists a new architecture.
    pub architecture: Option<Arch>,
    /// Every call that gets another verdict, which may be an allowing one.
    pub widened: Vec<Widened>,
    /// Calls that are denied as before, with another answer: the rule for calls
    /// that are newer than the profile goes by the newest that it names.
    pub answered_otherwise: Vec<Syscall>,
}

/// A call that a patch treats otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Widened {
    /// The call.
    pub call: Syscall,
    /// What happens to it now.
    pub verdict: Verdict,
}

/// Why there is no patch.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PatchError {
    /// The profile cannot be resolved.
    #[error("the profile cannot be resolved")]
    Resolve(#[from] ResolveError),
    /// The profile allows the call.
    #[error("the profile allows the call already")]
    Allowed,
    /// No profile can name the call.
    #[error(
        "no table has a name for this call, and a profile names calls of other architectures by name only"
    )]
    Nameless,
    /// Other rules forbid it still.
    #[error("rules that depend on arguments forbid the call still: {0}; change them by hand")]
    Forbidden(Action),
}

/// The smallest change of `profile` with which `target` allows a call. With
/// `narrow`, calls that do different things by a flag-like argument are allowed
/// with these arguments only; leave it out where the arguments are not known.
///
/// A profile that allows by default can except one set of arguments from what
/// it denies; with a second one the call is allowed with any, as
/// [`Patch::widened`] tells.
///
/// The change is checked: the patched profile is resolved and asked.
///
/// # Errors
///
/// [`PatchError`]
pub fn allow(
    profile: &Profile,
    target: &Target,
    data: &SeccompData,
    narrow: bool,
) -> Result<Patch, PatchError> {
    let before = profile.resolve(target)?;
    if passes(before.decide(data)) {
        return Err(PatchError::Allowed);
    }
    let syscall = data.syscall().ok_or(PatchError::Nameless)?;
    let call = match syscall.name() {
        Some(name) => CallName::Name(name.to_owned()),
        None if syscall.arch() == target.arch => CallName::Number(syscall.number()),
        None => return Err(PatchError::Nameless),
    };
    let narrowed: &[Argument] = match syscall.name() {
        Some(name) if narrow => arguments::selection(name),
        _ => &[],
    };

    let mut patched = profile.clone();
    let listed = before.arches().any(|arch| arch == syscall.arch());
    if !listed {
        list(&mut patched.architectures, target, syscall.arch());
    }
    let taken_from = stop_denying(&mut patched, target, data);
    let mut added = Vec::new();
    if passes(patched.resolve(target)?.decide(data)) {
        // The default allows it: what else these rules denied stays denied.
        for &position in &taken_from {
            let rule = &profile.rules[position];
            added.extend(all_but(rule, &call, narrowed, data));
        }
        patched.rules.extend(added.iter().cloned());
    } else {
        let rule = Rule::new(vec![call.clone()], Action::Allow).when(exactly(narrowed, data));
        add(&mut patched, &rule, call);
        added.push(rule);
    }
    patched.rules.retain(|rule| !rule.calls.is_empty());

    let after = patched.resolve(target)?;
    let verdict = after.decide(data);
    if !passes(verdict) {
        return Err(PatchError::Forbidden(verdict));
    }
    let (widened, answered_otherwise) = changes(&before, &after);
    Ok(Patch {
        widened,
        answered_otherwise,
        architecture: (!listed).then_some(syscall.arch()),
        profile: patched,
        added,
        taken_from,
    })
}

const fn passes(action: Action) -> bool {
    matches!(action, Action::Allow | Action::Log)
}

/// Tests that only these arguments pass.
fn exactly(narrowed: &[Argument], data: &SeccompData) -> Vec<ArgTest> {
    let tests = narrowed.iter().map(|argument| {
        let value = data.args[usize::from(argument.index.get())];
        let comparison = match argument.width {
            Width::Long => Comparison::Equal(value),
            // The kernel does not look at the upper half.
            Width::Int => Comparison::MaskedEqual {
                mask: Width::Int.mask(),
                value: value & Width::Int.mask(),
            },
        };
        ArgTest {
            index: argument.index,
            comparison,
        }
    });
    tests.collect()
}

/// Rules that deny what `rule` did but for these arguments: one for each, as
/// any that differs is enough. (No comparison for inequality has a mask; an
/// upper half that the kernel ignores, and that differs, stays denied.)
fn all_but<'a>(
    rule: &'a Rule,
    call: &'a CallName,
    narrowed: &'a [Argument],
    data: &'a SeccompData,
) -> impl Iterator<Item = Rule> + 'a {
    let given: &[ArgTest] = match &rule.when {
        When::Always => &[],
        When::Args(tests) => tests,
    };
    // A second test of one argument would turn "all" into "any".
    let free = |argument: &&Argument| given.iter().all(|test| test.index != argument.index);
    narrowed.iter().filter(free).map(move |argument| {
        let value = data.args[usize::from(argument.index.get())];
        let mut tests = given.to_vec();
        tests.push(ArgTest {
            index: argument.index,
            comparison: Comparison::NotEqual(value),
        });
        let mut denying = rule.clone();
        denying.calls = vec![call.clone()];
        denying.when(tests)
    })
}

fn list(architectures: &mut Architectures, target: &Target, arch: Arch) {
    let arch = OciArch::from(arch);
    let own = OciArch::from(target.arch);
    match architectures {
        Architectures::Native => *architectures = Architectures::Listed(vec![own, arch]),
        Architectures::Listed(listed) => listed.push(arch),
        Architectures::Mapped(map) => {
            match map.iter_mut().find(|mapping| mapping.architecture == own) {
                Some(mapping) => mapping.sub_architectures.push(arch),
                None => map.push(ArchMapping {
                    architecture: own,
                    sub_architectures: vec![arch],
                }),
            }
        }
    }
}

/// Takes the call out of the rules that deny it with these arguments: such a
/// rule would swallow a new one. Returns their positions.
fn stop_denying(profile: &mut Profile, target: &Target, data: &SeccompData) -> Vec<usize> {
    let mut taken_from = Vec::new();
    for (position, rule) in profile.rules.iter_mut().enumerate() {
        if passes(rule.action) || !rule.applies_to(target) || !holds(&rule.when, data) {
            continue;
        }
        let before = rule.calls.len();
        rule.calls.retain(|call| !names_call(call, target, data));
        if rule.calls.len() < before {
            taken_from.push(position);
        }
    }
    taken_from
}

/// Adds a name to the first rule that allows calls without a condition, or the
/// rule by itself.
fn add(profile: &mut Profile, added: &Rule, call: CallName) {
    let plain = added.when == When::Always;
    let place = profile.rules.iter_mut().find(|rule| {
        plain
            && rule.action == Action::Allow
            && rule.when == When::Always
            && rule.includes.is_empty()
            && rule.excludes.is_empty()
    });
    match place {
        Some(rule) if rule.calls.is_sorted() => {
            let position = rule.calls.partition_point(|known| *known < call);
            rule.calls.insert(position, call);
        }
        Some(rule) => rule.calls.push(call),
        None => profile.rules.push(added.clone()),
    }
}

/// What may pass now and could not, and what is denied otherwise.
fn changes(before: &Policy, after: &Policy) -> (Vec<Widened>, Vec<Syscall>) {
    let (mut widened, mut otherwise) = (Vec::new(), Vec::new());
    for call in after.arches().flat_map(Syscall::all) {
        let verdict = after.verdict(call);
        if verdict == before.verdict(call) {
            continue;
        }
        if may_pass(&verdict) {
            widened.push(Widened { call, verdict });
        } else if before.arches().any(|arch| arch == call.arch()) {
            otherwise.push(call);
        }
    }
    (widened, otherwise)
}

fn may_pass(verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Always(action) => passes(*action),
        Verdict::When { clauses, otherwise } => {
            passes(*otherwise) || clauses.iter().any(|clause| passes(clause.action))
        }
    }
}

impl fmt::Display for Widened {
    /// `socket`, `socket when arg0 == 0x10 and arg1 == 0x3`, or, where the rest
    /// is allowed, `socket unless arg0 != 0x10`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.call)?;
        if Some(self.call.arch()) != Arch::native() {
            write!(f, " ({})", self.call.arch())?;
        }
        let Verdict::When { clauses, otherwise } = &self.verdict else {
            return Ok(());
        };
        let by_default = passes(*otherwise);
        let telling = clauses
            .iter()
            .filter(|clause| passes(clause.action) != by_default);
        for (index, clause) in telling.enumerate() {
            f.write_str(match (index, by_default) {
                (0, false) => " when ",
                (0, true) => " unless ",
                _ => ", or ",
            })?;
            for (index, test) in clause.tests.iter().enumerate() {
                f.write_str(if index == 0 { "" } else { " and " })?;
                write!(f, "{test}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::tests::{PROFILE, call, profile, target};

    #[test]
    fn a_plain_call_joins_the_allowed_names() {
        let before = profile(PROFILE);
        let patch = allow(&before, &target(), &call("getpid", [0; 6]), true).unwrap();
        let names: Vec<_> = patch.profile.rules[0]
            .calls
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(names, ["close", "getpid", "read", "statx"]);
        assert_eq!(patch.profile.rules.len(), before.rules.len());
        let widened: Vec<_> = patch.widened.iter().map(ToString::to_string).collect();
        assert_eq!(widened, ["getpid"]);
    }

    #[test]
    fn a_call_with_flags_is_allowed_with_these_alone() {
        let socket = call("socket", [16, 0xdead_0000_0000_0003, 15, 0, 0, 0]);
        let patch = allow(&profile(PROFILE), &target(), &socket, true).unwrap();
        let policy = patch.profile.resolve(&target()).unwrap();
        assert_eq!(policy.decide(&socket), Action::Allow);
        let other = call("socket", [2, 3, 15, 0, 0, 0]);
        assert_eq!(policy.decide(&other), Action::Errno(1));
        let widened: Vec<_> = patch.widened.iter().map(ToString::to_string).collect();
        assert_eq!(
            widened,
            [
                "socket when arg0 & 0xffffffff == 0x10 and arg1 & 0xffffffff == 0x3 \
                 and arg2 & 0xffffffff == 0xf"
            ]
        );

        let patch = allow(&profile(PROFILE), &target(), &socket, false).unwrap();
        assert_eq!(patch.added[0].when, When::Always);
    }

    #[test]
    fn a_denying_rule_loses_the_call() {
        let patch = allow(&profile(PROFILE), &target(), &call("mkdir", [0; 6]), true).unwrap();
        assert_eq!(
            patch.profile.rules[1].calls,
            [CallName::Name("rmdir".into())]
        );
        let policy = patch.profile.resolve(&target()).unwrap();
        assert_eq!(policy.decide(&call("mkdir", [0; 6])), Action::Allow);
        assert_eq!(policy.decide(&call("rmdir", [0; 6])), Action::Errno(13));
    }

    #[test]
    fn another_architecture_is_listed() {
        let data = SeccompData {
            nr: Syscall::by_name(Arch::I386, "read").unwrap().number(),
            arch: Arch::I386.audit(),
            ..SeccompData::default()
        };
        let patch = allow(&profile(PROFILE), &target(), &data, true).unwrap();
        assert_eq!(patch.architecture, Some(Arch::I386));
        let policy = patch.profile.resolve(&target()).unwrap();
        assert_eq!(policy.decide(&data), Action::Allow);
        // The other names of the profile come along, and that is said.
        assert!(patch.widened.iter().any(|widened| {
            widened.call.arch() == Arch::I386 && widened.call.name() == Some("close")
        }));
    }

    #[test]
    fn what_is_allowed_needs_no_patch() {
        let result = allow(&profile(PROFILE), &target(), &call("read", [0; 6]), true);
        assert!(matches!(result, Err(PatchError::Allowed)));
    }

    #[test]
    fn where_the_default_allows_the_rest_stays_denied() {
        let before = profile(
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
                {"names": ["mkdir", "socket", "unshare"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13},
                {"names": ["ioctl"], "action": "SCMP_ACT_KILL_PROCESS",
                 "args": [{"index": 1, "value": 21522, "op": "SCMP_CMP_EQ"}]}]}"#,
        );
        let denied = |name: &str, args, others: &[[u64; 6]]| {
            let data = call(name, args);
            let patch = allow(&before, &target(), &data, true).unwrap();
            let policy = patch.profile.resolve(&target()).unwrap();
            assert_eq!(policy.decide(&data), Action::Allow);
            for &other in others {
                assert_eq!(
                    policy.decide(&call(name, other)),
                    Action::Errno(13),
                    "{name}"
                );
            }
            patch
        };
        let patch = denied("mkdir", [0; 6], &[]);
        assert_eq!((patch.added.len(), &patch.taken_from[..]), (0, &[0][..]));
        let netlink = [16, 3, 15, 0, 0, 0];
        let patch = denied(
            "socket",
            netlink,
            &[
                [2, 3, 15, 0, 0, 0],
                [16, 2, 15, 0, 0, 0],
                [16, 3, 0, 0, 0, 0],
            ],
        );
        let widened: Vec<_> = patch.widened.iter().map(ToString::to_string).collect();
        assert_eq!(
            widened,
            ["socket unless arg2 != 0xf, or arg1 != 0x3, or arg0 != 0x10"]
        );
        denied(
            "unshare",
            [0x1000_0000, 0, 0, 0, 0, 0],
            &[[0x2_0000, 0, 0, 0, 0, 0]],
        );
        let patch = denied("ioctl", [0, 21522, 0, 0, 0, 0], &[]);
        assert_eq!((patch.added.len(), &patch.taken_from[..]), (0, &[1][..]));
    }

    #[test]
    fn whatever_the_answer_was_the_call_can_be_allowed() {
        for action in [
            "ERRNO",
            "TRAP",
            "KILL_PROCESS",
            "KILL_THREAD",
            "NOTIFY",
            "TRACE",
        ] {
            let by_default = format!(r#"{{"defaultAction": "SCMP_ACT_{action}"}}"#);
            let by_rule = format!(
                r#"{{"defaultAction": "SCMP_ACT_ALLOW",
                    "syscalls": [{{"names": ["mkdir"], "action": "SCMP_ACT_{action}"}}]}}"#
            );
            for json in [by_default, by_rule] {
                // No runtime takes that: the listener could not be handed over.
                if json == r#"{"defaultAction": "SCMP_ACT_NOTIFY"}"# {
                    continue;
                }
                let before = profile(&json);
                let data = call("mkdir", [0; 6]);
                let patch = allow(&before, &target(), &data, true).unwrap();
                let widened: Vec<_> = patch.widened.iter().map(ToString::to_string).collect();
                assert_eq!(widened, ["mkdir"], "{json}");
            }
        }
        let logged = profile(r#"{"defaultAction": "SCMP_ACT_LOG"}"#);
        let result = allow(&logged, &target(), &call("mkdir", [0; 6]), true);
        assert!(matches!(result, Err(PatchError::Allowed)));
    }

    /// A call that is newer than all others moves the border of what is "too
    /// new", and that is said.
    #[test]
    fn calls_that_get_another_answer_are_named() {
        let data = call("futex_waitv", [0; 6]);
        let patch = allow(&profile(PROFILE), &target(), &data, true).unwrap();
        let names: Vec<_> = patch
            .answered_otherwise
            .iter()
            .filter_map(|call| call.name())
            .collect();
        assert!(names.contains(&"clone3"), "{names:?}");
        assert!(!names.contains(&"futex_waitv"));
    }
}

//! From a denied call to what decided it, and to the smallest change of the
//! profile that allows it.

use std::fmt;

use nucleus_seccomp::{
    Action, Arch, ArchMapping, Architectures, ArgTest, CallName, Comparison, OciArch, Policy,
    Profile, ResolveError, Rule, SeccompData, Syscall, Target, Verdict, When,
};

use crate::arguments::{self, Width};

/// What in a profile decided about a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecidedBy {
    /// A rule, by its position in [`Profile::rules`].
    Rule(usize),
    /// The default action: no rule is about the call with these arguments.
    Default,
    /// The call is newer than any that the profile names.
    TooNew,
    /// The profile does not list the call's architecture.
    Architecture,
}

/// A profile's verdict on a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// What happens to the call.
    pub action: Action,
    /// Why.
    pub by: DecidedBy,
}

/// A change that allows a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    /// The changed profile.
    pub profile: Profile,
    /// The rule that was added, or the rule with nothing but the call that was
    /// added to an existing one.
    pub added: Rule,
    /// Whether the profile lists a new architecture.
    pub architecture: Option<Arch>,
    /// Every call that gets another verdict, which may be an allowing one.
    pub widened: Vec<Widened>,
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

/// What `profile` says to a call on `target`, and why.
///
/// # Errors
///
/// The profile cannot be resolved for the target.
pub fn decide(
    profile: &Profile,
    target: &Target,
    data: &SeccompData,
) -> Result<Decision, ResolveError> {
    let policy = profile.resolve(target)?;
    let action = policy.decide(data);
    let arch = Arch::of(data.arch, data.nr);
    let by = if !policy.arches().any(|listed| Some(listed) == arch) {
        DecidedBy::Architecture
    } else if let Some(rule) = profile.rules.iter().position(|rule| {
        rule.action == action
            && rule.applies_to(target)
            && names(rule, target, data)
            && holds(&rule.when, data)
    }) {
        DecidedBy::Rule(rule)
    } else if action == profile.default_action {
        DecidedBy::Default
    } else {
        DecidedBy::TooNew
    };
    Ok(Decision { action, by })
}

fn names(rule: &Rule, target: &Target, data: &SeccompData) -> bool {
    rule.calls.iter().any(|call| names_call(call, target, data))
}

fn names_call(call: &CallName, target: &Target, data: &SeccompData) -> bool {
    let Some(made) = data.syscall() else {
        return false;
    };
    match call {
        CallName::Name(name) => Syscall::by_name(made.arch(), name) == Some(made),
        CallName::Number(number) => made.arch() == target.arch && made.number() == *number,
    }
}

fn holds(when: &When, data: &SeccompData) -> bool {
    match when {
        When::Always => true,
        When::Args(tests) => {
            let mut seen = [false; 6];
            let repeated = tests
                .iter()
                .any(|test| std::mem::replace(&mut seen[usize::from(test.index.get())], true));
            let mut passed = tests.iter().map(|test| test.holds(&data.args));
            if repeated {
                passed.any(|passed| passed)
            } else {
                passed.all(|passed| passed)
            }
        }
    }
}

/// The smallest change of `profile` with which `target` allows a call. With
/// `narrow`, calls that do different things by a flag-like argument are allowed
/// with these arguments only; leave it out where the arguments are not known.
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
    let tests = if narrow {
        exactly(syscall, data)
    } else {
        Vec::new()
    };
    let added = Rule::new(vec![call.clone()], Action::Allow).when(tests);

    let mut patched = profile.clone();
    let listed = before.arches().any(|arch| arch == syscall.arch());
    if !listed {
        list(&mut patched.architectures, target, syscall.arch());
    }
    stop_denying(&mut patched, target, data);
    add(&mut patched, &added, call);

    let after = patched.resolve(target)?;
    let verdict = after.decide(data);
    if !passes(verdict) {
        return Err(PatchError::Forbidden(verdict));
    }
    Ok(Patch {
        widened: widened(&before, &after),
        architecture: (!listed).then_some(syscall.arch()),
        profile: patched,
        added,
    })
}

const fn passes(action: Action) -> bool {
    matches!(action, Action::Allow | Action::Log)
}

/// Tests that only these arguments pass, where the call has any that matter.
fn exactly(syscall: Syscall, data: &SeccompData) -> Vec<ArgTest> {
    let selection = syscall.name().map_or(&[][..], arguments::selection);
    selection
        .iter()
        .map(|argument| {
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
        })
        .collect()
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

/// Takes the call out of the rules that deny it whatever its arguments are:
/// such a rule would swallow the new one.
fn stop_denying(profile: &mut Profile, target: &Target, data: &SeccompData) {
    for rule in &mut profile.rules {
        if rule.when == When::Always && !passes(rule.action) && rule.applies_to(target) {
            rule.calls.retain(|call| !names_call(call, target, data));
        }
    }
    profile.rules.retain(|rule| !rule.calls.is_empty());
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

fn widened(before: &Policy, after: &Policy) -> Vec<Widened> {
    after
        .arches()
        .flat_map(Syscall::all)
        .filter_map(|call| {
            let verdict = after.verdict(call);
            let may_pass = match &verdict {
                Verdict::Always(action) => passes(*action),
                Verdict::When { clauses, otherwise } => {
                    passes(*otherwise) || clauses.iter().any(|clause| passes(clause.action))
                }
            };
            (may_pass && verdict != before.verdict(call)).then_some(Widened { call, verdict })
        })
        .collect()
}

impl fmt::Display for Widened {
    /// `socket`, or `socket when arg0 == 0x10 and arg1 == 0x3`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.call)?;
        if Some(self.call.arch()) != Arch::native() {
            write!(f, " ({})", self.call.arch())?;
        }
        let Verdict::When { clauses, .. } = &self.verdict else {
            return Ok(());
        };
        let passing = clauses.iter().filter(|clause| passes(clause.action));
        for (index, clause) in passing.enumerate() {
            f.write_str(if index == 0 { " when " } else { ", or " })?;
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
    use nucleus_seccomp::KernelVersion;

    use super::*;

    fn target() -> Target {
        Target::new(Arch::X86_64, "6.1".parse::<KernelVersion>().unwrap())
    }

    fn call(name: &str, args: [u64; 6]) -> SeccompData {
        SeccompData {
            nr: Syscall::by_name(Arch::X86_64, name).unwrap().number(),
            arch: Arch::X86_64.audit(),
            instruction_pointer: 0,
            args,
        }
    }

    fn profile(json: &str) -> Profile {
        Profile::from_json(json.as_bytes()).unwrap()
    }

    /// Two lists of names around a default of EPERM.
    const PROFILE: &str = r#"{
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [
            {"names": ["close", "read", "statx"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["mkdir", "rmdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13},
            {"names": ["kill"], "action": "SCMP_ACT_ALLOW",
             "args": [{"index": 1, "value": 0, "op": "SCMP_CMP_EQ"}]}
        ]
    }"#;

    #[test]
    fn what_decided_is_found() {
        let profile = profile(PROFILE);
        let check = |data: SeccompData, action, by| {
            let decision = decide(&profile, &target(), &data).unwrap();
            assert_eq!(decision, Decision { action, by });
        };
        check(call("read", [0; 6]), Action::Allow, DecidedBy::Rule(0));
        check(call("mkdir", [0; 6]), Action::Errno(13), DecidedBy::Rule(1));
        check(call("kill", [0; 6]), Action::Allow, DecidedBy::Rule(2));
        let term = call("kill", [1, 15, 0, 0, 0, 0]);
        check(term, Action::Errno(1), DecidedBy::Default);
        check(call("clone3", [0; 6]), Action::Errno(38), DecidedBy::TooNew);
        let mut foreign = call("read", [0; 6]);
        foreign.arch = Arch::I386.audit();
        check(foreign, Action::KillThread, DecidedBy::Architecture);
    }

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
        assert_eq!(patch.added.when, When::Always);
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
}

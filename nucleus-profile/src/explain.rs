//! From a denied call to what in a profile decided it.

use nucleus_seccomp::{
    Action, Arch, CallName, Profile, ResolveError, Rule, SeccompData, Syscall, Target, When,
};

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

pub(crate) fn names_call(call: &CallName, target: &Target, data: &SeccompData) -> bool {
    let Some(made) = data.syscall() else {
        return false;
    };
    match call {
        CallName::Name(name) => Syscall::by_name(made.arch(), name) == Some(made),
        CallName::Number(number) => made.arch() == target.arch && made.number() == *number,
    }
}

pub(crate) fn holds(when: &When, data: &SeccompData) -> bool {
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

#[cfg(test)]
pub(crate) mod tests {
    use nucleus_seccomp::KernelVersion;

    use super::*;

    pub(crate) fn target() -> Target {
        Target::new(Arch::X86_64, "6.1".parse::<KernelVersion>().unwrap())
    }

    pub(crate) fn call(name: &str, args: [u64; 6]) -> SeccompData {
        SeccompData {
            nr: Syscall::by_name(Arch::X86_64, name).unwrap().number(),
            arch: Arch::X86_64.audit(),
            instruction_pointer: 0,
            args,
        }
    }

    pub(crate) fn profile(json: &str) -> Profile {
        Profile::from_json(json.as_bytes()).unwrap()
    }

    /// Two lists of names around a default of EPERM.
    pub(crate) const PROFILE: &str = r#"{
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
    fn every_answer_is_told() {
        for (name, action) in [
            ("SCMP_ACT_TRAP", Action::Trap(0)),
            ("SCMP_ACT_KILL_PROCESS", Action::KillProcess),
            ("SCMP_ACT_KILL_THREAD", Action::KillThread),
            ("SCMP_ACT_NOTIFY", Action::Notify),
            ("SCMP_ACT_LOG", Action::Log),
        ] {
            let json = format!(
                r#"{{"defaultAction": "SCMP_ACT_ALLOW",
                    "syscalls": [{{"names": ["mkdir"], "action": "{name}"}}]}}"#
            );
            let decision = decide(&profile(&json), &target(), &call("mkdir", [0; 6])).unwrap();
            let by = DecidedBy::Rule(0);
            assert_eq!(decision, Decision { action, by });
        }
    }
}

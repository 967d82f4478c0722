//! Profiles in the words of other tools.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::policy::{Policy, Verdict};
use crate::profile::{Architectures, Condition, OciArch, Profile, Target, errno_name};
use crate::{Action, Arch, ExportError, Syscall};

const EPERM: u16 = 1;

impl Profile {
    /// The same profile for one target alone, with nothing but what the OCI
    /// runtime specification has: conditions are decided, comments left out.
    #[must_use]
    pub fn for_target(&self, target: &Target) -> Self {
        let mut architectures = vec![OciArch::from(target.arch)];
        for other in self.other_architectures(target) {
            if !architectures.contains(other) {
                architectures.push(*other);
            }
        }
        let mut profile = self.clone();
        profile.comment = None;
        profile.architectures = Architectures::Listed(architectures);
        profile.rules.retain(|rule| rule.applies_to(target));
        for rule in &mut profile.rules {
            rule.comment = None;
            rule.includes = Condition::default();
            rule.excludes = Condition::default();
        }
        profile
    }

    /// A `SeccompProfile` object of the Kubernetes security profiles operator
    /// (`security-profiles-operator.x-k8s.io/v1beta1`), as JSON, which is YAML
    /// as well.
    ///
    /// # Errors
    /// A default errno other than EPERM, and operands above `i64::MAX`: the
    /// object has no place for them.
    pub fn to_kubernetes(&self, name: &str, target: &Target) -> Result<String, ExportError> {
        let profile = self.for_target(target);
        match profile.default_action {
            Action::Errno(EPERM) => {}
            Action::Errno(errno) => return Err(ExportError::DefaultErrno { errno }),
            Action::Trace(message) => return Err(ExportError::DefaultErrno { errno: message }),
            _ => {}
        }
        let mut spec = profile.to_value();
        if let Some(spec) = spec.as_object_mut() {
            spec.remove("defaultErrnoRet");
        }
        let rules = spec.get_mut("syscalls").and_then(Value::as_array_mut);
        for rule in rules.into_iter().flatten() {
            if let Some(errno) = rule.get_mut("errnoRet") {
                *errno = json!(errno.to_string());
            }
            for arg in rule
                .get("args")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                for operand in [arg.get("value"), arg.get("valueTwo")]
                    .into_iter()
                    .flatten()
                {
                    if operand.as_i64().is_none() {
                        let operand = operand.as_u64().unwrap_or(u64::MAX);
                        return Err(ExportError::Operand { operand });
                    }
                }
            }
        }
        let object = json!({
            "apiVersion": "security-profiles-operator.x-k8s.io/v1beta1",
            "kind": "SeccompProfile",
            "metadata": { "name": name },
            "spec": spec,
        });
        Ok(format!("{object:#}\n"))
    }
}

/// Lines for a systemd unit, and what they could not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemdExport {
    /// `SystemCallFilter=` and what belongs to it, for the `[Service]` section.
    pub lines: String,
    /// Calls that the profile allows for some arguments: systemd cannot test
    /// those, so they are refused.
    pub narrowed: Vec<Syscall>,
}

impl Policy {
    /// The policy as systemd's `SystemCallFilter=` (systemd.exec(5)), never
    /// more open than the policy itself but for the calls that systemd always
    /// allows. Sub-architectures get the same calls.
    ///
    /// # Errors
    /// Actions that systemd has no word for.
    pub fn to_systemd(&self) -> Result<SystemdExport, ExportError> {
        let Some(native) = self.arches().next() else {
            return Err(ExportError::Action {
                action: self.bad_arch(),
            });
        };
        let default = self.default_action();
        let by_default = systemd_action(default)?;
        let mut narrowed = Vec::new();
        let mut by_action: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (call, verdict) in self.calls(native) {
            let action = match verdict {
                Verdict::Always(action) => *action,
                Verdict::When { clauses, otherwise } => {
                    narrowed.push(call);
                    let actions = clauses.iter().map(|clause| clause.action);
                    actions.fold(*otherwise, Action::min)
                }
            };
            if action != default {
                let word = systemd_action(action)?;
                // Numbers without a name are nothing that systemd takes.
                let names = by_action.entry(word).or_default();
                names.extend(call.name().map(str::to_owned));
            }
        }

        let arches: Vec<&str> = self
            .arches()
            .map(|arch| systemd_arch(arch, native))
            .collect();
        let mut lines = format!("SystemCallArchitectures={}\n", arches.join(" "));
        let allowed = by_action.remove(ALLOW);
        if by_default == ALLOW {
            debug_assert!(
                allowed.is_none(),
                "rules with the default action are left out"
            );
        } else {
            let names = allowed.unwrap_or_default().join(" ");
            lines.push_str(&format!("SystemCallFilter={names}\n"));
            if by_default != KILL {
                lines.push_str(&format!("SystemCallErrorNumber={by_default}\n"));
            }
        }
        for (word, names) in by_action {
            let names: Vec<String> = names.iter().map(|name| format!("{name}:{word}")).collect();
            lines.push_str(&format!("SystemCallFilter=~{}\n", names.join(" ")));
        }
        Ok(SystemdExport { lines, narrowed })
    }
}

const ALLOW: &str = "allow";
const KILL: &str = "kill";

/// `allow`, `kill`, or the name or number of an errno.
fn systemd_action(action: Action) -> Result<String, ExportError> {
    match action {
        Action::Allow | Action::Log => Ok(ALLOW.to_owned()),
        Action::KillProcess | Action::KillThread | Action::Trap(_) => Ok(KILL.to_owned()),
        Action::Errno(errno) => {
            Ok(errno_name(errno).map_or_else(|| errno.to_string(), str::to_owned))
        }
        Action::Notify | Action::Trace(_) => Err(ExportError::Action { action }),
    }
}

fn systemd_arch(arch: Arch, native: Arch) -> &'static str {
    match arch {
        arch if arch == native => "native",
        Arch::X86_64 => "x86-64",
        Arch::X32 => "x32",
        Arch::I386 => "x86",
        Arch::Aarch64 => "arm64",
        Arch::Riscv64 => "riscv64",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KernelVersion;

    const PROFILE: &str = r#"{
        "defaultAction": "SCMP_ACT_ERRNO", "comment": "c",
        "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
        "syscalls": [
            {"names": ["read", "write", "600"], "action": "SCMP_ACT_ALLOW", "comment": "c"},
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38,
             "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["ptrace"], "action": "SCMP_ACT_KILL_PROCESS"},
            {"names": ["bpf"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_BPF"]}},
            {"names": ["personality"], "action": "SCMP_ACT_ALLOW",
             "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]}]}"#;

    const TARGET: Target = Target::new(Arch::X86_64, KernelVersion::new(6, 18));

    #[test]
    fn systemd_lines_never_open_more() {
        let profile = Profile::from_json(PROFILE.as_bytes()).unwrap();
        let export = profile.resolve(&TARGET).unwrap().to_systemd().unwrap();
        let expected = "\
SystemCallArchitectures=native x86
SystemCallFilter=read write
SystemCallErrorNumber=EPERM
SystemCallFilter=~clone3:ENOSYS
SystemCallFilter=~ptrace:kill
";
        assert_eq!(export.lines, expected);
        let names: Vec<_> = export
            .narrowed
            .iter()
            .filter_map(|call| call.name())
            .collect();
        assert_eq!(names, ["personality"]);
    }

    #[test]
    fn a_profile_for_one_target_means_the_same_there() {
        let profile = Profile::from_json(PROFILE.as_bytes()).unwrap();
        let plain = profile.for_target(&TARGET);
        assert_eq!(plain.resolve(&TARGET), profile.resolve(&TARGET));
        assert!(plain.rules.iter().all(|rule| rule.includes.is_empty()));
    }

    #[test]
    fn a_kubernetes_object() {
        let profile = Profile::from_json(PROFILE.as_bytes()).unwrap();
        let object = profile.to_kubernetes("tight", &TARGET).unwrap();
        let object: Value = serde_json::from_str(&object).unwrap();
        assert_eq!(object["metadata"]["name"], "tight");
        assert_eq!(object["spec"]["defaultAction"], "SCMP_ACT_ERRNO");
        assert_eq!(object["spec"]["syscalls"][1]["errnoRet"], "38");
        assert_eq!(object["spec"]["architectures"][1], "SCMP_ARCH_X86");

        let mut other = Profile::new(Action::Errno(38));
        let error = other.to_kubernetes("x", &TARGET).unwrap_err();
        assert_eq!(error, ExportError::DefaultErrno { errno: 38 });
        other.default_action = Action::KillProcess;
        assert!(other.to_kubernetes("x", &TARGET).is_ok());
    }
}

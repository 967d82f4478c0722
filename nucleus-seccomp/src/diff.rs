//! What differs between two policies, call by call and argument by argument.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::policy::ArchPolicy;
use crate::{Action, Arch, Policy, Syscall, Verdict};

/// The difference of two policies; empty where they say the same in the same words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diff {
    /// By architecture, in the order of [`Arch::ALL`].
    pub arches: Vec<ArchDiff>,
}

/// The difference for one architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchDiff {
    /// Which.
    pub arch: Arch,
    /// What differs, first what is about calls without a rule.
    pub changes: Vec<Change>,
}

/// A subject about which the two policies say different things.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What it is about.
    pub about: About,
    /// What only the first says, one statement each.
    pub removed: Vec<String>,
    /// What only the second says.
    pub added: Vec<String>,
}

/// What a change is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum About {
    /// Calls without a rule.
    Default,
    /// Calls newer than any that has a rule.
    Newer,
    /// One call.
    Call(Syscall),
}

impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("other calls"),
            Self::Newer => f.write_str("newer calls"),
            Self::Call(call) => call.fmt(f),
        }
    }
}

impl Diff {
    /// Compares what two policies say.
    #[must_use]
    pub fn new(before: &Policy, after: &Policy) -> Self {
        let arches = Arch::ALL.into_iter().filter_map(|arch| {
            let changes = changes(statements(before, arch), statements(after, arch));
            (!changes.is_empty()).then_some(ArchDiff { arch, changes })
        });
        Self {
            arches: arches.collect(),
        }
    }

    /// Whether nothing differs.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.arches.is_empty()
    }
}

impl fmt::Display for Diff {
    /// As a unified diff: `-` for what only the first says, `+` for the second.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for arch in &self.arches {
            writeln!(f, "@@ {} @@", arch.arch)?;
            for change in &arch.changes {
                for statement in &change.removed {
                    writeln!(f, "-{}: {statement}", change.about)?;
                }
                for statement in &change.added {
                    writeln!(f, "+{}: {statement}", change.about)?;
                }
            }
        }
        Ok(())
    }
}

type Statements = BTreeMap<About, BTreeSet<String>>;

fn changes(mut before: Statements, mut after: Statements) -> Vec<Change> {
    let subjects: BTreeSet<About> = before.keys().chain(after.keys()).copied().collect();
    let changes = subjects.into_iter().filter_map(|about| {
        let before = before.remove(&about).unwrap_or_default();
        let after = after.remove(&about).unwrap_or_default();
        let change = Change {
            about,
            removed: before.difference(&after).cloned().collect(),
            added: after.difference(&before).cloned().collect(),
        };
        (before != after).then_some(change)
    });
    changes.collect()
}

/// What a policy says of an architecture, as sentences that can be compared.
fn statements(policy: &Policy, arch: Arch) -> Statements {
    let mut statements = Statements::new();
    let Some(part) = policy.arch_policies().iter().find(|part| part.arch == arch) else {
        // Every architecture that neither policy has reads the same.
        let killed = BTreeSet::from([policy.bad_arch().to_string()]);
        statements.insert(About::Default, killed);
        return statements;
    };
    statements.insert(About::Default, BTreeSet::from([part.default.to_string()]));
    if let Some(newer) = part.newer {
        let after = Syscall::new(arch, newer.above);
        let statement = format!("{} after {after}", newer.action);
        statements.insert(About::Newer, BTreeSet::from([statement]));
    }
    for (&number, verdict) in &part.calls {
        let about = About::Call(Syscall::new(arch, number));
        statements.insert(about, describe(verdict, part));
    }
    statements
}

fn describe(verdict: &Verdict, part: &ArchPolicy) -> BTreeSet<String> {
    match verdict {
        Verdict::Always(action) => BTreeSet::from([action.to_string()]),
        Verdict::When { clauses, otherwise } => {
            let mut statements: BTreeSet<String> = clauses
                .iter()
                .map(|clause| {
                    let tests: Vec<String> = clause.tests.iter().map(ToString::to_string).collect();
                    format!("{} if {}", clause.action, tests.join(" and "))
                })
                .collect();
            let default: Action = part.default;
            if *otherwise != default {
                statements.insert(format!("{otherwise} otherwise"));
            }
            statements
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{KernelVersion, Profile, Target};

    fn policy(json: &str) -> Policy {
        let profile = Profile::from_json(json.as_bytes()).unwrap();
        let target = Target::new(Arch::X86_64, KernelVersion::new(6, 18));
        profile.resolve(&target).unwrap()
    }

    #[test]
    fn says_what_changed_by_call_and_argument() {
        let before = policy(
            r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
                {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"},
                {"names": ["socket"], "action": "SCMP_ACT_ALLOW",
                 "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]}]}"#,
        );
        let after = policy(
            r#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "syscalls": [
                {"names": ["read"], "action": "SCMP_ACT_LOG"},
                {"names": ["close"], "action": "SCMP_ACT_ALLOW"},
                {"names": ["socket"], "action": "SCMP_ACT_ALLOW",
                 "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]},
                {"names": ["socket"], "action": "SCMP_ACT_ALLOW",
                 "args": [{"index": 0, "value": 2, "op": "SCMP_CMP_EQ"}]}]}"#,
        );
        let expected = "\
@@ x86_64 @@
-other calls: errno(1)
+other calls: errno(38)
-newer calls: errno(38) after socket
-read: allow
+read: log
-write: allow
+close: allow
+socket: allow if arg0 == 0x2
";
        assert_eq!(Diff::new(&before, &after).to_string(), expected);
        assert!(Diff::new(&after, &after).is_empty());
    }
}

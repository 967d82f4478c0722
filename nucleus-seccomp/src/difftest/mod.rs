//! The same profile through libseccomp, as runc uses it.
//!
//! libseccomp is loaded at run time where it is there; nothing is linked.

use std::collections::BTreeSet;

use crate::profile::{ArgTest, CallName, Comparison, NewCalls, Profile, Rule, Target, When};
use crate::proof::{self, Answer};
use crate::sys::libseccomp::{ArgCmp, Filter, Library};
use crate::{Arch, CompileOptions, DifftestError, Program};

/// How libseccomp lays its filter out (`SCMP_FLTATR_CTL_OPTIMIZE`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Layout {
    /// One comparison after the other, the default.
    #[default]
    Linear,
    /// A binary tree over the numbers (2.5.0).
    BinaryTree,
}

/// libseccomp, loaded.
#[derive(Debug)]
pub struct Libseccomp {
    library: Library,
}

/// What libseccomp makes of a profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// Its filter.
    pub program: Program,
    /// Names in the profile that this libseccomp does not know, and so left out.
    pub unknown: BTreeSet<String>,
}

/// What a comparison with libseccomp found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Whether nucleus's filter (left) and libseccomp's (right) are the same.
    pub answer: Answer,
    /// Instructions of nucleus's filter.
    pub ours: usize,
    /// Instructions of libseccomp's.
    pub theirs: usize,
    /// Names that were left out on both sides.
    pub unknown: BTreeSet<String>,
}

impl Libseccomp {
    /// Loads `libseccomp.so.2`.
    ///
    /// # Errors
    ///
    /// It is not there, or lacks a function.
    pub fn load() -> Result<Self, DifftestError> {
        let library = Library::load()?;
        Ok(Self { library })
    }

    /// Its version, such as `2.5.4`.
    #[must_use]
    pub fn version(&self) -> String {
        let [major, minor, micro] = self.library.version();
        format!("{major}.{minor}.{micro}")
    }

    /// Feeds a profile to libseccomp as runc does
    /// (`libcontainer/seccomp/seccomp_linux.go`): rules with the default
    /// action and names that it does not know are left out; of a rule that
    /// tests an argument twice, each test becomes a rule. runc's own rule for
    /// new calls is not part of it.
    ///
    /// # Errors
    ///
    /// What libseccomp refuses, and an export that is no filter.
    pub fn export(
        &self,
        profile: &Profile,
        target: &Target,
        layout: Layout,
    ) -> Result<Export, DifftestError> {
        let filter = self.library.filter(profile.default_action.to_ret())?;
        let mut arches = vec![target.arch];
        arches.extend(
            profile
                .other_architectures(target)
                .iter()
                .filter_map(|oci| oci.arch()),
        );
        filter.set_arches(&arches.iter().map(|arch| token(*arch)).collect::<Vec<_>>())?;
        if layout == Layout::BinaryTree {
            filter.set_binary_tree()?;
        }
        let mut unknown = BTreeSet::new();
        for rule in &profile.rules {
            if rule.applies_to(target) && rule.action != profile.default_action {
                self.add(&filter, rule, target, &mut unknown)?;
            }
        }
        let (program, _) = Program::from_raw(&filter.export()?)?;
        Ok(Export { program, unknown })
    }

    fn add(
        &self,
        filter: &Filter<'_>,
        rule: &Rule,
        target: &Target,
        unknown: &mut BTreeSet<String>,
    ) -> Result<(), DifftestError> {
        let conditions = conditions(&rule.when);
        for call in &rule.calls {
            let name = match call {
                CallName::Name(name) => name.clone(),
                CallName::Number(number) => match crate::table::name(target.arch, *number) {
                    Some(name) => name.to_owned(),
                    None => {
                        unknown.insert(number.to_string());
                        continue;
                    }
                },
            };
            let Some(number) = self.library.resolve(&name) else {
                unknown.insert(name);
                continue;
            };
            for tests in &conditions {
                filter
                    .add_rule(rule.action.to_ret(), number, tests)
                    .map_err(|errno| DifftestError::Rule {
                        call: name.clone(),
                        errno,
                    })?;
            }
        }
        Ok(())
    }

    /// Compiles a profile with both, and compares the filters exactly.
    ///
    /// # Errors
    ///
    /// What either side refuses, and a comparison that cannot be decided.
    pub fn compare(&self, profile: &Profile, target: &Target) -> Result<Report, DifftestError> {
        let Export { program, unknown } = self.export(profile, target, Layout::Linear)?;
        let mut profile = profile.clone();
        for rule in &mut profile.rules {
            rule.calls.retain(|call| match call {
                CallName::Name(name) => !unknown.contains(name),
                CallName::Number(number) => !unknown.contains(&number.to_string()),
            });
        }
        let target = Target {
            new_calls: NewCalls::Default,
            ..target.clone()
        };
        let ours = profile
            .resolve(&target)?
            .compile(&CompileOptions::default())?;
        Ok(Report {
            answer: proof::equal(&ours, &program)?,
            ours: ours.insns().len(),
            theirs: program.insns().len(),
            unknown,
        })
    }
}

/// libseccomp's name for an architecture (`SCMP_ARCH_*`, `seccomp.h.in`): the
/// kernel's, but for x32.
const fn token(arch: Arch) -> u32 {
    match arch {
        Arch::X32 => 0x4000_003e,
        other => other.audit(),
    }
}

/// The lists of tests, each of which becomes a rule.
fn conditions(when: &When) -> Vec<Vec<ArgCmp>> {
    let When::Args(tests) = when else {
        return vec![Vec::new()];
    };
    let indices: BTreeSet<_> = tests.iter().map(|test| test.index).collect();
    let tests = tests.iter().map(|test| arg_cmp(*test));
    if indices.len() == tests.len() {
        vec![tests.collect()]
    } else {
        tests.map(|test| vec![test]).collect()
    }
}

const fn arg_cmp(test: ArgTest) -> ArgCmp {
    // `enum scmp_compare`, `seccomp.h.in`.
    let (op, datum_a, datum_b) = match test.comparison {
        Comparison::NotEqual(value) => (1, value, 0),
        Comparison::Less(value) => (2, value, 0),
        Comparison::LessOrEqual(value) => (3, value, 0),
        Comparison::Equal(value) => (4, value, 0),
        Comparison::GreaterOrEqual(value) => (5, value, 0),
        Comparison::Greater(value) => (6, value, 0),
        Comparison::MaskedEqual { mask, value } => (7, mask, value),
    };
    ArgCmp {
        arg: test.index.get() as u32,
        op,
        datum_a,
        datum_b,
    }
}

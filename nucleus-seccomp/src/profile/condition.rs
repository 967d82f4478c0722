//! When a rule is in force at all: Docker's `includes` and `excludes`.

use std::collections::BTreeSet;

use crate::{Arch, KernelVersion};

/// The machine and the process that a profile is resolved for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The architecture of the kernel's main ABI.
    pub arch: Arch,
    /// Capabilities of the bounding set, by the kernel's names (`CAP_CHOWN`).
    pub capabilities: BTreeSet<String>,
    /// The kernel that the program will run on.
    pub kernel: KernelVersion,
    /// What becomes of calls that the profile is too old to know.
    pub new_calls: NewCalls,
}

/// A name that no capability has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown capability {0:?}; capabilities(7) lists them, such as CAP_NET_ADMIN, or write all"
)]
pub struct UnknownCapability(pub String);

/// The treatment of calls newer than any that a profile names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NewCalls {
    /// As runc: ENOSYS, so that the C library falls back to an older call,
    /// unless the default action lets calls through or is that errno itself.
    #[default]
    Enosys,
    /// As libseccomp alone: the default action.
    Default,
}

impl Target {
    /// A target without capabilities.
    #[must_use]
    pub const fn new(arch: Arch, kernel: KernelVersion) -> Self {
        Self {
            arch,
            capabilities: BTreeSet::new(),
            kernel,
            new_calls: NewCalls::Enosys,
        }
    }

    /// Adds a capability: `CAP_CHOWN`, `chown`, or `all` for every one that
    /// Linux has.
    ///
    /// # Errors
    /// A name that no capability has.
    pub fn add_capability(&mut self, name: &str) -> Result<(), UnknownCapability> {
        if name.eq_ignore_ascii_case("all") {
            let all = caps::all().into_iter().map(|cap| cap.to_string());
            self.capabilities.extend(all);
            return Ok(());
        }
        let upper = name.to_ascii_uppercase();
        let full = match upper.strip_prefix("CAP_") {
            Some(_) => upper,
            None => format!("CAP_{upper}"),
        };
        match full.parse::<caps::Capability>() {
            Ok(capability) => {
                self.capabilities.insert(capability.to_string());
                Ok(())
            }
            Err(_unknown) => Err(UnknownCapability(name.to_owned())),
        }
    }

    /// This machine, without capabilities; `None` where nucleus has no table
    /// for it.
    #[must_use]
    pub fn host() -> Option<Self> {
        Some(Self::new(Arch::native()?, KernelVersion::running()?))
    }
}

/// A set of requirements on the target.
///
/// Docker reads them so: a rule is in force when every stated part of
/// `includes` is met (all capabilities, one of the architectures, the kernel
/// or a newer one) and no part of `excludes` is (a single capability is
/// enough to exclude).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Condition {
    /// Capability names.
    pub caps: Vec<String>,
    /// Architectures, by Go's names and Docker's own (`amd64`, `x32`, `s390x`).
    pub arches: Vec<String>,
    /// The oldest kernel.
    pub min_kernel: Option<KernelVersion>,
}

impl Condition {
    /// Whether it states nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.caps.is_empty() && self.arches.is_empty() && self.min_kernel.is_none()
    }

    pub(crate) fn includes(&self, target: &Target) -> bool {
        (self.arches.is_empty() || self.names_arch(target))
            && self
                .caps
                .iter()
                .all(|cap| target.capabilities.contains(cap))
            && self.min_kernel.is_none_or(|oldest| target.kernel >= oldest)
    }

    pub(crate) fn excludes(&self, target: &Target) -> bool {
        self.names_arch(target)
            || self
                .caps
                .iter()
                .any(|cap| target.capabilities.contains(cap))
            || self
                .min_kernel
                .is_some_and(|oldest| target.kernel >= oldest)
    }

    fn names_arch(&self, target: &Target) -> bool {
        let name = match target.arch {
            Arch::X86_64 => "amd64",
            Arch::X32 => "x32",
            Arch::I386 => "x86",
            Arch::Aarch64 => "arm64",
            Arch::Riscv64 => "riscv64",
        };
        self.arches.iter().any(|arch| arch == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(caps: &[&str], arches: &[&str], min_kernel: Option<&str>) -> Condition {
        let owned = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        Condition {
            caps: owned(caps),
            arches: owned(arches),
            min_kernel: min_kernel.map(|version| version.parse().unwrap()),
        }
    }

    #[test]
    fn docker_reads_includes_as_all_and_excludes_as_any() {
        let mut target = Target::new(Arch::X86_64, KernelVersion::new(5, 10));
        target.add_capability("sys_admin").unwrap();
        for (condition, includes, excludes) in [
            (condition(&[], &[], None), true, false),
            (condition(&["CAP_SYS_ADMIN"], &[], None), true, true),
            (
                condition(&["CAP_SYS_ADMIN", "CAP_BPF"], &[], None),
                false,
                true,
            ),
            (condition(&["CAP_BPF"], &[], None), false, false),
            (condition(&[], &["s390x", "amd64"], None), true, true),
            (condition(&[], &["arm64"], None), false, false),
            (condition(&[], &[], Some("5.10")), true, true),
            (condition(&[], &[], Some("5.11")), false, false),
            (condition(&["CAP_SYS_ADMIN"], &["arm64"], None), false, true),
        ] {
            assert_eq!(condition.includes(&target), includes, "{condition:?}");
            assert_eq!(condition.excludes(&target), excludes, "{condition:?}");
        }
    }

    #[test]
    fn capabilities_by_any_spelling() {
        let mut target = Target::new(Arch::X86_64, KernelVersion::new(5, 10));
        for name in ["CAP_CHOWN", "cap_chown", "chown"] {
            target.add_capability(name).unwrap();
        }
        assert_eq!(target.capabilities.len(), 1);
        assert!(target.add_capability("CAP_").is_err());
        target.add_capability("all").unwrap();
        assert!(target.capabilities.contains("CAP_CHECKPOINT_RESTORE"));
    }
}

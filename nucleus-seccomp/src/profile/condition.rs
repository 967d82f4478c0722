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

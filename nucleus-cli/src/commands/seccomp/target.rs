//! The machine and the process that a profile is meant for.

use anyhow::{Context as _, anyhow};
use nucleus_seccomp::{Arch, KernelVersion, NewCalls, Target};

/// What a profile's conditions ask for.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Target of profiles")]
pub(crate) struct TargetArgs {
    /// Architecture of the kernel: x86_64, i386, aarch64 or riscv64 [default: this machine's]
    #[arg(long)]
    arch: Option<Arch>,
    /// A capability that the program will have, or ALL (may be repeated)
    #[arg(long = "cap", value_name = "CAP")]
    caps: Vec<String>,
    /// Kernel version, such as 5.10 [default: the running one]
    #[arg(long, value_name = "VERSION")]
    kernel: Option<KernelVersion>,
    /// Calls newer than any that the profile names get its default action, not ENOSYS
    #[arg(long)]
    no_enosys: bool,
    /// Names in a profile that mean nothing are errors
    #[arg(long)]
    strict: bool,
}

impl TargetArgs {
    /// Whether names that mean nothing are errors.
    pub(crate) const fn is_strict(&self) -> bool {
        self.strict
    }

    /// The target that the options describe.
    pub(crate) fn resolve(&self) -> anyhow::Result<Target> {
        let arch = self.arch.or_else(Arch::native).ok_or_else(|| {
            anyhow!("no table for this machine's architecture; name one with --arch")
        })?;
        let kernel = self
            .kernel
            .or_else(KernelVersion::running)
            .context("this kernel has no version; name one with --kernel")?;
        let mut target = Target::new(arch, kernel);
        for cap in &self.caps {
            target.add_capability(cap).context("--cap")?;
        }
        if self.no_enosys {
            target.new_calls = NewCalls::Default;
        }
        Ok(target)
    }
}

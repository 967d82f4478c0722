//! The machine and the process that a profile is meant for.

use anyhow::{Context as _, anyhow};
use nucleus_seccomp::{Arch, KernelVersion, NewCalls, Target};

/// What a profile's conditions ask for.
#[derive(Debug, clap::Args)]
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
}

impl TargetArgs {
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
            if cap.eq_ignore_ascii_case("all") {
                let all = caps::all().into_iter().map(|cap| cap.to_string());
                target.capabilities.extend(all);
            } else {
                target.capabilities.insert(capability(cap)?);
            }
        }
        if self.no_enosys {
            target.new_calls = NewCalls::Default;
        }
        Ok(target)
    }
}

/// The kernel's name, of one with or without `CAP_`, in either case.
fn capability(name: &str) -> anyhow::Result<String> {
    let upper = name.to_ascii_uppercase();
    let full = if upper.starts_with("CAP_") {
        upper
    } else {
        format!("CAP_{upper}")
    };
    full.parse::<caps::Capability>()
        .map(|cap| cap.to_string())
        .with_context(|| format!("unknown capability {name:?}; capabilities(7) lists them"))
}

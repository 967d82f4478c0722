//! Which filter a program runs under, and what becomes of its denials.

use std::path::PathBuf;

use nucleus_seccomp::Arch;

use crate::profile_file::Fingerprint;
use crate::watch_source::WatchSource;

/// The seccomp filter.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "System calls")]
pub(crate) struct FilterArgs {
    /// OCI seccomp profile (JSON) to enforce [default: nucleus's own]
    #[arg(long, value_name = "FILE")]
    pub(crate) seccomp_profile: Option<PathBuf>,

    /// SHA-256 that the profile must have, as sha256sum prints it
    #[arg(long, value_name = "HEX", requires = "seccomp_profile")]
    pub(crate) seccomp_profile_sha256: Option<Fingerprint>,

    /// Let programs of this machine's other architectures run, too, under
    /// nucleus's own profile
    #[arg(long, value_name = "ARCH", conflicts_with = "seccomp_profile")]
    pub(crate) allow_arch: Vec<OtherArch>,

    /// Enforce a profile, or record the calls that are made
    #[arg(long, value_name = "MODE", default_value = "enforce")]
    pub(crate) seccomp_mode: Mode,

    /// Trace to write, with --seccomp-mode trace
    #[arg(long, value_name = "FILE", required_if_eq("seccomp_mode", "trace"))]
    pub(crate) seccomp_log: Option<PathBuf>,

    /// When the program has ended, name each call that was denied
    #[arg(long)]
    pub(crate) seccomp_log_denied: bool,

    /// Write each denied call as a JSON object to this descriptor, as it
    /// happens; the verdict is the last
    #[arg(long, value_name = "FD", value_parser = clap::value_parser!(u32).range(3..))]
    #[arg(conflicts_with = "seccomp_log")]
    pub(crate) events: Option<u32>,

    /// Explain each denied call as it happens, with its arguments and its place
    /// in the program; needs no privilege
    #[arg(long, conflicts_with_all = ["seccomp_log_denied", "source"])]
    pub(crate) explain: bool,

    /// What sees the calls, for --seccomp-log-denied, --events and --seccomp-mode trace
    #[arg(long, value_name = "SOURCE", default_value = "ptrace")]
    pub(crate) source: WatchSource,
}

/// An architecture whose programs an x86_64 machine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum OtherArch {
    /// 32-bit programs of i386
    X86,
    /// 32-bit addresses with the registers of x86_64
    X32,
}

impl OtherArch {
    pub(crate) const fn arch(self) -> Arch {
        match self {
            Self::X86 => Arch::I386,
            Self::X32 => Arch::X32,
        }
    }
}

/// What the filter does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Mode {
    /// Enforce the profile
    #[default]
    Enforce,
    /// Allow and record every call
    Trace,
}

//! Seccomp profiles: the OCI model, a compiler to cBPF, a simulator and a proof.
//!
//! A [`Profile`] is what Docker, podman and Kubernetes read. Resolved for a
//! [`Target`] it is a [`Policy`], which [decides](Policy::decide) calls and
//! compiles to a [`Program`], which the kernel runs.
//!
//! ```
//! use nucleus_seccomp::{Arch, CompileOptions, KernelVersion, Profile, Target, proof};
//!
//! let json = br#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
//!     {"names": ["read", "write", "exit_group"], "action": "SCMP_ACT_ALLOW"}]}"#;
//! let target = Target::new(Arch::X86_64, KernelVersion::new(6, 1));
//! let policy = Profile::from_json(json)?.resolve(&target)?;
//! let program = policy.compile(&CompileOptions::default())?;
//! assert!(proof::equal(&policy, &program)?.holds());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! In reading order: the words (`arch`, `table`, `syscall`, `action`, `data`),
//! the meaning (`profile`, `policy`, `compile`; [`diff`], [`lint`], [`merge`],
//! `export`), the program (`insn`, `program`, `simulate`, `listing`, `install`,
//! `dump`), and the check of one against the other ([`proof`], [`difftest`]).

#![deny(unsafe_code)]

mod action;
mod arch;
mod compile;
mod completeness;
mod data;
mod describe;
pub mod diff;
pub mod difftest;
mod dump;
mod error;
mod export;
mod insn;
mod install;
mod kernel;
pub mod lint;
mod listing;
pub mod merge;
mod policy;
mod profile;
mod program;
pub mod proof;
mod simulate;
mod suggest;
mod sys;
mod syscall;
mod table;

pub use action::Action;
pub use arch::{Arch, UnknownArch, X32_SYSCALL_BIT};
pub use compile::CompileOptions;
pub use completeness::Completeness;
pub use data::{Call, SeccompData};
pub use describe::{Description, ReadPath};
pub use error::{
    CompileError, DifftestError, DumpError, ExportError, InstallError, ListingError, LoadError,
    MergeError, ProfileError, ProofError, ResolveError,
};
pub use export::SystemdExport;
pub use insn::{Insn, offset, op};
pub use install::InstallFlags;
pub use kernel::{InvalidKernelVersion, KernelVersion};
pub use policy::{Clause, Policy, Verdict};
pub use profile::{
    ArchMapping, Architectures, ArgIndex, ArgTest, CallName, Comparison, Condition, Flag, NewCalls,
    Note, OciArch, Position, Profile, Rule, Target, UnknownCapability, When, errno_by_name,
    errno_name,
};
pub use program::{Endian, MAX_INSNS, Program};
pub use simulate::Outcome;
pub use syscall::Syscall;
pub use table::{GROUPS, Group};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

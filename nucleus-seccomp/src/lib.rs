//! Seccomp profiles: the OCI model, a compiler to cBPF, a simulator and a proof.

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
mod sys;
mod syscall;
mod table;

pub use action::Action;
pub use arch::{Arch, UnknownArch, X32_SYSCALL_BIT};
pub use compile::CompileOptions;
pub use completeness::Completeness;
pub use data::SeccompData;
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

//! Seccomp profiles: the OCI model, a compiler to cBPF, a simulator and a proof.

#![deny(unsafe_code)]

mod action;
mod arch;
mod completeness;
mod data;
mod dump;
mod error;
mod insn;
mod install;
mod kernel;
mod listing;
mod program;
mod simulate;
mod sys;
mod syscall;
mod table;

pub use action::Action;
pub use arch::{Arch, UnknownArch, X32_SYSCALL_BIT};
pub use completeness::Completeness;
pub use data::SeccompData;
pub use error::{DumpError, InstallError, ListingError, LoadError};
pub use insn::{Insn, offset, op};
pub use install::InstallFlags;
pub use kernel::{InvalidKernelVersion, KernelVersion};
pub use program::{Endian, MAX_INSNS, Program};
pub use simulate::Outcome;
pub use syscall::Syscall;

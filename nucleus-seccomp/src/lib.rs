//! Seccomp profiles: the OCI model, a compiler to cBPF, a simulator and a proof.

mod action;
mod arch;
mod completeness;
mod data;
mod syscall;

pub use action::Action;
pub use arch::{Arch, UnknownArch, X32_SYSCALL_BIT};
pub use completeness::Completeness;
pub use data::SeccompData;
pub use syscall::Syscall;

//! Constants and their names, from the kernel's user-space headers
//! (`include/uapi/`). Values that differ between architectures are those of
//! x86; [`OPEN_ARM`] is the exception that matters.

mod files;
mod network;
mod processes;

pub(super) use files::*;
pub(super) use network::*;
pub(super) use processes::*;

/// Values and names. Of flags that share bits the wider comes first.
pub(super) type Names = &'static [(u64, &'static str)];

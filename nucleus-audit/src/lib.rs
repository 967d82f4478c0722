//! Sources of seccomp events: ptrace, audit netlink and the kernel log, each
//! with a completeness verdict.
#![deny(unsafe_code)]

mod error;
mod event;
mod source;

pub use error::{Error, PtraceRefusal};
pub use event::{Call, Event};
pub use source::Source;

//! Sources of seccomp events: ptrace, audit netlink and the kernel log, each
//! with a completeness verdict.
#![deny(unsafe_code)]

mod error;
mod event;
mod proc;
mod ptrace;
mod record;
mod source;
mod sys;

pub use error::{Error, PtraceRefusal};
pub use event::{Call, Event};
pub use ptrace::{PtraceMode, PtraceSource};
pub use record::{RecordError, SeccompRecord};
pub use source::Source;

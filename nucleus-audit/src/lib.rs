//! Sources of seccomp events: ptrace, audit netlink and the kernel log, each
//! with a completeness verdict.
#![deny(unsafe_code)]

mod deny;
mod error;
mod event;
mod log;
mod proc;
mod ptrace;
mod record;
mod scope;
mod session;
mod source;
mod sys;

pub use deny::{Denial, DenialLogger, DenialReport, Denials};
pub use error::{Error, PtraceRefusal};
pub use event::{Call, Event};
pub use log::{LogKind, LogPurpose, LogSource, Stopper};
pub use ptrace::{PtraceMode, PtraceSource};
pub use record::{RecordError, SeccompRecord};
pub use scope::{Belonging, ProcFs, Process, Processes, Scope, Selection, Target};
pub use session::{current_session, enter_session};
pub use source::Source;

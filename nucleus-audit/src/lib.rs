//! Sources of seccomp events: which system calls a program makes, and which
//! ones a filter denies it, each with a completeness verdict.
//!
//! ```no_run
//! use nucleus_audit::{DenialLogger, Denials, LogPurpose, LogSource, Scope, enter_session};
//!
//! let (source, _why_not_better) = LogSource::open_best(LogPurpose::Denials)?;
//! let denials = Denials::new(Scope::Session(enter_session()?));
//! let logger = DenialLogger::start(source, denials, |event, _| eprintln!("{event:?}"))?;
//! // Run a program whose filter was installed with InstallFlags::LOG.
//! let report = logger.finish()?;
//! println!("{} kinds, {:?}", report.denials.len(), report.completeness);
//! # Ok::<(), nucleus_audit::Error>(())
//! ```
//!
//! - [`Source`] and [`Event`]: what every source does and yields
//! - [`PtraceSource`]: a tracer, without privilege
//! - [`LogSource`]: the kernel's own records, by audit netlink or `/dev/kmsg`
//! - [`SeccompRecord`]: the parser of those records; [`call_in_line`] also
//!   reads what ausearch and the journal make of them
//! - [`Scope`]: whose event it was; [`enter_session`] makes that exact
//! - [`Denials`] and [`DenialLogger`]: denials counted while a program runs
#![deny(unsafe_code)]

mod event;
mod source;

mod place;
mod proc;
mod ptrace;

mod log;
mod record;
mod retold;

mod scope;
mod session;

mod deny;

mod error;
mod sys;

pub use deny::{Denial, DenialLogger, DenialReport, Denials};
pub use error::Error;
pub use event::Event;
pub use log::{LogKind, LogPurpose, LogSource, Stopper};
pub use nucleus_seccomp::Call;
pub use nucleus_tracer::Refusal as PtraceRefusal;
pub use place::{Place, lineage};
pub use ptrace::{PtraceMode, PtraceSource};
pub use record::{RecordError, SeccompRecord};
pub use retold::call_in_line;
pub use scope::{Belonging, Birth, Births, ProcFs, Process, Processes, Scope, Selection, Target};
pub use session::{current_session, enter_session};
pub use source::Source;

//! One ptrace(2) loop for all that needs one: a program and all that it starts
//! are followed, their calls recorded or judged, their denials told.
//!
//! ```no_run
//! use nucleus_tracer::{Mode, Tracer};
//!
//! # fn pid_of_a_program_that_waits_before_its_filter() -> u32 { 1 }
//! let pid = pid_of_a_program_that_waits_before_its_filter();
//! let mut tracer = Tracer::seize(pid, Mode::Record, ())?;
//! while let Some(seen) = tracer.next()? {
//!     println!("{:?} by thread {}", seen.call.syscall(), seen.task.thread);
//! }
//! println!("{:?}", tracer.completeness());
//! # Ok::<(), nucleus_tracer::Error>(())
//! ```
//!
//! - [`Tracer`]: the loop; [`Mode`]: what it does with the calls that stop
//! - [`Seen`]: what it tells
//! - [`Judge`]: who decides on what a filter leaves to it ([`ASK`]), at once or
//!   [later](Answers)
//! - [`stack_pointer`], [`set_argument`], [`result`]: the registers of a thread that it judges;
//!   [`CAN_RESTART`]: whether it can have interrupted calls made again
//! - [`Freezer`]: stops all, and lets them go on
#![deny(unsafe_code)]

mod answers;
mod freezer;
mod judge;
mod mode;
mod seen;

mod tracer;

mod care;
mod fatal;
mod line;
mod refusal;
mod reports;
mod special;
mod status;
mod stop;
mod tasks;

mod error;
mod regs;
mod sys;

pub use answers::{Answers, Ticket};
pub use error::{Error, Refusal};
pub use freezer::{FreezeError, Freezer};
pub use judge::{ASK, Judge, Task, TracedCall, Verdict};
pub use mode::Mode;
pub use regs::{CAN_RESTART, result, set_argument, stack_pointer};
pub use seen::Seen;
pub use tracer::Tracer;

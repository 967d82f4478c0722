//! Seccomp user notification: decisions that only user space can make.
//!
//! Handlers are registered by call; the filter that traps is derived from them;
//! the supervisor answers. Every caller is answered, whatever a handler does.
//!
//! ```no_run
//! use std::process::Command;
//! use nucleus_seccomp::{Arch, Syscall};
//! use nucleus_supervisor::{
//!     Decision, Errno, Error, Registry, Reply, Request, Supervisor, When, spawn,
//! };
//!
//! let mut registry = Registry::new();
//! let mkdir = Syscall::by_name(Arch::X86_64, "mkdir").expect("in the table");
//! registry.add(mkdir, When::Always, |request: &Request| {
//!     let path = request.memory().path(request.data().args[0])?;
//!     eprintln!("mkdir {}", path.escape_ascii());
//!     // A judgement on a path cannot be left to the kernel, which reads it
//!     // again: deny it, or make the directory here.
//!     Ok(Decision::Answer(Reply::Errno(Errno::PERM)))
//! })?;
//! let filter = registry.program()?;
//! let mut command = Command::new("mkdir");
//! command.arg("/tmp/x");
//! let (mut child, supervisor) = spawn(command, filter, |listener| {
//!     Supervisor::start(listener, registry)
//! })?;
//! child.wait()?;
//! println!("{:?}", supervisor.wait()?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![deny(unsafe_code)]

mod denial;
mod listener;
mod memory;
mod reply;
mod request;

mod registry;
mod trap;

mod engine;
mod pool;
mod process;
mod spawn;

mod policy;
mod resolver;

pub mod callback;
mod determinism;
mod exec;
mod limits;
mod tracer;

mod error;
mod sys;

pub use denial::{Denial, Denied};
pub use determinism::{Determinism, RandomFiles, RandomSeed, SeedError, TimeError, TimeStart};
pub use engine::{Summary, Supervisor};
pub use error::{Error, TrapError};
pub use exec::{ExecPolicy, ExecRule, ExecRuleError};
pub use limits::{MemoryLimit, ProcessLimit, WhenFull};
pub use listener::{Listener, Receiver};
pub use memory::{Memory, MemoryError, MessageHeader, PATH_MAX, Piece};
pub use nucleus_tracer::{Answers, FreezeError, Freezer, Task, Ticket, TracedCall, Verdict};
pub use policy::{
    Enforced, Enforcer, NamedSockets, NetPolicy, NetRule, NetRules, PathMark, PathPolicy,
    PathRuleError, PathRules, Policy, PolicyError, Ports, Protocol, RuleError,
};
pub use process::{Process, ProcessId, ProcessTable};
pub use registry::{AtOnce, Decision, Failure, Handler, Registry};
pub use reply::{FdResult, Grounds, NewFd, Reply};
pub use request::{Delivery, Request};
pub use rustix::io::Errno;
pub use spawn::spawn;
pub use tracer::{Guard, Guards, memory_of};
pub use trap::{ArgTest, Refusal, Traps, When};

//! Launches a program: in the host's view with a filter alone, or in a
//! sandbox.
//!
//! ```
//! use nucleus_core::Command;
//!
//! let output = Command::new("sh").args(["-c", "echo $0 $1", "hello"]).output()?;
//! assert!(output.status.success());
//! assert_eq!(output.stdout, b"hello\n");
//! # Ok::<(), nucleus_core::LaunchError>(())
//! ```
//!
//! The process that calls starts an *init*, which starts the program, reaps
//! what it leaves behind, and kills all of it when the caller ends.
//!
//! In reading order:
//!
//! - `command`: what to start ([`Command`], [`View`], [`Stdio`])
//! - `plan`: what will be done, as data ([`Plan`])
//! - `launch`: from a command to a plan to processes
//! - `interpret`: runs the plan's steps in the child
//! - `init`: the init process
//! - `report`, `message`: what children tell the parent
//! - `child`: the handle on what runs ([`Child`])
//! - `error`: why a program did not start ([`LaunchError`])
//! - `sys`: every raw system call

#![deny(unsafe_code)]

mod child;
mod command;
mod error;
mod init;
mod interpret;
mod launch;
mod message;
mod plan;
mod report;
mod stdio;
mod sys;

pub use child::Child;
pub use command::{Command, View};
pub use error::LaunchError;
pub use plan::Plan;
pub use stdio::Stdio;

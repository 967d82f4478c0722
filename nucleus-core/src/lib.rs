//! Launches a program: in the host's view with a filter alone, or in a sandbox.
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
//! - `command`: what to start ([`Command`], [`View`], [`Stdio`])
//! - `isolation`, `capability`: what a sandbox is made of ([`Isolation`])
//! - `plan`, `launch`: what will be done, as data ([`Plan`]), and from that to processes
//! - `host`, `source`, `layout`, `landlock`, `confine`, `reduced`: what a sandbox shows, grants and takes, as steps
//! - `interpret`, with `ids`, `mounts`, `network`, `secret`, `privileges`, `oom` and `terminal`: runs the plan's steps in the child
//! - `init`: the init process
//! - `report`, `message`, `hear`, `child`, `stat`: what children tell the parent, its handle on what runs ([`Child`]), and what /proc says
//! - `overlay`: what the program writes and nobody has to keep ([`Changes`])
//! - `stdio`, `strings`, `cpath`, `environment`: what the program is started with
//! - `error`, `autopsy`, `mounted_on`: why a program did not start ([`LaunchError`])
//! - `sys`: every raw system call
#![deny(unsafe_code)]

mod autopsy;
mod capability;
mod child;
mod clocks;
mod command;
mod confine;
mod cpath;
mod environment;
mod error;
mod hear;
mod host;
mod ids;
mod init;
mod interpret;
mod isolation;
mod landlock;
mod launch;
mod layout;
mod message;
mod mounted_on;
mod mounts;
mod network;
mod oom;
mod overlay;
mod plan;
mod privileges;
mod reduced;
mod report;
mod secret;
mod source;
mod stat;
mod stdio;
mod strings;
mod sys;
mod terminal;

pub use capability::Capability;
pub use child::Child;
pub use command::{Command, View};
pub use error::{
    Cause, ChangesError, IdError, ImageError, KeptLayerError, LaunchError, PolicyError,
    SourceError, TargetError, UnknownCapability,
};
pub use ids::IdRange;
pub use isolation::{
    Access, Isolation, Network, Resource, RootMode, Terminal, TerminalSize, User, UserNamespace,
};
pub use landlock::{Enforcement, LandlockPolicy};
pub use overlay::{Change, Changes, Kind, PendingCommit, Withheld};
pub use plan::Plan;
pub use stdio::Stdio;
pub use sys::{give_back_code, landlock_abi};

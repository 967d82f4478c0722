//! Traces of system calls, and the smallest seccomp profile that they need.
//!
//! A [`Recorder`] counts calls while a program runs and ends in a [`Trace`],
//! which is written and read as NDJSON; [`generate()`] makes a profile of
//! several.
//!
//! ```
//! use nucleus_profile::{GenerateOptions, Trace, generate};
//! use nucleus_seccomp::Arch;
//!
//! let file = br#"{"syscall":257,"name":"openat","count":3,"arch":"x86_64"}
//! {"verdict":"complete","calls":3,"arch":"x86_64"}"#;
//! let trace = Trace::read(&file[..])?;
//! let profile = generate(&[trace], &GenerateOptions::new(Arch::X86_64))?;
//! assert!(profile.to_json().contains("openat"));
//! # Ok::<(), nucleus_profile::Error>(())
//! ```

#![deny(unsafe_code)]

mod arguments;
mod atomic_file;
mod error;
mod explain;
mod format;
mod generate;
mod note;
mod patch;
mod reader;
mod recorder;
mod trace;
mod unseen;
mod writer;

pub use arguments::{Arguments, Combinations};
pub use atomic_file::AtomicFile;
pub use error::{Error, FileError};
pub use explain::{DecidedBy, Decision, decide};
pub use generate::{GenerateOptions, generate};
pub use note::{Note, notes};
pub use patch::{Patch, PatchError, Widened, allow};
pub use recorder::Recorder;
pub use trace::{Call, Origin, Trace};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

//! Traces of system calls, and the smallest seccomp profile that they need.
//!
//! A [`Recorder`] counts calls while a program runs and ends in a [`Trace`],
//! which is written and read as NDJSON.

#![deny(unsafe_code)]

mod arguments;
mod atomic_file;
mod error;
mod format;
mod reader;
mod recorder;
mod trace;
mod writer;

pub use arguments::{Arguments, Combinations};
pub use atomic_file::AtomicFile;
pub use error::{Error, FileError};
pub use recorder::Recorder;
pub use trace::{Call, Origin, Trace};

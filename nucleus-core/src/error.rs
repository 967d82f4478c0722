//! Why a program did not start.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use nucleus_seccomp::Action;

/// Why a program was not started, or how its start went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// A string that the kernel takes as a C string has a NUL byte inside.
    #[error("the {what} {value:?} has a NUL byte inside, which no program can be given")]
    Nul {
        /// `argument`, `environment variable`, `path`.
        what: &'static str,
        /// The string.
        value: OsString,
    },

    /// There is no such program.
    #[error("program {program:?} not found{}", searched_in(searched))]
    NotFound {
        /// The program as it was asked for.
        program: OsString,
        /// The folders of PATH that were searched; empty when the program was
        /// given with a slash, as a path.
        searched: Vec<PathBuf>,
    },

    /// There is such a file, but the kernel does not run it.
    #[error("{path:?} cannot be executed")]
    NotExecutable {
        /// The file.
        path: PathBuf,
        /// EACCES: no permission, or a file system mounted `noexec`. ENOEXEC:
        /// neither a binary of this machine nor a `#!` script.
        source: io::Error,
    },

    /// The file is there, what shall interpret it is not.
    #[error(
        "{path:?} is there, but the interpreter that it names (its #! line, or the loader of a dynamic binary) is not"
    )]
    InterpreterMissing {
        /// The script or binary.
        path: PathBuf,
    },

    /// The filter does not allow the one call that starts the program.
    #[error(
        "the seccomp filter does not allow execve, so {path:?} could not start; allow execve in the profile"
    )]
    FilterForbidsExec {
        /// The program.
        path: PathBuf,
        /// What the filter says.
        action: Action,
    },

    /// A step of the set-up failed in the child.
    #[error("could not {step}: {call} failed")]
    Step {
        /// The step, as a plan prints it.
        step: String,
        /// The system call.
        call: &'static str,
        /// Why.
        source: io::Error,
    },

    /// Something failed in this process, before or after the child ran.
    #[error("could not {what}")]
    Parent {
        /// What was tried.
        what: &'static str,
        /// Why.
        source: io::Error,
    },

    /// Somebody killed the program while it was being set up.
    #[error("signal {signal} killed the program before it started")]
    KilledEarly {
        /// The signal.
        signal: i32,
    },

    /// The sandbox's init process ended without a word about the program.
    #[error("the init process was killed, and the program with it")]
    InitDied,
}

fn searched_in(searched: &[PathBuf]) -> String {
    if searched.is_empty() {
        return String::new();
    }
    let folders: Vec<_> = searched
        .iter()
        .map(|folder| folder.to_string_lossy())
        .collect();
    format!(" in PATH ({})", folders.join(":"))
}

impl LaunchError {
    /// The exit code that stands for it: 127 for a program that is not there,
    /// 126 for one that cannot be executed, 125 for the rest, as `env(1)` has
    /// them.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::NotFound { .. } => 127,
            Self::NotExecutable { .. } | Self::InterpreterMissing { .. } => 126,
            _ => 125,
        }
    }
}

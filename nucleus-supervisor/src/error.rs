//! What can fail, with the inputs of the operation that did.

use std::io;

use nucleus_seccomp::{LoadError, Syscall};
use rustix::io::Errno;

/// The supervisor could not be set up or could not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel has no seccomp user notification (5.0) or it is not for us.
    #[error("cannot ask for the sizes of seccomp notifications; Linux 5.0 has them")]
    Sizes {
        /// The reason.
        source: io::Error,
    },
    /// Receiving failed, which no caller's fate explains.
    #[error("cannot receive seccomp notifications")]
    Receive {
        /// The reason.
        source: Errno,
    },
    /// An answer could not be sent, which no caller's fate explains.
    #[error("cannot answer seccomp notification {id:#x}")]
    Answer {
        /// The notification.
        id: u64,
        /// The reason.
        source: Errno,
    },
    /// A thread could not be started.
    #[error("cannot start the thread {name}")]
    Thread {
        /// Its name.
        name: &'static str,
        /// The reason.
        source: io::Error,
    },
    /// A thread of the supervisor panicked.
    #[error("the thread {name} panicked")]
    Panicked {
        /// Its name.
        name: &'static str,
    },
    /// The socket over which the listener comes could not be made or used.
    #[error("cannot set up the handover of the listener")]
    Handover {
        /// The reason.
        source: Errno,
    },
    /// The program could not be started under the filter.
    #[error("cannot start {program:?} under the filter")]
    Spawn {
        /// The program.
        program: std::ffi::OsString,
        /// The reason: of exec, or of the step before it.
        source: io::Error,
    },
    /// The listener could not be taken over from the child.
    #[error("cannot take the listener over from process {pid}")]
    TakeOver {
        /// The child.
        pid: i32,
        /// The reason.
        source: Errno,
    },
    /// A policy program cannot be started.
    #[error("cannot start the policy program {program:?}")]
    PolicyProgram {
        /// The program.
        program: std::ffi::OsString,
        /// The reason.
        source: io::Error,
    },
    /// The resolver of a sandbox cannot be set up.
    #[error("cannot set up the resolver that answers the program's look-ups of names")]
    Resolver {
        /// The reason.
        source: io::Error,
    },
    /// Processes cannot be watched.
    #[error("cannot watch for the end of processes")]
    Watch {
        /// The reason.
        source: Errno,
    },
}

/// A program of traps that cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrapError {
    /// A condition on an argument that no call has.
    #[error("{call} is to be trapped by argument {index}; arguments are 0 to 5")]
    Argument {
        /// The call.
        call: Syscall,
        /// The index.
        index: u8,
    },
    /// The filter to join with returns a computed value.
    #[error(
        "instruction {at} of the filter returns a computed value; such a filter cannot be joined"
    )]
    Computed {
        /// The instruction, counted from 0.
        at: usize,
    },
    /// The joined program is no valid filter.
    #[error("the filter with its traps does not load")]
    Load {
        /// The reason, such as its length.
        source: LoadError,
    },
}

//! Why a root directory of the user's own cannot be used.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use super::searched_in;

/// Why a program cannot have a folder as its root directory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// Only its owner may enter it, and the program is somebody else.
    #[error(
        "could not {step}: the root directory {path:?} is closed to the program's user; let everybody enter it (chmod a+rx)"
    )]
    Closed {
        /// The step, as a plan prints it.
        step: String,
        /// The root directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },

    /// What a sandbox needs is not there and cannot be added.
    #[error(
        "could not {step}: in the root directory {path:?} its folder belongs to another user than yours, who lets nobody else add to it; make it in {path:?} as that user, or run nucleus as that user"
    )]
    NothingAdded {
        /// The step, as a plan prints it.
        step: String,
        /// The root directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },

    /// There is no such program in it.
    #[error(
        "program {program:?} not found{} in the root directory {path:?}, which is all that the program sees; install it there, or show it with --volume",
        searched_in(searched)
    )]
    NoProgram {
        /// The program as it was asked for.
        program: OsString,
        /// The folders of PATH that were searched.
        searched: Vec<PathBuf>,
        /// The root directory.
        path: PathBuf,
    },
}

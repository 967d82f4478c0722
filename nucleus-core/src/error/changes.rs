//! Why a program's changes could not be carried over.

use std::io;
use std::path::PathBuf;

/// Why a program's changes could not be read or carried over.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChangesError {
    /// On the side of what the program has written.
    #[error("could not {what} {path:?}, as the program left it")]
    Upper {
        /// What was tried.
        what: &'static str,
        /// Relative to the folder that is written to.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },

    /// On the side of the host's folder.
    #[error("could not {what} {path:?} in the folder on the host")]
    Lower {
        /// What was tried.
        what: &'static str,
        /// Relative to that folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },

    /// Some changes were carried over, others not.
    #[error(
        "the commit stopped after {done} of {total} changes; each file is as it was or as the program left it, and the folder {rest:?} there holds what was replaced and what is missing"
    )]
    Incomplete {
        /// How many were carried over.
        done: usize,
        /// How many there are.
        total: usize,
        /// The folder with the rest, relative to the one on the host.
        rest: PathBuf,
        /// What stopped it.
        source: Box<Self>,
    },
}

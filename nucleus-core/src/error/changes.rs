//! Why a program's changes could not be carried over.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

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

    /// The host's folder itself.
    #[error("could not read the folder {path:?}{}", remedy(source))]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },

    /// Some changes were carried over, others not.
    #[error(
        "the commit stopped after {done} of {total} changes; each file is as it was or as the program left it, and {rest:?} there holds the rest; mend the cause, then finish it with nucleus workspace commit DIR, or forget the rest with nucleus workspace discard DIR"
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

    /// Somebody is committing at this moment.
    #[error(
        "another nucleus is committing to the folder now ({folder:?}); try again when it is done"
    )]
    Busy {
        /// Its folder, relative to the one on the host.
        folder: PathBuf,
    },

    /// An interrupted commit that another user began.
    #[error(
        "user {owner} began the commit in {folder:?} there; only that user can finish or discard it"
    )]
    CommitOfAnother {
        /// Its folder, relative to the one on the host.
        folder: PathBuf,
        /// The user's id.
        owner: u32,
    },

    /// An entry of the upper layer that stands for something at another place.
    #[error(
        "{path:?}, as the program left it, has a mark of overlayfs that nucleus never asks for ({mark:?})"
    )]
    Elsewhere {
        /// Relative to the folder that is written to.
        path: PathBuf,
        /// The extended attribute.
        mark: &'static std::ffi::CStr,
    },
}

impl ChangesError {
    pub(crate) fn upper<E: Into<io::Error>>(
        what: &'static str,
        path: &Path,
    ) -> impl FnOnce(E) -> Self {
        move |source| Self::Upper {
            what,
            path: named(path),
            source: source.into(),
        }
    }

    pub(crate) fn lower<E: Into<io::Error>>(
        what: &'static str,
        path: &Path,
    ) -> impl FnOnce(E) -> Self {
        move |source| Self::Lower {
            what,
            path: named(path),
            source: source.into(),
        }
    }
}

fn remedy(source: &io::Error) -> &'static str {
    match Errno::from_io_error(source) {
        Some(Errno::NOENT) => "; create it, or correct the path",
        Some(Errno::ACCESS) => "; it is closed to this user: run nucleus as its owner",
        Some(Errno::NOTDIR) => "; it is a file: name a folder",
        _ => "",
    }
}

/// A path for people: the folder itself has a name, too.
fn named(path: &Path) -> PathBuf {
    if path.as_os_str().is_empty() {
        PathBuf::from(".")
    } else {
        path.to_owned()
    }
}

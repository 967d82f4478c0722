//! Why a kept layer cannot be used.

use std::io;
use std::path::PathBuf;

/// Why a layer that is kept over a root directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeptLayerError {
    /// Something else is in the folder.
    #[error(
        "the folder for the kept layer, {path:?}, holds {name:?}, which nucleus has not made; name an empty folder, or one of an earlier run"
    )]
    NotEmpty {
        /// The folder.
        path: PathBuf,
        /// What is in it.
        name: PathBuf,
    },

    /// Another user began it.
    #[error(
        "the kept layer in {path:?} is user {owner}'s; run nucleus as that user, or name another folder"
    )]
    OfAnother {
        /// The folder.
        path: PathBuf,
        /// The user's id.
        owner: u32,
    },

    /// It belongs to another root directory, whose files it hides or changes.
    #[error(
        "the kept layer in {path:?} is over the root directory {over:?}; each needs a folder of its own"
    )]
    OverAnother {
        /// The folder.
        path: PathBuf,
        /// The root directory.
        over: PathBuf,
    },

    /// Another run has it.
    #[error(
        "the kept layer in {path:?} is in use by another run; wait for its end, or name another folder"
    )]
    InUse {
        /// The folder.
        path: PathBuf,
    },

    /// Nothing could be marked as deleted there.
    #[error(
        "the file system of {path:?} has no extended attributes for the marks of a kept layer; name a folder on ext4, xfs or btrfs"
    )]
    NoAttributes {
        /// The folder.
        path: PathBuf,
    },

    /// Overlayfs was refused.
    #[error(
        "could not lay the kept layer in {path:?} over {over:?}; that needs overlayfs in the kernel (for root, who has it id-mapped, of Linux 5.19; for an ordinary user of 5.11), and both on a local file system such as ext4, xfs or btrfs, not one in the other"
    )]
    Mount {
        /// The folder.
        path: PathBuf,
        /// The root directory.
        over: PathBuf,
        /// What mount(2) said.
        source: io::Error,
    },

    /// Something could not be done with the folder.
    #[error("could not {what} {path:?}, the folder for the kept layer")]
    Folder {
        /// What was tried.
        what: &'static str,
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

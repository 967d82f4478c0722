//! Why something cannot be put where it was asked for.

use std::path::PathBuf;

/// Why a volume, a folder in memory or a secret cannot be put in its place.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// A path in the sandbox that is not one.
    #[error("the {what} target {path:?} must be an absolute path below /, without . and .. parts")]
    Path {
        /// `volume`, `workspace`, `tmpfs`, `secret`.
        what: &'static str,
        /// The path.
        path: PathBuf,
    },

    /// A place that the sandbox itself lives by.
    #[error(
        "the {what} target {path:?} is the sandbox's own, as are all of /proc and its devices in /dev; choose another place"
    )]
    Reserved {
        /// `volume`, `workspace`, `tmpfs`, `secret`.
        what: &'static str,
        /// The path.
        path: PathBuf,
    },

    /// Nothing to mount on, in a folder of the host.
    #[error(
        "the {what} target {path:?} needs {missing:?}, which is not there; that place is in {folder:?} of the host, where nucleus makes nothing: make it there before, or choose another place"
    )]
    Missing {
        /// `volume`, `workspace`, `tmpfs`, `secret`.
        what: &'static str,
        /// The path.
        path: PathBuf,
        /// The first part of it that is not there.
        missing: PathBuf,
        /// The folder of the host.
        folder: PathBuf,
    },

    /// A file above the place.
    #[error("the {what} target {path:?} would be below {file:?}, which is no folder")]
    BelowFile {
        /// `volume`, `workspace`, `tmpfs`, `secret`.
        what: &'static str,
        /// The path.
        path: PathBuf,
        /// The file.
        file: PathBuf,
    },

    /// A folder for a file's place, or the other way round.
    #[error(
        "the {what} for {path:?} is a {}, and there is a {} there; a file goes over a file, a folder over a folder",
        kind(*.is_folder), kind(!*.is_folder)
    )]
    Kind {
        /// `volume`, `workspace`, `tmpfs`, `secret`.
        what: &'static str,
        /// The path.
        path: PathBuf,
        /// Whether what was to be put there is a folder.
        is_folder: bool,
    },

    /// Two grants for one place, or one that would hide another.
    #[error(
        "what is granted at {path:?} would cover what is granted at {covered:?}; leave one out"
    )]
    Covers {
        /// The place of one.
        path: PathBuf,
        /// The place of the other.
        covered: PathBuf,
    },

    /// Symbolic links in the sandbox that lead nowhere.
    #[error("the {what} target {path:?} leads through too many symbolic links, or out of /")]
    Links {
        /// `volume`, `workspace`, `tmpfs`, `secret`.
        what: &'static str,
        /// The path.
        path: PathBuf,
    },

    /// A device of the host.
    #[error(
        "the volume {path:?} is a device, which would be dead in the sandbox (nodev); /dev there has null, zero, full, random, urandom and tty"
    )]
    Device {
        /// The path on the host.
        path: PathBuf,
    },
}

const fn kind(is_folder: bool) -> &'static str {
    if is_folder { "folder" } else { "file" }
}

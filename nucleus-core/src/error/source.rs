//! Why something of the host cannot be opened.

use std::io;
use std::path::PathBuf;

use rustix::io::Errno;

/// Why what the user named of the host cannot be shown to a program.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// It is not there, or this process cannot see it.
    #[error("could not open the {what} {path:?}{}", remedy(source))]
    Open {
        /// `volume`, `root directory`.
        what: &'static str,
        /// The path on the host.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },

    /// Real paths of what is open are read in /proc.
    #[error(
        "could not look up the real path of the {what} {path:?} in /proc/self/fd; nucleus needs to see proc: mount it with mount -t proc proc /proc"
    )]
    NoProc {
        /// `volume`, `root directory`.
        what: &'static str,
        /// The path on the host.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },

    /// openat2 is not there.
    #[error(
        "could not open the {what} {path:?} by openat2, which Linux 5.6 has: a filter on nucleus hides it, as the default one of an outer run does, which allows no namespaces either; start that one with --allow-nested"
    )]
    NoOpenat2 {
        /// `volume`, `root directory`.
        what: &'static str,
        /// The path on the host.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn remedy(source: &io::Error) -> &'static str {
    match Errno::from_io_error(source) {
        Some(Errno::NOENT) => "; create it, or correct the path",
        Some(Errno::ACCESS) => {
            "; a folder on the way is closed to this user: open it, or run nucleus as its owner"
        }
        Some(Errno::NOTDIR) => "; a part of the path is a file, not a folder",
        Some(Errno::LOOP) => "; links go in a circle, or through /proc: name the real path",
        _ => "",
    }
}

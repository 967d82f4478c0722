//! Why a program cannot have the ids that were asked for.

use std::io;
use std::path::PathBuf;

use crate::ids::IdRange;

/// Why a program cannot have the ids that were asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// Not three numbers.
    #[error("{text:?} is no range of ids; write CONTAINER:HOST:SIZE, such as 0:100000:65536")]
    Syntax {
        /// What was written.
        text: String,
    },

    /// A range without ids, or with ids that there are not.
    #[error("the range {range} needs at least one id, and none beyond 4294967294")]
    Range {
        /// The range.
        range: IdRange,
    },

    /// Two ranges of a map with the same id.
    #[error("the ranges {first} and {second} overlap")]
    Overlap {
        /// The first.
        first: IdRange,
        /// The other.
        second: IdRange,
    },

    /// More ranges than the kernel takes.
    #[error("a map of {count} ranges has too many; the kernel takes {most}")]
    TooMany {
        /// How many were asked for.
        count: usize,
        /// How many there may be.
        most: usize,
    },

    /// No such user or group on the host.
    #[error("no {what} {name:?} in {file}; a number needs no entry there")]
    Unknown {
        /// `user` or `group`.
        what: &'static str,
        /// Its name.
        name: String,
        /// Where it was looked for.
        file: &'static str,
    },

    /// A file of the host that names users or ids cannot be read.
    #[error("could not read {file}")]
    Unreadable {
        /// The file.
        file: &'static str,
        /// Why.
        source: io::Error,
    },

    /// The program was to have an id that the user namespace does not.
    #[error(
        "{what} id {id} is not mapped in the sandbox's user namespace; map it to one of the host's ids with --{}idmap {id}:HOST:1",
        &what[..1]
    )]
    NotMapped {
        /// `user` or `group`.
        what: &'static str,
        /// The id.
        id: u32,
    },

    /// Root's own id was to be mapped.
    #[error(
        "the sandbox would have user 0 of the host, who even without capabilities may change /proc/sys and whatever of root's it sees; map other ids, or name a user with --user"
    )]
    HostRoot,

    /// Only root can do without a user namespace.
    #[error(
        "only root can do without a user namespace (--userns host); as a user, --no-userns does without all namespaces"
    )]
    RootOnly,

    /// A container that was given too few ids.
    #[error(
        "this host, a container, has no 65536 ids to spare; give a smaller range with --uidmap and --gidmap"
    )]
    NoSpareRange,

    /// The caller has no subordinate ids.
    #[error(
        "{file} gives {user} no subordinate ids, which more ids than one's own come from; as root, add the line {user}:100000:65536 to it, with a range that no other line has"
    )]
    NoSubordinate {
        /// `/etc/subuid` or `/etc/subgid`.
        file: &'static str,
        /// The caller.
        user: String,
    },

    /// The caller may not map these ids.
    #[error(
        "the {what} ids {}..{} of the host are not {user}'s to map; as root, add the line {user}:{}:{} to {file}, or map a range that it has",
        range.outside(), u64::from(range.outside()) + u64::from(range.count()), range.outside(), range.count()
    )]
    NotSubordinate {
        /// The range.
        range: IdRange,
        /// `user` or `group`.
        what: &'static str,
        /// `/etc/subuid` or `/etc/subgid`.
        file: &'static str,
        /// The caller.
        user: String,
    },

    /// The programs that map subordinate ids are not there.
    #[error(
        "{helper} is not installed, which maps ids that are not one's own; it is in the package uidmap (Debian, Ubuntu), shadow-utils (Fedora) or shadow (Arch)"
    )]
    NoHelper {
        /// `newuidmap` or `newgidmap`.
        helper: &'static str,
    },

    /// Such a program could not be started.
    #[error("could not start {helper:?}")]
    HelperStart {
        /// The program.
        helper: PathBuf,
        /// Why.
        source: io::Error,
    },

    /// Such a program refused.
    #[error(
        "{helper:?} did not map the ids: {said}; it must be set-user-ID root or have the file capability for it, and {file} must give the range to this user"
    )]
    Helper {
        /// The program.
        helper: PathBuf,
        /// What it wrote to standard error.
        said: String,
        /// `/etc/subuid` or `/etc/subgid`.
        file: &'static str,
    },
}

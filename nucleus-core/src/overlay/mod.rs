//! A writable layer in memory over a folder of the host: what the program
//! changes is kept from the host until somebody commits it.
//!
//! The upper layer is a tmpfs of the sandbox's own, so that nothing is left of
//! it when everything is killed. Init hands a descriptor of it to the parent,
//! who reads it once every process of the sandbox is gone. By then it may hold
//! whatever the program could think of: it is read beneath that descriptor,
//! and no link in it is followed.
//!
//! - `mount`: makes the layers, in the child
//! - `change`: what differs ([`Change`])
//! - `scan`: finds that out ([`Changes`])
//! - `commit`: carries it over to the host's folder, by way of a `stage` there
//! - `journal`: what a commit does, so that another can finish it
//! - `apply`: does it
//! - `pending`: finds those that were interrupted ([`PendingCommit`])
//! - `attributes`: what of a file's extended attributes is its own
//! - `kept`: a layer over a root directory that is there in the next run
//! - `beneath`: the calls that all of them reach files by

mod apply;
mod attributes;
mod beneath;
mod change;
mod commit;
mod journal;
mod kept;
mod mount;
mod pending;
mod scan;
mod stage;
#[cfg(test)]
mod testing;

use std::ffi::CString;
use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, XattrFlags};
use rustix::io::Errno;

use crate::ids::IdRange;

pub(crate) use self::attributes::{Attributes, Named, is_user, own, translate};
pub use self::change::{Change, Kind, Withheld};
pub(crate) use self::kept::{KeptLayer, UPPER_PATH, WORK_PATH};
pub(crate) use self::mount::{mount, options};
pub use self::pending::PendingCommit;
pub use self::scan::Changes;

/// What the child lays over what it has taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Overlay {
    /// The lower layer, as a number of [`Step::Take`](crate::plan::Step).
    pub(crate) lower: usize,
    pub(crate) target: CString,
    /// Mode of the folder itself.
    pub(crate) mode: u32,
    /// Its user and group, where they are not those of the process that mounts.
    pub(crate) owner: Option<(u32, u32)>,
    /// Its attributes, as the process that mounts names ids.
    pub(crate) attributes: Vec<(CString, Vec<u8>)>,
    /// Options of the tmpfs that the upper layer is on.
    pub(crate) memory: CString,
    /// The folder with an upper layer that is there already, as such a number,
    /// in place of one in memory.
    pub(crate) kept: Option<usize>,
    /// Options of the overlay.
    pub(crate) options: CString,
}

/// What the parent needs to read the upper layer.
#[derive(Debug)]
pub(crate) struct Layers {
    /// The host's folder.
    pub(crate) lower: OwnedFd,
    pub(crate) owner: Owner,
    /// Marks of the layers are `user.overlay.*`, not `trusted.overlay.*`.
    pub(crate) user_xattr: bool,
    /// The upper layer can have attributes of `user.*`.
    pub(crate) has_user_attributes: bool,
    /// The folder's own attributes that the upper layer began with.
    pub(crate) attributes: Vec<(CString, Vec<u8>)>,
}

/// Whom committed files belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Whoever commits.
    Caller,
    /// The same user and group as in the upper layer.
    Same,
    /// The program has acted for somebody.
    Mapped(Mapped),
}

/// A user and a group whom the program has acted for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mapped {
    /// The program's ids in the layers. Whatever else is in them is there as
    /// on the host.
    pub(crate) program: (u32, u32),
    /// Whom they stand for: the owner of the folder.
    pub(crate) owner: (u32, u32),
    /// All ids that the program may have.
    pub(crate) users: Vec<IdRange>,
    pub(crate) groups: Vec<IdRange>,
}

/// Whether files in memory can have attributes of `user.*` (Linux 6.6), found
/// out by doing.
pub(crate) fn memory_has_user_attributes() -> Result<bool, Errno> {
    let file = rustix::fs::memfd_create(c"nucleus", MemfdFlags::CLOEXEC)?;
    match rustix::fs::fsetxattr(&file, c"user.nucleus", b"y", XattrFlags::empty()) {
        Ok(()) => Ok(true),
        Err(Errno::OPNOTSUPP) => Ok(false),
        Err(errno) => Err(errno),
    }
}

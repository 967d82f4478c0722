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
//! - `commit`: carries it over to the host's folder
//! - `beneath`: the calls that both reach files by

mod beneath;
mod change;
mod commit;
mod mount;
mod scan;

use std::ffi::CString;
use std::os::fd::OwnedFd;

pub use self::change::{Change, Kind, Withheld};
pub(crate) use self::mount::mount;
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
    /// Options of the tmpfs that the upper layer is on.
    pub(crate) memory: CString,
    /// Marks of the layers are `user.overlay.*`, not `trusted.overlay.*`.
    pub(crate) user_xattr: bool,
}

/// What the parent needs to read the upper layer.
#[derive(Debug)]
pub(crate) struct Layers {
    /// The host's folder.
    pub(crate) lower: OwnedFd,
    pub(crate) owner: Owner,
    pub(crate) user_xattr: bool,
}

/// Whom committed files belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Whoever commits.
    Caller,
    /// The same user and group as in the upper layer.
    Same,
    /// A user and a group whom the program has acted for.
    One(u32, u32),
}

//! Attributes of mounts.

use std::ffi::CStr;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;
use syscalls::{Sysno, syscall};

use super::{new_fd, result};

/// `struct mount_attr` (mount_setattr(2)).
#[repr(C)]
struct MountAttrArgs {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// `MOUNT_ATTR_IDMAP` (5.12).
const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;

impl MountAttrArgs {
    fn new(attr: u64, ids: Option<BorrowedFd<'_>>) -> Self {
        Self {
            attr_set: attr | if ids.is_some() { MOUNT_ATTR_IDMAP } else { 0 },
            attr_clr: 0,
            propagation: 0,
            userns_fd: ids.map_or(0, |fd| u64::from(fd.as_raw_fd().unsigned_abs())),
        }
    }
}

/// Adds attributes to the mount that `mount` is the root of, and with
/// `recursive` to those below (5.12); with `ids` maps ids as that user
/// namespace does.
pub(crate) fn mount_setattr(
    mount: BorrowedFd<'_>,
    attr: u64,
    recursive: bool,
    ids: Option<BorrowedFd<'_>>,
) -> Result<(), Errno> {
    let args = MountAttrArgs::new(attr, ids);
    let below = if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a C string, `args` as long as the size says.
    let ret = unsafe {
        syscall!(
            Sysno::mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | below,
            &raw const args,
            mem::size_of::<MountAttrArgs>()
        )
    };
    result(ret).map(drop)
}

/// open_tree(2) and [`mount_setattr`] on what it opens, without ids, in one
/// call (6.15).
pub(crate) fn open_tree_attr(
    folder: BorrowedFd<'_>,
    path: &CStr,
    flags: OpenTreeFlags,
    attr: u64,
) -> Result<OwnedFd, Errno> {
    let args = MountAttrArgs::new(attr, None);
    // SAFETY: the path is a C string, `args` as long as the size says.
    let ret = unsafe {
        syscall!(
            Sysno::open_tree_attr,
            folder.as_raw_fd(),
            path.as_ptr(),
            flags.bits(),
            &raw const args,
            mem::size_of::<MountAttrArgs>()
        )
    };
    new_fd(ret)
}

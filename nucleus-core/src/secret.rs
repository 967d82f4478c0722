//! Secrets: files that are copied into memory that only the program reads.
//!
//! The kernel copies them from one descriptor to another. Neither the parent
//! nor the child ever has one in its own memory, so that there is nothing to
//! wipe, and no plan, trace or dump to find it in.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, UnmountFlags};
use rustix::pipe::SpliceFlags;

use crate::cpath::CPath;
use crate::mounts;
use crate::plan::MountAttr;
use crate::report::{Call, Context, Fault};
use crate::sys;

/// The most bytes of a secret.
pub(crate) const MAX_SIZE: u64 = 1 << 20;

/// A secret, as a step names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Secret {
    /// Which of the descriptors that the parent has opened.
    pub(crate) number: usize,
    /// Where in the sandbox.
    pub(crate) target: CPath,
    /// User and group who may read it, as the process that mounts knows them.
    pub(crate) owner: (u32, u32),
}

/// Where the file is until it is mounted by itself.
const STAGE: &CStr = c"/.nucleus";
const FILE: &CStr = c"/.nucleus/secret";

/// Puts a secret in its place, where a file is to mount it on. In the child.
pub(crate) fn place(secret: &Secret, source: BorrowedFd<'_>) -> Result<(), Fault> {
    let attr = MountAttr::NOSUID | MountAttr::NODEV | MountAttr::NOEXEC;
    mounts::make_dir(STAGE, 0o700)?;
    mounts::tmpfs(STAGE, c"mode=700,size=1m", attr)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = rustix::fs::openat(CWD, FILE, flags, Mode::RUSR).call(Call::Open)?;
    copy(source, &file)?;
    let (uid, gid) = secret.owner;
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    rustix::fs::fchown(&file, Some(uid), Some(gid)).call(Call::Chown)?;
    // A file that is open for writing could not be made read-only.
    drop(file);
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = rustix::mount::open_tree(CWD, FILE, flags).call(Call::OpenTree)?;
    let attr = (attr | MountAttr::RDONLY).bits();
    sys::mount_setattr(tree.as_fd(), attr, false, None).call(Call::MountSetattr)?;
    mounts::attach(tree.as_fd(), &secret.target)?;
    rustix::mount::unmount(STAGE, UnmountFlags::DETACH).call(Call::Umount)?;
    rustix::fs::rmdir(STAGE).call(Call::Rmdir)
}

fn copy(from: BorrowedFd<'_>, to: &OwnedFd) -> Result<(), Fault> {
    /// Any number: what is more comes the next time.
    const CHUNK: usize = 1 << 16;
    loop {
        let copied = match rustix::fs::sendfile(to, from, None, CHUNK) {
            // Not from a pipe.
            Err(Errno::INVAL) => {
                rustix::pipe::splice(from, None, to, None, CHUNK, SpliceFlags::empty())
                    .call(Call::Splice)?
            }
            other => other.call(Call::Sendfile)?,
        };
        if copied == 0 {
            return Ok(());
        }
    }
}

//! The steps that build the program's view of the file system, in the child.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, UnmountFlags,
};
use rustix::process::{Gid, Uid};

use crate::plan::{MAX_TREES, MountAttr};
use crate::report::{Call, Context, Fault};
use crate::source::Source;
use crate::sys;

/// Mounts that belong to no place yet.
pub(crate) struct Trees {
    mounts: [Option<OwnedFd>; MAX_TREES],
    taken: usize,
}

impl Trees {
    pub(crate) const fn new() -> Self {
        Self {
            mounts: [const { None }; MAX_TREES],
            taken: 0,
        }
    }

    /// Copies the mounts at a source and gives the copy its attributes, before
    /// anybody can see it.
    pub(crate) fn take(
        &mut self,
        source: &Source,
        attr: MountAttr,
        recursive: bool,
        ids: Option<BorrowedFd<'_>>,
    ) -> Result<(), Fault> {
        let opened;
        let (folder, path) = match source {
            Source::Path(path) => (CWD, &**path),
            Source::Opened { .. } => {
                opened = source.open()?;
                (opened.as_fd(), c"")
            }
        };
        self.keep(copy(folder, path, attr, recursive, ids)?)
    }

    /// A new proc of this PID namespace. The kernel makes it only while the
    /// old one can still be seen, so it must be taken before the root changes.
    pub(crate) fn take_proc(&mut self) -> Result<(), Fault> {
        let context =
            rustix::mount::fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC).call(Call::Fsopen)?;
        rustix::mount::fsconfig_create(&context).call(Call::Fsconfig)?;
        let attr = MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let mount = rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attr)
            .call(Call::Fsmount)?;
        self.keep(mount)
    }

    fn keep(&mut self, mount: OwnedFd) -> Result<(), Fault> {
        let slot = self.mounts.get_mut(self.taken).ok_or(Fault {
            call: Call::OpenTree,
            errno: Errno::MFILE,
        })?;
        *slot = Some(mount);
        self.taken += 1;
        Ok(())
    }

    /// Attaches what was taken as number `tree`.
    pub(crate) fn place(&self, tree: usize, path: &CStr) -> Result<(), Fault> {
        attach(self.get(tree)?, path)
    }

    /// What was taken as number `tree`.
    pub(crate) fn get(&self, tree: usize) -> Result<BorrowedFd<'_>, Fault> {
        let mount = self.mounts.get(tree).and_then(Option::as_ref);
        mount.map(AsFd::as_fd).ok_or(Fault {
            call: Call::MoveMount,
            errno: Errno::BADF,
        })
    }
}

/// Copies the mounts at a path, or at `folder` itself where there is none.
fn copy(
    folder: BorrowedFd<'_>,
    path: &CStr,
    attr: MountAttr,
    recursive: bool,
    ids: Option<BorrowedFd<'_>>,
) -> Result<OwnedFd, Fault> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    flags.set(OpenTreeFlags::AT_EMPTY_PATH, path.is_empty());
    // Where it fails, as it does before 6.15, the two calls that it stands
    // for say why. It would replace ids that are mapped already.
    if ids.is_none()
        && let Ok(tree) = sys::open_tree_attr(folder, path, flags, attr.bits())
    {
        return Ok(tree);
    }
    let tree = rustix::mount::open_tree(folder, path, flags).call(Call::OpenTree)?;
    sys::mount_setattr(tree.as_fd(), attr.bits(), recursive, ids).call(Call::MountSetattr)?;
    Ok(tree)
}

pub(crate) fn attach(mount: BorrowedFd<'_>, path: &CStr) -> Result<(), Fault> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS;
    rustix::mount::move_mount(mount, c"", CWD, path, flags).call(Call::MoveMount)
}

pub(crate) fn make_private() -> Result<(), Fault> {
    let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change(c"/", flags).call(Call::Mount)
}

/// Mounts an empty file system and makes it the root: from here on a path means
/// one of the sandbox, unless it has a `..` that leads above the root.
pub(crate) fn enter_root(options: &CStr) -> Result<(), Fault> {
    // A folder that is always there, and that nothing is taken from any more.
    let place = c"/proc";
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    rustix::mount::mount(c"sandbox", place, c"tmpfs", flags, options).call(Call::Mount)?;
    change_root(place)
}

/// Makes a mount the root and the working directory. The root before is stacked
/// on it (pivot_root(2), of twice the same).
pub(crate) fn change_root(place: &CStr) -> Result<(), Fault> {
    rustix::process::chdir(place).call(Call::Chdir)?;
    rustix::process::pivot_root(c".", c".").call(Call::PivotRoot)
}

/// Lets go of the root that [`change_root`] has stacked on the new one.
///
/// The kernel waits for every processor to leave what it does in the kernel,
/// which takes as long as to make a network namespace, if one does that.
pub(crate) fn leave_root() -> Result<(), Fault> {
    rustix::mount::unmount(c".", UnmountFlags::DETACH).call(Call::Umount)?;
    rustix::process::chdir(c"/").call(Call::Chdir)
}

/// Makes a folder with this mode: the umask is 0 while init runs its steps.
pub(crate) fn make_dir(path: &CStr, mode: u32) -> Result<(), Fault> {
    match rustix::fs::mkdirat(CWD, path, Mode::from_raw_mode(mode)) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(Fault {
            call: Call::Mkdir,
            errno,
        }),
    }
}

/// Mounts a folder of the root over itself, so that it stays writable when the
/// root does not: a file system of its own takes three times as long.
pub(crate) fn private(
    path: &CStr,
    mode: u32,
    owner: Option<(u32, u32)>,
    attr: MountAttr,
) -> Result<(), Fault> {
    let mode = Mode::from_raw_mode(mode);
    match rustix::fs::mkdirat(CWD, path, mode) {
        // Something that lies below it may have come first.
        Err(Errno::EXIST) => rustix::fs::chmod(path, mode).call(Call::Chmod)?,
        made => made.call(Call::Mkdir)?,
    }
    if let Some((uid, gid)) = owner {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        rustix::fs::chown(path, Some(uid), Some(gid)).call(Call::Chown)?;
    }
    let folder = copy(CWD, path, attr, false, None)?;
    attach(folder.as_fd(), path)
}

/// A file that is there keeps what it has, if nothing is to be written.
pub(crate) fn write_file(path: &CStr, content: &[u8]) -> Result<(), Fault> {
    let mode = Mode::from_raw_mode(0o644);
    if content.is_empty() {
        return match rustix::fs::mknodat(CWD, path, FileType::RegularFile, mode, 0) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(Fault {
                call: Call::Open,
                errno,
            }),
        };
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = rustix::fs::openat(CWD, path, flags, mode).call(Call::Open)?;
    let mut rest = content;
    while !rest.is_empty() {
        let written = rustix::io::write(&file, rest).call(Call::Write)?;
        rest = rest.get(written..).unwrap_or_default();
    }
    Ok(())
}

/// Writes a file where there is none, or in place of what is there.
///
/// In another user's folder there can be none: the program then goes without,
/// as it does where nothing of the sandbox is in its root directory.
pub(crate) fn provide_file(path: &CStr, content: &[u8], replace: bool) -> Result<(), Fault> {
    // A file to mount something over may be any.
    if content.is_empty() && is_file(path) {
        return Ok(());
    }
    if replace {
        match rustix::fs::unlink(path) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => {
                return Err(Fault {
                    call: Call::Unlink,
                    errno,
                });
            }
        }
    }
    match write_file(path, content) {
        Err(fault) if fault.errno == Errno::EXIST => Ok(()),
        Err(fault) if fault.errno == Errno::ACCESS && !replace => Ok(()),
        other => other,
    }
}

fn is_file(path: &CStr) -> bool {
    rustix::fs::lstat(path)
        .is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::RegularFile)
}

pub(crate) fn symlink(target: &CStr, path: &CStr) -> Result<(), Fault> {
    rustix::fs::symlinkat(target, CWD, path).call(Call::Symlink)
}

pub(crate) fn tmpfs(path: &CStr, options: &CStr, attr: MountAttr) -> Result<(), Fault> {
    let mut flags = MountFlags::empty();
    for (attr_flag, flag) in [
        (MountAttr::RDONLY, MountFlags::RDONLY),
        (MountAttr::NOSUID, MountFlags::NOSUID),
        (MountAttr::NODEV, MountFlags::NODEV),
        (MountAttr::NOEXEC, MountFlags::NOEXEC),
    ] {
        if attr.contains(attr_flag) {
            flags |= flag;
        }
    }
    rustix::mount::mount(c"sandbox", path, c"tmpfs", flags, options).call(Call::Mount)
}

/// Where new terminals are.
const DEVPTS: &CStr = c"/dev/pts";

pub(crate) fn devpts() -> Result<(), Fault> {
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    let options = c"newinstance,ptmxmode=0666,mode=0620";
    rustix::mount::mount(c"devpts", DEVPTS, c"devpts", flags, options).call(Call::Mount)
}

/// A file that the kernel does not have needs no mask.
pub(crate) fn mask_file(path: &CStr) -> Result<(), Fault> {
    unless_missing(rustix::mount::mount_bind(c"/dev/null", path).call(Call::Mount))
}

/// Covers a folder with [`DEVPTS`], which is empty until terminals are mounted
/// there: a file system for each mask takes five times as long.
pub(crate) fn mask_dir(path: &CStr) -> Result<(), Fault> {
    let attr = MountAttr::RDONLY | MountAttr::NOSUID | MountAttr::NODEV | MountAttr::NOEXEC;
    let empty = copy(CWD, DEVPTS, attr, false, None)?;
    unless_missing(attach(empty.as_fd(), path))
}

fn unless_missing(result: Result<(), Fault>) -> Result<(), Fault> {
    match result {
        Err(fault) if fault.errno == Errno::NOENT => Ok(()),
        other => other,
    }
}

pub(crate) fn seal(path: &CStr) -> Result<(), Fault> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let mount = rustix::fs::openat(CWD, path, flags, Mode::empty()).call(Call::Open)?;
    sys::mount_setattr(mount.as_fd(), MountAttr::RDONLY.bits(), false, None)
        .call(Call::MountSetattr)
}

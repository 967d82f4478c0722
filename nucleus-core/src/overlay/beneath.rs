//! Reaching files beneath a folder: no link is followed, no mount crossed.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::buffer::spare_capacity;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, ResolveFlags, Stat, XattrFlags};
use rustix::io::Errno;

/// How nothing but what is beneath can be reached (openat2(2)).
const BENEATH: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

/// Opens something beneath `root`; an empty path is `root` itself.
pub(super) fn open(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let mut flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    if !flags.contains(OFlags::PATH) {
        // Whatever it is, opening it must neither block nor bind.
        flags |= OFlags::NONBLOCK | OFlags::NOCTTY;
    }
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    rustix::fs::openat2(root, path, flags, Mode::empty(), BENEATH)
}

/// A folder to reach its entries by.
pub(super) fn folder(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    open(root, path, OFlags::PATH | OFlags::DIRECTORY)
}

/// What an entry of a folder is, itself; `None` when there is none.
pub(super) fn look(folder: BorrowedFd<'_>, name: &CStr) -> Result<Option<Stat>, Errno> {
    match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

pub(super) fn type_of(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Opens a file or folder for reading that its mode may forbid to read: the
/// upper layer is nobody's but ours, and only its owner's mode stands between.
pub(super) fn open_private(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    match open(root, path, OFlags::RDONLY) {
        Err(Errno::ACCESS) => {}
        other => return other,
    }
    let found = open(root, path, OFlags::PATH)?;
    rustix::fs::chmod(descriptor(found.as_fd()), Mode::RWXU)?;
    open(root, path, OFlags::RDONLY)
}

/// The path of an open file of this process, which leads to that file itself.
pub(super) fn descriptor(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// The names in a folder that was opened for reading, sorted.
pub(super) fn names(folder: BorrowedFd<'_>) -> Result<Vec<CString>, Errno> {
    let mut buffer = [MaybeUninit::uninit(); 8192];
    let mut entries = RawDir::new(folder, &mut buffer);
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// The value of an extended attribute, if the file has it.
pub(super) fn attribute(file: BorrowedFd<'_>, name: &CStr) -> Result<Option<Vec<u8>>, Errno> {
    // XATTR_SIZE_MAX, `include/uapi/linux/limits.h`.
    let mut value = Vec::with_capacity(65536);
    match rustix::fs::fgetxattr(file, name, spare_capacity(&mut value)) {
        Ok(_length) => Ok(Some(value)),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// The names of a file's extended attributes, sorted.
pub(super) fn attributes(file: BorrowedFd<'_>) -> Result<Vec<CString>, Errno> {
    let mut list = Vec::with_capacity(65536);
    match rustix::fs::flistxattr(file, spare_capacity(&mut list)) {
        Ok(_length) => {}
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(errno) => return Err(errno),
    }
    let mut names: Vec<_> = list
        .split_inclusive(|&byte| byte == 0)
        .filter_map(|name| CStr::from_bytes_with_nul(name).ok())
        .map(CStr::to_owned)
        .collect();
    names.sort();
    Ok(names)
}

pub(super) fn set_attribute(file: BorrowedFd<'_>, name: &CStr, value: &[u8]) -> Result<(), Errno> {
    rustix::fs::fsetxattr(file, name, value, XattrFlags::empty())
}

/// Copies what a file has, and leaves holes where it has none: its size may be
/// far beyond what there is room for.
pub(super) fn copy(from: &File, to: &File, size: u64) -> io::Result<()> {
    use std::io::{Read as _, Seek as _, SeekFrom};
    to.set_len(size)?;
    let (mut from, mut to) = (from, to);
    let mut position = 0;
    loop {
        let data = match rustix::fs::seek(from, rustix::fs::SeekFrom::Data(position)) {
            Ok(data) => data,
            // Nothing but a hole, to the end.
            Err(Errno::NXIO) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        };
        let hole = rustix::fs::seek(from, rustix::fs::SeekFrom::Hole(data))?;
        from.seek(SeekFrom::Start(data))?;
        to.seek(SeekFrom::Start(data))?;
        io::copy(&mut from.take(hole - data), &mut to)?;
        position = hole;
    }
}

/// Whether two files have the same bytes.
pub(super) fn same_content(mut one: &File, mut other: &File) -> io::Result<bool> {
    use std::io::Read as _;
    let (mut left, mut right) = (vec![0; 65536], vec![0; 65536]);
    loop {
        let length = one.read(&mut left)?;
        let Some(right) = right.get_mut(..length) else {
            return Ok(false);
        };
        if length == 0 {
            return Ok(other.read(&mut [0])? == 0);
        }
        match other.read_exact(right) {
            Ok(()) if left.starts_with(right) => {}
            Ok(()) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}

//! Calls on files, with results in the layout of the caller's.

use std::ffi::CString;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use super::last_errno;

/// `truncate(2)`.
pub(crate) fn truncate(path: &str, length: u64) -> Result<(), Errno> {
    let path = CString::new(path).map_err(|_nul| Errno::INVAL)?;
    let length = i64::try_from(length).map_err(|_large| Errno::INVAL)?;
    // SAFETY: the kernel reads the string, which ends with a NUL.
    let ret = unsafe { libc::truncate(path.as_ptr(), length) };
    if ret < 0 { Err(last_errno()) } else { Ok(()) }
}

/// `RLIMIT_FSIZE` of another process.
pub(crate) fn file_size_limit(process: u32) -> Result<u64, Errno> {
    let mut limit = libc::rlimit64 {
        rlim_cur: 0,
        rlim_max: 0,
    };
    let process = i32::try_from(process).map_err(|_none| Errno::SRCH)?;
    // SAFETY: nothing is set, and the kernel writes one structure.
    let ret = unsafe {
        libc::prlimit64(
            process,
            libc::RLIMIT_FSIZE,
            std::ptr::null(),
            &raw mut limit,
        )
    };
    if ret < 0 {
        Err(last_errno())
    } else {
        Ok(limit.rlim_cur)
    }
}

/// `fstat(2)`.
pub(crate) fn stat(fd: BorrowedFd<'_>) -> Result<libc::stat, Errno> {
    // SAFETY: a structure of numbers, which may be zero.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one structure.
    let ret = unsafe { libc::fstat(fd.as_raw_fd(), &raw mut stat) };
    if ret < 0 { Err(last_errno()) } else { Ok(stat) }
}

/// `statx(2)` of what a descriptor holds.
pub(crate) fn statx(fd: BorrowedFd<'_>, flags: i32, mask: u32) -> Result<libc::statx, Errno> {
    // SAFETY: a structure of numbers, which may be zero.
    let mut stat: libc::statx = unsafe { std::mem::zeroed() };
    // SAFETY: the path is an empty string, and the kernel writes one structure.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_statx,
            fd.as_raw_fd(),
            c"".as_ptr(),
            flags,
            mask,
            &raw mut stat,
        )
    };
    if ret < 0 { Err(last_errno()) } else { Ok(stat) }
}

/// `fstatfs(2)`.
pub(crate) fn statfs(fd: BorrowedFd<'_>) -> Result<libc::statfs, Errno> {
    // SAFETY: a structure of numbers, which may be zero.
    let mut stat: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one structure.
    let ret = unsafe { libc::fstatfs(fd.as_raw_fd(), &raw mut stat) };
    if ret < 0 { Err(last_errno()) } else { Ok(stat) }
}

/// A structure in the kernel's layout, which libc's is on 64-bit machines.
pub(crate) fn stat_bytes(stat: &libc::stat) -> &[u8] {
    // SAFETY: every byte was set, by zeroing if not by the kernel.
    unsafe { bytes(stat) }
}

/// As [`stat_bytes`].
pub(crate) fn statx_bytes(stat: &libc::statx) -> &[u8] {
    // SAFETY: every byte was set, by zeroing if not by the kernel.
    unsafe { bytes(stat) }
}

/// As [`stat_bytes`].
pub(crate) fn statfs_bytes(stat: &libc::statfs) -> &[u8] {
    // SAFETY: every byte was set, by zeroing if not by the kernel.
    unsafe { bytes(stat) }
}

/// The bytes of a structure.
///
/// # Safety
///
/// All of them are initialised, padding included.
unsafe fn bytes<T>(value: &T) -> &[u8] {
    let start = std::ptr::from_ref(value).cast::<u8>();
    // SAFETY: the memory is the value's, borrowed as long as the slice lives,
    // and initialised as the caller promises.
    unsafe { std::slice::from_raw_parts(start, size_of::<T>()) }
}

//! Whether the kernel has a feature, asked by calls that cannot succeed.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// Whether the kernel has the system call with this number.
///
/// Each argument is invalid for every call: -1 as a descriptor, an address, a
/// size and a set of flags. Only a missing call says ENOSYS.
pub(crate) fn has_call(number: libc::c_long) -> bool {
    // SAFETY: -1 is no address, so the kernel neither reads nor writes memory.
    let answer = unsafe { libc::syscall(number, -1_i64, -1_i64, -1_i64, -1_i64, -1_i64, -1_i64) };
    answer != -1 || io::Error::last_os_error().raw_os_error() != Some(libc::ENOSYS)
}

/// Whether seccomp knows these flags of a new filter: with a null filter it
/// says EFAULT if so and EINVAL if not (seccomp(2)).
pub(crate) fn has_filter_flags(flags: libc::c_ulong) -> io::Result<bool> {
    let filter = std::ptr::null::<u8>();
    // SAFETY: the null filter is refused before anything is changed.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            filter,
        )
    };
    let error = io::Error::last_os_error();
    match (answer, error.raw_os_error()) {
        (-1, Some(libc::EFAULT)) => Ok(true),
        (-1, Some(libc::EINVAL)) => Ok(false),
        _ => Err(error),
    }
}

/// Asks a listener of notifications to wake its peers on the same processor.
pub(crate) fn set_sync_wake_up(listener: BorrowedFd<'_>) -> io::Result<bool> {
    // include/uapi/linux/seccomp.h
    const SECCOMP_IOCTL_NOTIF_SET_FLAGS: libc::Ioctl = 0x4008_2104;
    const SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP: u64 = 1;
    // SAFETY: this request takes its flags by value.
    let answer = unsafe {
        libc::ioctl(
            listener.as_raw_fd(),
            SECCOMP_IOCTL_NOTIF_SET_FLAGS,
            SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP,
        )
    };
    let error = io::Error::last_os_error();
    match (answer, error.raw_os_error()) {
        (0, _) => Ok(true),
        (_, Some(libc::EINVAL)) => Ok(false),
        _ => Err(error),
    }
}

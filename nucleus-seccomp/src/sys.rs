//! Every raw system call of the crate.

#![allow(unsafe_code, reason = "the one place for raw system calls")]

use crate::{Insn, InstallError, InstallFlags};
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// `struct sock_fprog`: libc's is the same, with its own instruction type.
#[repr(C)]
struct Fprog {
    len: u16,
    filter: *const Insn,
}

/// `seccomp(SECCOMP_SET_MODE_FILTER)`. No allocation, no lock.
pub(crate) fn install(
    insns: &[Insn],
    flags: InstallFlags,
) -> Result<Option<OwnedFd>, InstallError> {
    let Ok(len) = u16::try_from(insns.len()) else {
        return Err(InstallError::from_errno(libc::EINVAL, flags));
    };
    let fprog = Fprog {
        len,
        filter: insns.as_ptr(),
    };
    // SAFETY: the kernel reads `len` instructions of 8 bytes at `filter`,
    // which `insns` keeps alive, and writes nothing.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags.bits(),
            &raw const fprog,
        )
    };
    if ret < 0 {
        let errno = io::Error::last_os_error().raw_os_error();
        return Err(InstallError::from_errno(errno.unwrap_or(libc::EIO), flags));
    }
    if flags.contains(InstallFlags::NEW_LISTENER) {
        let Ok(fd) = i32::try_from(ret) else {
            return Err(InstallError::from_errno(libc::EBADF, flags));
        };
        // SAFETY: with this flag the call returns a descriptor that is ours.
        return Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) }));
    }
    if ret > 0 {
        return Err(InstallError::ThreadDiverged { tid: ret });
    }
    Ok(None)
}

//! Keyrings and capabilities.

use std::ffi::{c_char, c_int};
use std::ptr;

use rustix::io::Errno;
use syscalls::{Sysno, syscall};

use super::result;

/// `KEYCTL_JOIN_SESSION_KEYRING`, `include/uapi/linux/keyctl.h`.
const KEYCTL_JOIN_SESSION_KEYRING: c_int = 1;

/// Replaces the session keyring by an empty one. A kernel without keyrings
/// has nothing to replace; and a filter of an outer sandbox that forbids this
/// call (the kernel itself never answers it with EPERM) binds the program too.
pub(crate) fn new_session_keyring() -> Result<(), Errno> {
    // SAFETY: no name is given, so nothing is read from memory.
    let ret = unsafe {
        syscall!(
            Sysno::keyctl,
            KEYCTL_JOIN_SESSION_KEYRING,
            ptr::null::<c_char>()
        )
    };
    match result(ret) {
        Ok(_) | Err(Errno::NOSYS | Errno::PERM) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Drops every capability that the kernel knows from the bounding set, but
/// those of `keep` (bit N for capability N).
pub(crate) fn limit_bounding_set(keep: u64) -> Result<(), Errno> {
    for capability in 0..64_u32 {
        if keep & 1 << capability != 0 {
            continue;
        }
        // SAFETY: PR_CAPBSET_DROP takes a number.
        let ret = unsafe { syscall!(Sysno::prctl, libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
        match result(ret) {
            Ok(_) => {}
            // One past the last.
            Err(Errno::INVAL) if capability > 0 => return Ok(()),
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// The bounding set, bit N for capability N.
pub(crate) fn bounding_set() -> Result<u64, Errno> {
    let mut bounding = 0;
    for capability in 0..64_u32 {
        // SAFETY: PR_CAPBSET_READ takes a number.
        let ret = unsafe { syscall!(Sysno::prctl, libc::PR_CAPBSET_READ, capability, 0, 0, 0) };
        match result(ret) {
            Ok(is_in) => bounding |= u64::from(is_in == 1) << capability,
            // One past the last.
            Err(Errno::INVAL) if capability > 0 => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(bounding)
}

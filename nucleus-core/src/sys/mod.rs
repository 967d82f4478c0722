//! Every raw system call of the crate that rustix does not offer.
//!
//! Most of them run between clone and exec, in a copy of a process that may
//! have had other threads: nothing here allocates or takes a lock, unless its
//! documentation says that it is for the parent.
//!
//! Nor does any of it use the C library's errno, which belongs to a thread of
//! its own: a process that shares another's memory shares that, too.

#![allow(unsafe_code, reason = "the one place for raw system calls")]

mod clone;
mod code;
mod errand;
mod exec;
mod landlock;
mod memory;
mod mount;
mod network;
mod privileges;
mod signals;
mod stack;

use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::ptr;

use rustix::io::Errno;
use rustix::process::Pid;
use syscalls::{Sysno, syscall};

pub(crate) use self::clone::{Cloned, clone_process, clone_sharing_memory};
pub(crate) use self::code::Code;
pub use self::code::give_back_code;
pub(crate) use self::errand::Errand;
pub(crate) use self::exec::{CStringArray, execve, exit};
pub use self::landlock::landlock_abi;
pub(crate) use self::landlock::{
    landlock_allow, landlock_allow_port, landlock_restrict, landlock_ruleset,
};
pub(crate) use self::memory::{SharedWords, overwrite};
pub(crate) use self::mount::{mount_setattr, open_tree_attr};
pub(crate) use self::network::{loopback_up, network_of, unshare_network, unshare_time};
pub(crate) use self::privileges::{bounding_set, limit_bounding_set, new_session_keyring};
pub(crate) use self::signals::{
    Arrived, default_signal, next_signal, pidfd_send_signal, program_signals, signalfd_all,
};
pub(crate) use self::stack::Stack;

/// A child that has ended and waits to be reaped, if there is one. ECHILD when
/// there are no children at all. rustix does not say which child it is.
pub(crate) fn ended_child() -> Result<Option<Pid>, Errno> {
    // Stays zero when no child has ended (waitid(2)).
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: the kernel fills the siginfo, and reads nothing.
    let ret = unsafe {
        syscall!(
            Sysno::waitid,
            libc::P_ALL,
            0,
            info.as_mut_ptr(),
            libc::WEXITED | libc::WNOHANG | libc::WNOWAIT,
            ptr::null::<libc::rusage>()
        )
    };
    result(ret)?;
    // SAFETY: zeroed at first, so every byte has a value.
    let info = unsafe { info.assume_init() };
    // SAFETY: zero, or what the kernel wrote of a child: the field is there.
    Ok(Pid::from_raw(unsafe { info.si_pid() }))
}

/// Closes every descriptor but `keep`.
pub(crate) fn close_all_but<const N: usize>(mut keep: [RawFd; N]) -> Result<(), Errno> {
    keep.sort_unstable();
    let mut first = 0;
    for fd in keep {
        let fd = fd.unsigned_abs();
        if fd > first {
            close_range(first, fd - 1, 0)?;
        }
        first = fd + 1;
    }
    close_range(first, u32::MAX, 0)
}

fn close_range(first: u32, last: u32, flags: libc::c_uint) -> Result<(), Errno> {
    // SAFETY: takes no pointer. The descriptors that it closes in a cloned
    // child are the child's own; the parent's objects do not notice.
    let ret = unsafe { syscall!(Sysno::close_range, first, last, flags) };
    result(ret).map(drop)
}

fn new_fd(ret: Result<usize, syscalls::Errno>) -> Result<OwnedFd, Errno> {
    let fd = RawFd::try_from(result(ret)?).map_err(|_too_large| Errno::BADF)?;
    // SAFETY: the kernel has just made this descriptor for the caller.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn result(ret: Result<usize, syscalls::Errno>) -> Result<usize, Errno> {
    ret.map_err(|errno| Errno::from_raw_os_error(errno.into_raw()))
}

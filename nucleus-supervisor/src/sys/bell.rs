//! A process whose only use is to stop: a signal to it ends a tracer's wait.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

use super::last_errno;

/// Forks a process that does nothing. It holds no descriptor, has no exit
/// signal, and dies with the calling thread. Its id, and a pidfd.
pub(crate) fn fork() -> Result<(u32, OwnedFd), Errno> {
    let parent = std::process::id();
    let mut fd: libc::c_int = -1;
    let flags = libc::CLONE_PIDFD;
    // SAFETY: without CLONE_VM this is a fork: the child has a copy of the
    // stack, and of this process it uses nothing else, and no lock.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, &raw mut fd, 0, 0) };
    match u32::try_from(pid) {
        Ok(0) => wait_for_the_end(parent),
        // SAFETY: the kernel has just returned this descriptor.
        Ok(pid) => Ok((pid, unsafe { OwnedFd::from_raw_fd(fd) })),
        Err(_negative) => Err(last_errno()),
    }
}

/// What the child does: system calls on plain values alone.
fn wait_for_the_end(parent: u32) -> ! {
    // SAFETY: plain values.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    // SAFETY: plain values; nothing of this process uses a descriptor again.
    unsafe { libc::syscall(libc::SYS_close_range, 0, u32::MAX, 0) };
    // SAFETY: no arguments.
    if unsafe { libc::getppid() }.cast_unsigned() != parent {
        // SAFETY: ends the process without any of its destructors.
        unsafe { libc::_exit(0) };
    }
    loop {
        // SAFETY: no arguments.
        unsafe { libc::pause() };
    }
}

/// SIGSTOP, which cannot be blocked: the tracer hears of it and lets it have no
/// effect.
pub(crate) fn ring(pidfd: &OwnedFd) -> Result<(), Errno> {
    // SAFETY: plain values, and no information about the signal.
    let sent = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            libc::SIGSTOP,
            0,
            0,
        )
    };
    if sent < 0 { Err(last_errno()) } else { Ok(()) }
}

//! Dispositions, masks and signals that are read or sent.

use std::ffi::c_int;
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;

use rustix::io::Errno;
use syscalls::{Sysno, syscall};

use super::{new_fd, result};

/// What `CLONE_CLEAR_SIGHAND` does: handlers become the default, ignored
/// signals stay ignored. Signals that cannot be changed are passed over.
pub(super) fn reset_handlers() {
    for signal in 1..=64 {
        let mut action = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: the kernel fills `action`, or fails and leaves the zeroes.
        let got = unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) };
        if got != 0 {
            continue;
        }
        // SAFETY: all-zero bytes are a valid sigaction, and so is the kernel's.
        let action = unsafe { action.assume_init() };
        if action.sa_sigaction != libc::SIG_IGN {
            default_signal(signal);
        }
    }
}

/// Gives a signal its default disposition. SIGKILL and SIGSTOP have no other.
pub(crate) fn default_signal(signal: c_int) {
    // SAFETY: SIG_DFL installs no code.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

/// What a program expects to start with: SIGPIPE kills it (Rust's runtime
/// ignores it in this process), and no signal is blocked.
pub(crate) fn program_signals() -> Result<(), Errno> {
    default_signal(libc::SIGPIPE);
    set_signal_mask(0).map(drop)
}

/// Sets the mask of the calling thread, the C library's own signals included,
/// and returns the one before.
pub(super) fn set_signal_mask(mask: u64) -> Result<u64, Errno> {
    let mut old: u64 = 0;
    // SAFETY: both sets are 8 bytes long, as the size says.
    let ret = unsafe {
        syscall!(
            Sysno::rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const mask,
            &raw mut old,
            mem::size_of::<u64>()
        )
    };
    result(ret)?;
    Ok(old)
}

/// A close-on-exec, non-blocking descriptor that reads every signal.
pub(crate) fn signalfd_all() -> Result<OwnedFd, Errno> {
    let mask = u64::MAX;
    // SAFETY: the set is 8 bytes long, as the size says.
    let ret = unsafe {
        syscall!(
            Sysno::signalfd4,
            // A new one: no descriptor.
            usize::MAX,
            &raw const mask,
            mem::size_of::<u64>(),
            libc::SFD_CLOEXEC | libc::SFD_NONBLOCK
        )
    };
    new_fd(ret)
}

/// A signal that was read from [`signalfd_all`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrived {
    pub(crate) signal: c_int,
    /// A process sent it; the terminal and the kernel did not.
    pub(crate) from_process: bool,
}

/// The next signal, or `None` when none is there.
pub(crate) fn next_signal(fd: BorrowedFd<'_>) -> Option<Arrived> {
    let mut info = MaybeUninit::<libc::signalfd_siginfo>::uninit();
    let size = mem::size_of::<libc::signalfd_siginfo>();
    // SAFETY: the buffer is as long as the size says.
    let ret = unsafe { syscall!(Sysno::read, fd.as_raw_fd(), info.as_mut_ptr(), size) };
    if ret != Ok(size) {
        return None;
    }
    // SAFETY: the kernel has filled it.
    let info = unsafe { info.assume_init() };
    Some(Arrived {
        signal: c_int::try_from(info.ssi_signo).ok()?,
        // SI_USER, SI_QUEUE, SI_TKILL: si_code of kill(2) and its kin is <= 0.
        from_process: info.ssi_code <= 0,
    })
}

/// Sends a signal by number; rustix has no safe name for real-time signals.
pub(crate) fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: c_int) -> Result<(), Errno> {
    // SAFETY: no siginfo is given, so nothing is read from memory.
    let ret = unsafe {
        syscall!(
            Sysno::pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            ptr::null::<libc::siginfo_t>(),
            0
        )
    };
    result(ret).map(drop)
}

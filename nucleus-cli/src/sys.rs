//! The raw calls of this crate: ignored signals, blocked ones, read from a file
//! descriptor, and the personality of what is started.

#![allow(
    unsafe_code,
    reason = "signal(2), signalfd(2), the signal mask and personality(2) have no safe wrapper here"
)]

use std::fs::File;
use std::io;
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Makes a write to a pipe or socket that nobody reads fail with EPIPE.
pub(crate) fn ignore_broken_pipes() {
    // SAFETY: SIG_IGN installs no code. There is no error for this signal.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

/// A signal that arrived, and whether the kernel sent it by itself (the
/// terminal's Ctrl-C reaches every process of the foreground group) or a
/// process did by kill(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arrived {
    pub(crate) signal: i32,
    pub(crate) from_kernel: bool,
}

/// `SI_KERNEL`, `include/uapi/asm-generic/siginfo.h`.
const SI_KERNEL: i32 = 0x80;

/// Blocks `signals` in the calling thread and in those it starts from now on,
/// and returns a non-blocking, close-on-exec signalfd(2) that reads them.
pub(crate) fn block_and_open(signals: &[i32]) -> io::Result<OwnedFd> {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the whole set.
    check(unsafe { libc::sigemptyset(set.as_mut_ptr()) })?;
    // SAFETY: initialised by the call above.
    let mut set = unsafe { set.assume_init() };
    for &signal in signals {
        // SAFETY: `set` is an initialised signal set.
        check(unsafe { libc::sigaddset(&raw mut set, signal) })?;
    }
    // SAFETY: `set` is initialised; the old mask is not asked for.
    match unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) } {
        0 => {}
        errno => return Err(io::Error::from_raw_os_error(errno)),
    }
    // SAFETY: `set` is initialised; -1 asks for a new descriptor.
    let fd = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    check(fd)?;
    // SAFETY: the kernel has just returned this descriptor; nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Takes the next signal from a signalfd, or `None` when there is none.
pub(crate) fn next_signal(fd: BorrowedFd<'_>) -> io::Result<Option<Arrived>> {
    let size = mem::size_of::<libc::signalfd_siginfo>();
    let mut info = MaybeUninit::<libc::signalfd_siginfo>::uninit();
    // SAFETY: the buffer is as long as the size says.
    let read = unsafe { libc::read(fd.as_raw_fd(), info.as_mut_ptr().cast(), size) };
    match usize::try_from(read) {
        Ok(n) if n == size => {}
        Ok(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
        Err(_negative) => {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(None),
                _ => Err(error),
            };
        }
    }
    // SAFETY: the kernel has filled the whole structure.
    let info = unsafe { info.assume_init() };
    Ok(Some(Arrived {
        signal: i32::try_from(info.ssi_signo).map_err(|_too_large| io::ErrorKind::InvalidData)?,
        from_kernel: info.ssi_code == SI_KERNEL,
    }))
}

/// Takes over a descriptor that this process was started with, and keeps it
/// from the programs that it starts.
pub(crate) fn take_inherited(fd: u32) -> io::Result<File> {
    let fd = i32::try_from(fd).map_err(|_too_large| io::Error::from_raw_os_error(libc::EBADF))?;
    // SAFETY: F_SETFD takes a plain value; a number that is not open is EBADF.
    check(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    // SAFETY: it is open, and whoever started nucleus has named it for this
    // use alone: it is opened before nucleus opens anything by itself.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Turns the randomisation of addresses off for what this thread starts from
/// now on.
pub(crate) fn fix_addresses() -> io::Result<()> {
    // SAFETY: plain values; this one reads.
    let now = unsafe { libc::personality(0xffff_ffff) };
    check(now)?;
    let wanted = libc::c_ulong::from((now | libc::ADDR_NO_RANDOMIZE).cast_unsigned());
    // SAFETY: plain values.
    check(unsafe { libc::personality(wanted) })
}

fn check(result: i32) -> io::Result<()> {
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

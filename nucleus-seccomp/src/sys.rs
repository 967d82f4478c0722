//! Every raw call of the crate.

#![allow(unsafe_code, reason = "the one place for raw system calls")]

pub(crate) mod libseccomp;

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr;

use syscalls::{Sysno, syscall};

use crate::{DumpError, Insn, InstallError, InstallFlags, MAX_INSNS};

/// `struct sock_fprog`: libc's is the same, with its own instruction type.
#[repr(C)]
struct Fprog {
    len: u16,
    filter: *const Insn,
}

/// `seccomp(SECCOMP_SET_MODE_FILTER)`. No allocation, no lock, no errno.
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
        syscall!(
            Sysno::seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags.bits(),
            &raw const fprog
        )
    };
    let ret = ret.map_err(|errno| InstallError::from_errno(errno.into_raw(), flags))?;
    if flags.contains(InstallFlags::NEW_LISTENER) {
        let Ok(fd) = i32::try_from(ret) else {
            return Err(InstallError::from_errno(libc::EBADF, flags));
        };
        // SAFETY: with this flag the call returns a descriptor that is ours.
        return Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) }));
    }
    match ret.try_into() {
        Ok(0) | Err(_) => Ok(None),
        Ok(tid) => Err(InstallError::ThreadDiverged { tid }),
    }
}

/// A thread that is stopped under ptrace, until dropped.
pub(crate) struct Tracee {
    pid: i32,
    /// The signal that was on its way when it stopped.
    signal: i32,
}

impl Tracee {
    /// Seizes and interrupts a thread, and waits for the stop.
    pub(crate) fn stop(pid: i32) -> Result<Self, DumpError> {
        let failed = |step| move |source| DumpError::Ptrace { pid, step, source };
        ptrace(libc::PTRACE_SEIZE, pid, 0, ptr::null_mut()).map_err(failed("PTRACE_SEIZE"))?;
        // From here on, dropping detaches.
        let mut tracee = Self { pid, signal: 0 };
        ptrace(libc::PTRACE_INTERRUPT, pid, 0, ptr::null_mut())
            .map_err(failed("PTRACE_INTERRUPT"))?;
        let mut status = 0;
        loop {
            // SAFETY: writes one int through a pointer to a local.
            let ret = unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) };
            if ret == pid {
                break;
            }
            let source = io::Error::last_os_error();
            if source.kind() != io::ErrorKind::Interrupted {
                return Err(failed("waitpid")(source));
            }
        }
        if !libc::WIFSTOPPED(status) {
            return Err(DumpError::Gone { pid });
        }
        // An event stop carries no signal of the thread's own; another stop
        // is a signal on its way, which detaching must pass on.
        if status >> 16 == 0 {
            tracee.signal = libc::WSTOPSIG(status);
        }
        Ok(tracee)
    }

    /// Filter number `index`, counted from the oldest; `None` behind the last.
    pub(crate) fn filter(&self, index: usize) -> Result<Option<Vec<Insn>>, DumpError> {
        let failed = |source: io::Error| {
            let pid = self.pid;
            match source.raw_os_error() {
                Some(libc::EACCES) => DumpError::Denied { pid },
                Some(libc::EINVAL) => DumpError::Unsupported { pid },
                Some(libc::EMEDIUMTYPE) => DumpError::NotClassic { pid },
                _ => DumpError::Ptrace {
                    pid,
                    step: "PTRACE_SECCOMP_GET_FILTER",
                    source,
                },
            }
        };
        // Room for the longest filter there is, and one call: another thread
        // of the process can put a further filter on this one at any time.
        let mut insns = vec![Insn::stmt(0, 0); MAX_INSNS];
        let data = insns.as_mut_ptr().cast();
        match ptrace(PTRACE_SECCOMP_GET_FILTER, self.pid, index, data) {
            Ok(len) => insns.truncate(usize::try_from(len).unwrap_or_default()),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
            Err(error) => return Err(failed(error)),
        }
        Ok(Some(insns))
    }
}

impl Drop for Tracee {
    fn drop(&mut self) {
        // A thread that is gone cannot be detached, and needs not be.
        let data = ptr::without_provenance_mut(usize::try_from(self.signal).unwrap_or_default());
        drop(ptrace(libc::PTRACE_DETACH, self.pid, 0, data));
    }
}

/// `include/uapi/linux/ptrace.h`; libc has no name for it.
const PTRACE_SECCOMP_GET_FILTER: libc::c_uint = 0x420c;

fn ptrace(
    request: libc::c_uint,
    pid: i32,
    addr: usize,
    data: *mut libc::c_void,
) -> io::Result<libc::c_long> {
    // SAFETY: of the requests made here only PTRACE_SECCOMP_GET_FILTER writes
    // to memory: at most MAX_INSNS instructions, for which `data` has room.
    let ret = unsafe { libc::ptrace(request, pid, addr, data) };
    if ret == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(ret)
    }
}

//! Processes that are copies of this one.

use std::convert::Infallible;
use std::ffi::c_int;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::Pid;

use super::signals::{reset_handlers, set_signal_mask};
use super::syscall_result;

/// `CLONE_*` bits for [`clone_process`], beyond those that it always sets.
pub(crate) type CloneFlags = u64;

/// `CLONE_CLEAR_SIGHAND` (5.5): does not fit the flags of clone(2).
const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
/// `CLONE_INTO_CGROUP` (5.7).
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// `struct clone_args`, `include/uapi/linux/sched.h`.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// A process that [`clone_process`] made.
#[derive(Debug)]
pub(crate) struct Cloned {
    /// Its number in the caller's PID namespace.
    pub(crate) pid: Pid,
    /// Close-on-exec.
    pub(crate) pidfd: OwnedFd,
}

/// Makes a copy of this process that runs `child`, with every signal handler
/// reset and every signal blocked.
///
/// The copy has the calling thread only, so `child` must neither allocate nor
/// take a lock: another thread may have held it at the moment of the copy.
///
/// Where clone3 is missing or refused with ENOSYS (the profiles of container
/// engines do that), clone is used, unless a cgroup is asked for.
pub(crate) fn clone_process<F>(
    flags: CloneFlags,
    cgroup: Option<BorrowedFd<'_>>,
    child: F,
) -> Result<Cloned, Errno>
where
    F: FnOnce() -> Infallible,
{
    let mask = set_signal_mask(u64::MAX)?;
    let result = clone_raw(flags, cgroup, child);
    // The child never comes here. A mask that could be set can be set back.
    set_signal_mask(mask)?;
    result
}

fn clone_raw<F>(
    flags: CloneFlags,
    cgroup: Option<BorrowedFd<'_>>,
    child: F,
) -> Result<Cloned, Errno>
where
    F: FnOnce() -> Infallible,
{
    let mut pidfd: c_int = -1;
    let exit_signal = libc::SIGCHLD.unsigned_abs();
    let pidfd_flag = u64::from(libc::CLONE_PIDFD.unsigned_abs());
    let mut args = CloneArgs {
        flags: flags | pidfd_flag | CLONE_CLEAR_SIGHAND,
        pidfd: (&raw mut pidfd).addr() as u64,
        exit_signal: u64::from(exit_signal),
        ..CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::from(cgroup.as_raw_fd().unsigned_abs());
    }
    // SAFETY: without CLONE_VM the child has its own copy of this stack and
    // of all memory, as after fork; `args` and `pidfd` outlive the call.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw const args,
            mem::size_of::<CloneArgs>(),
        )
    };
    let ret = match syscall_result(ret) {
        Err(Errno::NOSYS) if cgroup.is_none() => {
            // SAFETY: as above; the stack argument 0 means the copied stack.
            // CLONE_PIDFD stores where the parent's thread id would go. The
            // last two arguments, whose order differs between architectures,
            // are unused.
            let ret = unsafe {
                libc::syscall(
                    libc::SYS_clone,
                    flags | pidfd_flag | u64::from(exit_signal),
                    0,
                    &raw mut pidfd,
                    0,
                    0,
                )
            };
            let ret = syscall_result(ret)?;
            if ret == 0 {
                reset_handlers();
            }
            ret
        }
        other => other?,
    };
    if ret == 0 {
        child();
    }
    let pid = c_int::try_from(ret).ok().and_then(Pid::from_raw);
    let Some(pid) = pid else {
        return Err(Errno::OVERFLOW);
    };
    // SAFETY: the kernel has just made this descriptor for the caller.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Cloned { pid, pidfd })
}

//! Processes that are copies of this one.

use std::convert::Infallible;
use std::ffi::{c_int, c_void};
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use rustix::io::Errno;
use rustix::process::Pid;
use syscalls::{Sysno, syscall};

use super::signals::{reset_handlers, set_signal_mask};
use super::{Stack, result};

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
    let ret = unsafe { syscall!(Sysno::clone3, &raw const args, mem::size_of::<CloneArgs>()) };
    let ret = match result(ret) {
        Err(Errno::NOSYS) if cgroup.is_none() => {
            // SAFETY: as above; the stack argument 0 means the copied stack.
            // CLONE_PIDFD stores where the parent's thread id would go. The
            // last two arguments, whose order differs between architectures,
            // are unused.
            let ret = unsafe {
                syscall!(
                    Sysno::clone,
                    flags | pidfd_flag | u64::from(exit_signal),
                    0,
                    &raw mut pidfd,
                    0,
                    0
                )
            };
            let ret = result(ret)?;
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
    let pid = c_int::try_from(ret).map_err(|_too_large| Errno::OVERFLOW)?;
    cloned(pid, pidfd)
}

fn cloned(pid: c_int, pidfd: c_int) -> Result<Cloned, Errno> {
    let pid = Pid::from_raw(pid).ok_or(Errno::OVERFLOW)?;
    // SAFETY: the kernel has just made this descriptor for the caller.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Cloned { pid, pidfd })
}

/// As [`clone_process`], but the child works in the memory of this process
/// until it executes a program or ends: nothing is copied for it, and nothing
/// has to be freed. For the child of such a child, which has no handlers.
///
/// What `child` refers to must live until then, whatever this process does: it
/// is for a process that never returns from where it began. They share the C
/// library's thread-local memory, too, so that neither may use errno.
pub(crate) fn clone_sharing_memory<F>(
    flags: CloneFlags,
    stack: &Stack,
    child: F,
) -> Result<Cloned, Errno>
where
    F: Fn() -> Infallible + Sync,
{
    let flags = c_int::try_from(flags).map_err(|_too_many| Errno::INVAL)?;
    let flags = flags | libc::CLONE_VM | libc::CLONE_PIDFD | libc::SIGCHLD;
    let mut pidfd: c_int = -1;
    let tids = Tids {
        // CLONE_PIDFD stores there.
        parent: &raw mut pidfd,
        child: ptr::null_mut(),
    };
    let mask = set_signal_mask(u64::MAX)?;
    // SAFETY: the stack is for this child alone, and nobody frees it; it finds
    // there what it expects, which lives, as the caller has promised.
    let pid = unsafe { clone_onto(stack, child, flags, run::<F>, &tids) };
    set_signal_mask(mask)?;
    cloned(pid?, pidfd)
}

#[expect(unreachable_code, reason = "clone(2) wants a function that can return")]
extern "C" fn run<F: Fn() -> Infallible>(child: *mut c_void) -> c_int {
    // SAFETY: `clone_sharing_memory` puts it there.
    let child = unsafe { &*child.cast::<F>() };
    match child() {}
}

/// Where clone(2) stores thread numbers, if its flags say so.
pub(super) struct Tids {
    pub(super) parent: *mut c_int,
    pub(super) child: *mut u32,
}

/// clone(2) as the C library has it: the child calls `run` with a pointer to
/// `first`, which lies above its stack.
///
/// # Safety
///
/// With `CLONE_VM` nobody may use or free the stack until the child has ended
/// or executed a program. `run` must take the pointer for what it is.
pub(super) unsafe fn clone_onto<T>(
    stack: &Stack,
    first: T,
    flags: c_int,
    run: extern "C" fn(*mut c_void) -> c_int,
    tids: &Tids,
) -> Result<c_int, Errno> {
    let begin: *mut c_void = stack.begin_with(first).cast();
    let none = ptr::null_mut::<c_void>();
    // SAFETY: as the caller has promised.
    let pid = unsafe { libc::clone(run, begin, flags, begin, tids.parent, none, tids.child) };
    if pid == -1 {
        return Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO));
    }
    Ok(pid)
}

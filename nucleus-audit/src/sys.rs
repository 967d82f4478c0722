//! Every raw system call of this crate. One function per call; the meaning is
//! added by the callers.
#![allow(
    unsafe_code,
    reason = "fork(2) and SO_ATTACH_FILTER are in no safe wrapper"
)]

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd};

/// Makes a call that no kernel has.
pub(crate) fn unknown_call(number: u32) {
    // SAFETY: the number is of no system call, so nothing happens.
    unsafe { libc::syscall(libc::c_long::from(number.cast_signed())) };
}

/// Starts a process that runs `run`, without any open file, and ends with what
/// that returns; it belongs to the caller, to be waited for.
///
/// `run` must neither allocate nor take a lock: other threads of the caller may
/// have held any at this moment.
pub(crate) fn fork(run: impl FnOnce() -> i32) -> io::Result<rustix::process::Pid> {
    // SAFETY: the child runs nothing but `run`, which the callers keep to what
    // is safe there, and `_exit`.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // Nobody who reads from the caller shall wait for this one too. Before
        // 5.9 there is no such call; then the files are merely open longer.
        // SAFETY: the numbers are this process's own copy, and none is used.
        unsafe { libc::syscall(libc::SYS_close_range, 0, libc::c_uint::MAX, 0) };
        let code = run();
        // SAFETY: ends the child without running anything of the parent's.
        unsafe { libc::_exit(code) };
    }
    rustix::process::Pid::from_raw(pid)
        .filter(|_| pid > 0)
        .ok_or_else(io::Error::last_os_error)
}

/// `SO_ATTACH_FILTER`: lets a socket receive only what a classic BPF program
/// (code, jump if true, jump if false, constant) returns more than 0 for.
pub(crate) fn attach_filter(socket: impl AsFd, program: &[(u16, u8, u8, u32)]) -> io::Result<()> {
    let mut program: Vec<libc::sock_filter> = program
        .iter()
        .map(|&(code, jt, jf, k)| libc::sock_filter { code, jt, jf, k })
        .collect();
    let program_head = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_long| io::ErrorKind::InvalidInput)?,
        filter: program.as_mut_ptr(),
    };
    let size = libc::socklen_t::try_from(size_of::<libc::sock_fprog>())
        .map_err(|_wide| io::ErrorKind::InvalidInput)?;
    // SAFETY: the head and the instructions that it points to outlive the
    // call; the kernel copies both.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program_head).cast(),
            size,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

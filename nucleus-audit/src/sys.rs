//! Every raw system call of this crate. One function per call; the meaning is
//! added by the callers.
#![allow(
    unsafe_code,
    reason = "ptrace(2), fork(2), SO_ATTACH_FILTER and wait4(2) with __WCLONE are in no safe wrapper"
)]

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd};

/// Options of `PTRACE_SEIZE` (`include/uapi/linux/ptrace.h`).
pub(crate) mod option {
    pub(crate) const SYSGOOD: usize = 0x1;
    pub(crate) const FORK: usize = 0x2;
    pub(crate) const VFORK: usize = 0x4;
    pub(crate) const CLONE: usize = 0x8;
    pub(crate) const EXEC: usize = 0x10;
    pub(crate) const EXIT: usize = 0x40;
    pub(crate) const SECCOMP: usize = 0x80;
    pub(crate) const EXITKILL: usize = 0x10_0000;
}

/// What `PTRACE_GET_SYSCALL_INFO` (5.3) fills in: `struct ptrace_syscall_info`
/// with the members of its entry and seccomp variants, which lie alike.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SyscallInfo {
    pub(crate) op: u8,
    pad: [u8; 3],
    pub(crate) arch: u32,
    pub(crate) instruction_pointer: u64,
    stack_pointer: u64,
    pub(crate) nr: u64,
    pub(crate) args: [u64; 6],
    pub(crate) ret_data: u32,
    reserved: u32,
}

/// `PTRACE_SYSCALL_INFO_ENTRY`.
pub(crate) const INFO_ENTRY: u8 = 1;

/// The part of `siginfo_t` that a SIGSYS by seccomp fills in (x86-64, AArch64
/// and RISC-V lie alike: `include/uapi/asm-generic/siginfo.h`).
#[repr(C, align(8))]
#[derive(Debug, Clone, Copy)]
pub(crate) struct SigSys {
    pub(crate) signo: i32,
    pub(crate) errno: i32,
    pub(crate) code: i32,
    pad: i32,
    pub(crate) call_addr: u64,
    pub(crate) nr: i32,
    pub(crate) arch: u32,
    rest: [u64; 12],
}

/// How a stopped thread goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resume {
    /// `PTRACE_CONT` with the signal to deliver, 0 for none.
    Continue(i32),
    /// `PTRACE_SYSCALL` with the signal to deliver, 0 for none.
    UntilSyscall(i32),
    /// `PTRACE_LISTEN`: stays stopped, as a group-stop asks.
    Listen,
}

fn request(request: libc::c_uint, tid: u32, addr: usize, data: usize) -> io::Result<usize> {
    // SAFETY: every caller passes as `addr` and `data` either plain values or
    // the address and size of memory that it borrows for the call and that the
    // request fills within that size. The raw call stores peeked words through
    // `data`, unlike the C library's wrapper.
    let result =
        unsafe { libc::syscall(libc::SYS_ptrace, request as usize, tid as usize, addr, data) };
    usize::try_from(result).map_err(|_negative| io::Error::last_os_error())
}

/// `PTRACE_SEIZE`.
pub(crate) fn seize(tid: u32, options: usize) -> io::Result<()> {
    request(libc::PTRACE_SEIZE as libc::c_uint, tid, 0, options).map(drop)
}

/// Resumes a stopped thread.
pub(crate) fn resume(tid: u32, how: Resume) -> io::Result<()> {
    let (name, signal) = match how {
        Resume::Continue(signal) => (libc::PTRACE_CONT, signal),
        Resume::UntilSyscall(signal) => (libc::PTRACE_SYSCALL, signal),
        Resume::Listen => (libc::PTRACE_LISTEN, 0),
    };
    request(name as libc::c_uint, tid, 0, signal.unsigned_abs() as usize).map(drop)
}

/// `PTRACE_INTERRUPT`: makes a running thread stop soon.
pub(crate) fn interrupt(tid: u32) -> io::Result<()> {
    request(libc::PTRACE_INTERRUPT as libc::c_uint, tid, 0, 0).map(drop)
}

/// `PTRACE_GET_SYSCALL_INFO`.
pub(crate) fn syscall_info(tid: u32, info: &mut SyscallInfo) -> io::Result<()> {
    const GET_SYSCALL_INFO: libc::c_uint = 0x420e;
    let address = std::ptr::from_mut(info) as usize;
    request(GET_SYSCALL_INFO, tid, size_of::<SyscallInfo>(), address).map(drop)
}

/// `PTRACE_GETEVENTMSG`.
pub(crate) fn event_message(tid: u32) -> io::Result<u64> {
    let mut message: libc::c_ulong = 0;
    let address = std::ptr::from_mut(&mut message) as usize;
    request(libc::PTRACE_GETEVENTMSG as libc::c_uint, tid, 0, address)?;
    Ok(message)
}

/// `PTRACE_GETSIGINFO`, read as a SIGSYS.
pub(crate) fn signal_info(tid: u32) -> io::Result<SigSys> {
    let mut info = SigSys {
        signo: 0,
        errno: 0,
        code: 0,
        pad: 0,
        call_addr: 0,
        nr: 0,
        arch: 0,
        rest: [0; 12],
    };
    const { assert!(size_of::<SigSys>() == 128) };
    let address = std::ptr::from_mut(&mut info) as usize;
    request(libc::PTRACE_GETSIGINFO as libc::c_uint, tid, 0, address)?;
    Ok(info)
}

/// `PTRACE_PEEKDATA`: the word at an address of the tracee.
pub(crate) fn peek(tid: u32, address: u64) -> io::Result<u64> {
    let mut word: u64 = 0;
    let into = std::ptr::from_mut(&mut word) as usize;
    request(
        libc::PTRACE_PEEKDATA as libc::c_uint,
        tid,
        to_usize(address)?,
        into,
    )?;
    Ok(word)
}

/// `PTRACE_POKEDATA`: replaces the word at an address of the tracee.
pub(crate) fn poke(tid: u32, address: u64, word: u64) -> io::Result<()> {
    let word = to_usize(word)?;
    request(
        libc::PTRACE_POKEDATA as libc::c_uint,
        tid,
        to_usize(address)?,
        word,
    )
    .map(drop)
}

fn to_usize(value: u64) -> io::Result<usize> {
    usize::try_from(value).map_err(|_wide| io::Error::from_raw_os_error(libc::EFAULT))
}

/// `PTRACE_PEEKUSER`: the register at this offset of `struct user`.
#[cfg(target_arch = "x86_64")]
pub(crate) fn peek_user(tid: u32, offset: usize) -> io::Result<u64> {
    let mut word: u64 = 0;
    let into = std::ptr::from_mut(&mut word) as usize;
    request(libc::PTRACE_PEEKUSER as libc::c_uint, tid, offset, into)?;
    Ok(word)
}

/// `PTRACE_POKEUSER`: sets the register at this offset of `struct user`. A
/// 64-bit tracer uses the 64-bit layout for 32-bit tracees too.
#[cfg(target_arch = "x86_64")]
pub(crate) fn poke_user(tid: u32, offset: usize, word: u64) -> io::Result<()> {
    request(
        libc::PTRACE_POKEUSER as libc::c_uint,
        tid,
        offset,
        to_usize(word)?,
    )
    .map(drop)
}

/// `PTRACE_GETREGSET`: fills as much of `words` as the set has.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn get_regset<T: Copy, const N: usize>(
    tid: u32,
    set: usize,
    words: &mut [T; N],
) -> io::Result<()> {
    let mut iov = libc::iovec {
        iov_base: words.as_mut_ptr().cast(),
        iov_len: size_of::<[T; N]>(),
    };
    let address = std::ptr::from_mut(&mut iov) as usize;
    request(libc::PTRACE_GETREGSET as libc::c_uint, tid, set, address).map(drop)
}

/// `PTRACE_SETREGSET`.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn set_regset<T: Copy, const N: usize>(
    tid: u32,
    set: usize,
    words: &[T; N],
) -> io::Result<()> {
    let mut iov = libc::iovec {
        iov_base: words.as_ptr().cast_mut().cast(),
        iov_len: size_of::<[T; N]>(),
    };
    let address = std::ptr::from_mut(&mut iov) as usize;
    request(libc::PTRACE_SETREGSET as libc::c_uint, tid, set, address).map(drop)
}

/// Whether ptrace(2) reaches the kernel: a request on a process that this
/// thread does not trace must find no tracee.
pub(crate) fn ptrace_reaches_kernel() -> bool {
    let own = std::process::id();
    match request(libc::PTRACE_CONT as libc::c_uint, own, 0, 0) {
        Ok(_) => true,
        Err(error) => error.raw_os_error() == Some(libc::ESRCH),
    }
}

/// Waits until a tracee of the calling thread stops or ends; `None` when it
/// has none.
///
/// `__WCLONE` without `__WALL` leaves the thread's ordinary children alone:
/// they report by SIGCHLD, so they do not match, while tracees always do
/// (`eligible_child`, `kernel/exit.c`, since 4.7).
pub(crate) fn wait_tracee() -> io::Result<Option<(u32, i32)>> {
    let mut status: libc::c_int = 0;
    loop {
        // SAFETY: `status` is valid for writing for the length of the call.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::__WCLONE | libc::__WNOTHREAD) };
        if let Ok(tid @ 1..) = u32::try_from(pid) {
            return Ok(Some((tid, status)));
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EINTR) => {}
            Some(libc::ECHILD) => return Ok(None),
            _ => return Err(error),
        }
    }
}

/// Whether this is the id of a thread group, not of a further thread.
pub(crate) fn leads_group(tid: u32) -> bool {
    // SAFETY: tgkill with signal 0 sends nothing and takes plain values.
    unsafe { libc::syscall(libc::SYS_tgkill, tid, tid, 0) == 0 }
}

/// Kills a process.
pub(crate) fn kill(pid: u32) -> io::Result<()> {
    let Ok(pid) = libc::pid_t::try_from(pid) else {
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    };
    // SAFETY: kill takes plain values.
    match unsafe { libc::kill(pid, libc::SIGKILL) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

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

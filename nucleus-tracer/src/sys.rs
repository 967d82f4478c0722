//! Every raw system call of this crate. One function per call; the meaning is
//! added by the callers.
#![allow(
    unsafe_code,
    reason = "ptrace(2), tgkill(2), sigaction(2) and wait4(2) with __WCLONE are in no safe wrapper"
)]

use std::io;
use std::mem::size_of;

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
    pub(crate) stack_pointer: u64,
    pub(crate) nr: u64,
    pub(crate) args: [u64; 6],
    pub(crate) ret_data: u32,
    reserved: u32,
}

/// `PTRACE_SYSCALL_INFO_ENTRY`.
pub(crate) const INFO_ENTRY: u8 = 1;
/// `PTRACE_SYSCALL_INFO_EXIT`: the result is where the number is at an entry.
pub(crate) const INFO_EXIT: u8 = 2;

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

/// What a wait for tracees came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waited {
    /// A tracee stopped or ended: its id and wait status.
    Stopped(u32, i32),
    /// A signal came for this thread.
    Interrupted,
    /// There is no tracee.
    None,
}

/// Waits until a tracee of the calling thread stops or ends.
///
/// `__WCLONE` without `__WALL` leaves the thread's ordinary children alone:
/// they report by SIGCHLD, so they do not match, while tracees always do
/// (`eligible_child`, `kernel/exit.c`, since 4.7).
pub(crate) fn wait_tracee() -> io::Result<Waited> {
    wait(libc::__WCLONE | libc::__WNOTHREAD)
}

/// The same for one that has stopped or ended already: [`Waited::None`] also
/// where none has.
pub(crate) fn look_at_tracees() -> io::Result<Waited> {
    wait(libc::__WCLONE | libc::__WNOTHREAD | libc::WNOHANG)
}

fn wait(flags: libc::c_int) -> io::Result<Waited> {
    let mut status: libc::c_int = 0;
    // SAFETY: `status` is valid for writing for the length of the call.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, flags) };
    match u32::try_from(pid) {
        Ok(0) => return Ok(Waited::None),
        Ok(tid) => return Ok(Waited::Stopped(tid, status)),
        Err(_negative) => {}
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EINTR) => Ok(Waited::Interrupted),
        Some(libc::ECHILD) => Ok(Waited::None),
        _ => Err(error),
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

/// The signal that ends the wait of a tracer. Real-time signals have no
/// meaning of their own; the first ones are the C library's or others'.
fn wake_signal() -> i32 {
    libc::SIGRTMAX() - 1
}

extern "C" fn wake(_signal: libc::c_int) {}

/// Makes the signal of [`wake_thread`] interrupt whatever this process's
/// threads wait in, and do nothing else.
pub(crate) fn prepare_wake() -> io::Result<()> {
    let handler: extern "C" fn(libc::c_int) = wake;
    // SAFETY: an action of zeroes has no flags and an empty mask; without
    // `SA_RESTART` a wait is interrupted.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as libc::sighandler_t;
    // SAFETY: the handler does nothing, which is safe at any moment.
    match unsafe { libc::sigaction(wake_signal(), &raw const action, std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Lets the calling thread be woken, or keeps the signal waiting.
pub(crate) fn let_wake(allow: bool) {
    let how = if allow {
        libc::SIG_UNBLOCK
    } else {
        libc::SIG_BLOCK
    };
    // SAFETY: a set of zeroes is valid memory for `sigemptyset`.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is a set of this frame.
    unsafe { libc::sigemptyset(&raw mut set) };
    // SAFETY: as above; the signal is a valid one.
    unsafe { libc::sigaddset(&raw mut set, wake_signal()) };
    // It fails for another `how` only.
    // SAFETY: `set` is valid for reading; the old mask is not asked for.
    unsafe { libc::pthread_sigmask(how, &raw const set, std::ptr::null_mut()) };
}

/// Interrupts a thread of this process.
pub(crate) fn wake_thread(tid: u32) -> io::Result<()> {
    let own = std::process::id();
    // SAFETY: tgkill takes plain values.
    match unsafe { libc::syscall(libc::SYS_tgkill, own, tid, wake_signal()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The calling thread's id.
pub(crate) fn own_thread() -> u32 {
    rustix::thread::gettid()
        .as_raw_nonzero()
        .get()
        .unsigned_abs()
}

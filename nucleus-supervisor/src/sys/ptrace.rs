//! ptrace(2) and the wait for tracees.

use std::os::raw::c_uint;

use rustix::io::Errno;

use super::last_errno;

/// What a tracer is told of: every child and thread, each exec, the calls that
/// a filter leaves to it; and its tracees die with it.
const OPTIONS: i32 = libc::PTRACE_O_TRACESYSGOOD
    | libc::PTRACE_O_TRACEFORK
    | libc::PTRACE_O_TRACEVFORK
    | libc::PTRACE_O_TRACECLONE
    | libc::PTRACE_O_TRACEEXEC
    | libc::PTRACE_O_TRACESECCOMP
    | libc::PTRACE_O_EXITKILL;

/// What `PTRACE_GET_SYSCALL_INFO` (5.3) says in a seccomp stop.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SyscallInfo {
    operation: u8,
    pad: [u8; 3],
    pub(crate) arch: u32,
    pub(crate) instruction_pointer: u64,
    stack_pointer: u64,
    pub(crate) number: u64,
    pub(crate) args: [u64; 6],
    message: u32,
    reserved: u32,
}

/// How a stopped thread goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resume {
    /// With this signal, or none (0).
    Continue(i32),
    /// To the end of the call that it is in.
    UntilReturn,
    /// It stays stopped, as job control wants it.
    Listen,
}

fn request(request: c_uint, thread: u32, address: usize, data: usize) -> Result<(), Errno> {
    // SAFETY: the callers pass plain values, or the address and the size of
    // memory that they borrow for the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_ptrace,
            request as usize,
            thread as usize,
            address,
            data,
        )
    };
    if result < 0 {
        Err(last_errno())
    } else {
        Ok(())
    }
}

/// `PTRACE_SEIZE`.
pub(crate) fn seize(process: u32) -> Result<(), Errno> {
    let options = OPTIONS.unsigned_abs() as usize;
    request(libc::PTRACE_SEIZE as c_uint, process, 0, options)
}

/// Lets a stopped thread go on.
pub(crate) fn resume(thread: u32, how: Resume) -> Result<(), Errno> {
    let (name, signal) = match how {
        Resume::Continue(signal) => (libc::PTRACE_CONT, signal),
        Resume::UntilReturn => (libc::PTRACE_SYSCALL, 0),
        Resume::Listen => (libc::PTRACE_LISTEN, 0),
    };
    let signal = signal.unsigned_abs() as usize;
    request(name as c_uint, thread, 0, signal)
}

/// `PTRACE_GET_SYSCALL_INFO`.
pub(crate) fn call(thread: u32) -> Result<SyscallInfo, Errno> {
    const GET_SYSCALL_INFO: c_uint = 0x420e;
    let mut info = SyscallInfo::default();
    let size = size_of::<SyscallInfo>();
    let place = (&raw mut info).expose_provenance();
    request(GET_SYSCALL_INFO, thread, size, place)?;
    Ok(info)
}

/// `PTRACE_GETEVENTMSG`: the other thread of an event.
pub(crate) fn event_thread(thread: u32) -> Result<u32, Errno> {
    let mut message: libc::c_ulong = 0;
    let place = (&raw mut message).expose_provenance();
    request(libc::PTRACE_GETEVENTMSG as c_uint, thread, 0, place)?;
    u32::try_from(message).map_err(|_no_thread| Errno::SRCH)
}

/// Makes the call of a seccomp stop return `result` instead of happening: -1
/// as the number skips it (`seccomp(2)`).
#[cfg(target_arch = "x86_64")]
pub(crate) fn skip_call(thread: u32, result: i64) -> Result<(), Errno> {
    use std::mem::offset_of;
    let set = |register, value: i64| {
        let value = usize::try_from(value.cast_unsigned()).map_err(|_wide| Errno::INVAL)?;
        request(libc::PTRACE_POKEUSER as c_uint, thread, register, value)
    };
    set(offset_of!(libc::user_regs_struct, orig_rax), -1)?;
    set(offset_of!(libc::user_regs_struct, rax), result)
}

/// The registers of `NT_PRSTATUS`, changed.
#[cfg(any(target_arch = "aarch64", target_arch = "riscv64"))]
fn change_registers<const N: usize>(
    thread: u32,
    change: impl FnOnce(&mut [u64; N]),
) -> Result<(), Errno> {
    const NT_PRSTATUS: usize = 1;
    let mut registers = [0; N];
    let mut vector = libc::iovec {
        iov_base: registers.as_mut_ptr().cast(),
        iov_len: size_of::<[u64; N]>(),
    };
    let place = (&raw mut vector).expose_provenance();
    request(libc::PTRACE_GETREGSET as c_uint, thread, NT_PRSTATUS, place)?;
    change(&mut registers);
    request(libc::PTRACE_SETREGSET as c_uint, thread, NT_PRSTATUS, place)
}

/// As on x86-64; the number has a register set of its own.
#[cfg(target_arch = "aarch64")]
pub(crate) fn skip_call(thread: u32, result: i64) -> Result<(), Errno> {
    const NT_ARM_SYSTEM_CALL: usize = 0x404;
    // x0 to x30, sp, pc, pstate.
    change_registers::<34>(thread, |registers| registers[0] = result.cast_unsigned())?;
    let mut number = -1_i32;
    let mut vector = libc::iovec {
        iov_base: (&raw mut number).cast(),
        iov_len: size_of::<i32>(),
    };
    let place = (&raw mut vector).expose_provenance();
    let set = libc::PTRACE_SETREGSET as c_uint;
    request(set, thread, NT_ARM_SYSTEM_CALL, place)
}

/// As on x86-64: the number is in a7.
#[cfg(target_arch = "riscv64")]
pub(crate) fn skip_call(thread: u32, result: i64) -> Result<(), Errno> {
    // pc, then x1 to x31.
    change_registers::<32>(thread, |registers| {
        registers[10] = result.cast_unsigned();
        registers[17] = u64::MAX;
    })
}

/// Without a way to skip a call nothing can be denied politely.
#[cfg(not(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    target_arch = "riscv64"
)))]
pub(crate) fn skip_call(_thread: u32, _result: i64) -> Result<(), Errno> {
    Err(Errno::OPNOTSUPP)
}

/// Waits until a tracee of this thread stops or ends: its id and wait status;
/// `None` when there is none left.
///
/// `__WCLONE` without `__WALL` leaves the thread's ordinary children alone:
/// they report by SIGCHLD and do not match, while tracees always do
/// (`eligible_child`, `kernel/exit.c`, since 4.7).
pub(crate) fn wait() -> Result<Option<(u32, i32)>, Errno> {
    let mut status = 0;
    loop {
        // SAFETY: `status` can be written for the length of the call.
        let ret = unsafe { libc::waitpid(-1, &raw mut status, libc::__WCLONE | libc::__WNOTHREAD) };
        if let Ok(thread @ 1..) = u32::try_from(ret) {
            return Ok(Some((thread, status)));
        }
        match last_errno() {
            Errno::INTR => {}
            Errno::CHILD => return Ok(None),
            errno => return Err(errno),
        }
    }
}

/// Whether this thread leads a process; false when it is gone.
pub(crate) fn leads_process(thread: u32) -> bool {
    // SAFETY: signal 0 is not sent, and the other arguments are plain values.
    unsafe { libc::syscall(libc::SYS_tgkill, thread, thread, 0) == 0 }
}

/// SIGKILL for the process of a tracee that is stopped, whose id is its own.
pub(crate) fn kill(process: u32) -> Result<(), Errno> {
    let process = i32::try_from(process).map_err(|_none| Errno::SRCH)?;
    // SAFETY: plain values.
    match unsafe { libc::kill(process, libc::SIGKILL) } {
        0 => Ok(()),
        _ => Err(last_errno()),
    }
}

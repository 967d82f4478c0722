//! The few registers that a tracer must touch, one module per architecture
//! with the same functions.

use std::io;

use crate::sys;

/// What a thread's registers tell about its end by a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(
    dead_code,
    reason = "x86-64 can tell the threads of a process apart, the others cannot"
)]
pub(crate) enum Killed {
    /// This call killed the process.
    Process(u32),
    /// This call killed the thread alone.
    Thread(u32),
    /// Another thread made the call.
    Bystander,
    /// The registers do not tell.
    Unknown,
}

#[cfg(target_arch = "x86_64")]
mod arch {
    //! x86-64, also for 32-bit and x32 tracees: `struct user` is the 64-bit
    //! one whatever the tracee is.
    use super::{Killed, io, sys};
    use std::mem::offset_of;

    const RAX: usize = offset_of!(libc::user_regs_struct, rax);
    const ORIG_RAX: usize = offset_of!(libc::user_regs_struct, orig_rax);
    const AUDIT_ARCH_I386: u32 = 0x4000_0003;
    /// A call that was interrupted: made again, unless the signal's handler
    /// lacks `SA_RESTART` (`include/linux/errno.h`; the kernel's own).
    const ERESTARTSYS: i64 = -512;
    /// The same, made again whatever the handler says.
    const ERESTARTNOINTR: i64 = -513;

    /// The kernel looks at the result only after the stop for the signal
    /// (`handle_signal` in `arch/x86/kernel/signal.c`).
    pub(crate) const CAN_RESTART: bool = true;

    pub(crate) fn interrupted_call(tid: u32) -> io::Result<Option<u32>> {
        if sys::peek_user(tid, RAX)?.cast_signed() != ERESTARTSYS {
            return Ok(None);
        }
        // -1 where there is no call.
        let number = sys::peek_user(tid, ORIG_RAX)?;
        Ok(u32::try_from(number).ok())
    }

    pub(crate) fn restart_call(tid: u32) -> io::Result<()> {
        sys::poke_user(tid, RAX, ERESTARTNOINTR.cast_unsigned())
    }

    pub(crate) fn skip_call(tid: u32, result: i64) -> io::Result<()> {
        sys::poke_user(tid, ORIG_RAX, u64::MAX)?;
        sys::poke_user(tid, RAX, result.cast_unsigned())
    }

    macro_rules! registers {
        ($($name:ident)*) => { [$(offset_of!(libc::user_regs_struct, $name)),*] };
    }

    /// Where the arguments are, and how wide.
    const fn argument_registers(audit_arch: u32) -> ([usize; 6], u64) {
        if audit_arch == AUDIT_ARCH_I386 {
            (registers!(rbx rcx rdx rsi rdi rbp), 0xffff_ffff)
        } else {
            (registers!(rdi rsi rdx r10 r8 r9), u64::MAX)
        }
    }

    pub(crate) fn set_argument(
        tid: u32,
        audit_arch: u32,
        index: usize,
        value: u64,
    ) -> io::Result<()> {
        let (registers, _) = argument_registers(audit_arch);
        let register = registers.get(index).ok_or_else(super::no_argument)?;
        sys::poke_user(tid, *register, value)
    }

    pub(crate) fn arguments(tid: u32, audit_arch: u32) -> io::Result<[u64; 6]> {
        let (registers, mask) = argument_registers(audit_arch);
        let mut arguments = [0; 6];
        for (argument, register) in arguments.iter_mut().zip(registers) {
            *argument = sys::peek_user(tid, register)? & mask;
        }
        Ok(arguments)
    }

    /// Killing a process rolls the registers back to those before the entry
    /// (`syscall_rollback`): the result is the number. Killing one thread of
    /// several leaves those of the entry: the result is ENOSYS.
    pub(crate) fn killed_call(tid: u32, _alone: bool) -> io::Result<Killed> {
        const ENOSYS: i64 = -(libc::ENOSYS as i64);
        let number = sys::peek_user(tid, ORIG_RAX)?;
        let nr = super::low_half(number);
        Ok(match sys::peek_user(tid, RAX)?.cast_signed() {
            result if result.cast_unsigned() == number => Killed::Process(nr),
            ENOSYS => Killed::Thread(nr),
            _ => Killed::Bystander,
        })
    }
}

#[cfg(target_arch = "aarch64")]
mod arch {
    use super::{Killed, io, sys};

    const NT_PRSTATUS: usize = 1;
    const NT_ARM_SYSTEM_CALL: usize = 0x404;
    /// x0 to x30, sp, pc, pstate.
    type Registers = [u64; 34];

    pub(crate) fn skip_call(tid: u32, result: i64) -> io::Result<()> {
        set_register(tid, 0, result.cast_unsigned())?;
        sys::set_regset(tid, NT_ARM_SYSTEM_CALL, &[-1_i32])
    }

    /// The first argument's register is the result's when the call returns.
    pub(crate) fn set_argument(
        tid: u32,
        _audit_arch: u32,
        index: usize,
        value: u64,
    ) -> io::Result<()> {
        if index < 6 {
            set_register(tid, index, value)
        } else {
            Err(super::no_argument())
        }
    }

    pub(crate) fn arguments(tid: u32, _audit_arch: u32) -> io::Result<[u64; 6]> {
        let mut registers: Registers = [0; 34];
        sys::get_regset(tid, NT_PRSTATUS, &mut registers)?;
        let [a, b, c, d, e, f, ..] = registers;
        Ok([a, b, c, d, e, f])
    }

    /// No register tells the thread that made the call from others in a call.
    pub(crate) fn killed_call(tid: u32, alone: bool) -> io::Result<Killed> {
        let mut number = [-1_i32];
        sys::get_regset(tid, NT_ARM_SYSTEM_CALL, &mut number)?;
        Ok(if alone {
            Killed::Process(number[0].cast_unsigned())
        } else {
            Killed::Unknown
        })
    }

    fn set_register(tid: u32, index: usize, value: u64) -> io::Result<()> {
        let mut registers: Registers = [0; 34];
        sys::get_regset(tid, NT_PRSTATUS, &mut registers)?;
        registers[index] = value;
        sys::set_regset(tid, NT_PRSTATUS, &registers)
    }
}

#[cfg(target_arch = "riscv64")]
mod arch {
    use super::{Killed, io, sys};

    const NT_PRSTATUS: usize = 1;
    /// pc, ra, sp, gp, tp, t0-t2, s0, s1, a0-a7, s2-s11, t3-t6.
    type Registers = [u64; 32];
    const A0: usize = 10;
    const A7: usize = 17;

    pub(crate) fn skip_call(tid: u32, result: i64) -> io::Result<()> {
        let mut registers: Registers = [0; 32];
        sys::get_regset(tid, NT_PRSTATUS, &mut registers)?;
        registers[A0] = result.cast_unsigned();
        registers[A7] = u64::MAX;
        sys::set_regset(tid, NT_PRSTATUS, &registers)
    }

    pub(crate) fn arguments(tid: u32, _audit_arch: u32) -> io::Result<[u64; 6]> {
        let mut registers: Registers = [0; 32];
        sys::get_regset(tid, NT_PRSTATUS, &mut registers)?;
        let mut arguments = [0; 6];
        for (argument, register) in arguments.iter_mut().zip(registers.iter().skip(A0)) {
            *argument = *register;
        }
        Ok(arguments)
    }

    /// For the first one the kernel passes `orig_a0`, which no register set
    /// shows.
    pub(crate) fn set_argument(
        tid: u32,
        _audit_arch: u32,
        index: usize,
        value: u64,
    ) -> io::Result<()> {
        match index {
            0 => return Err(io::ErrorKind::Unsupported.into()),
            1..6 => {}
            _ => return Err(super::no_argument()),
        }
        let mut registers: Registers = [0; 32];
        sys::get_regset(tid, NT_PRSTATUS, &mut registers)?;
        registers[A0 + index] = value;
        sys::set_regset(tid, NT_PRSTATUS, &registers)
    }

    /// No register tells the thread that made the call from others in a call.
    pub(crate) fn killed_call(tid: u32, alone: bool) -> io::Result<Killed> {
        let mut registers: Registers = [0; 32];
        sys::get_regset(tid, NT_PRSTATUS, &mut registers)?;
        Ok(if alone {
            Killed::Process(super::low_half(registers[A7]))
        } else {
            Killed::Unknown
        })
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod interrupted {
    use super::io;

    /// AArch64 and RISC-V decide before the stop for the signal whether a call
    /// is made again, and after it only take that back.
    pub(crate) const CAN_RESTART: bool = false;

    pub(crate) fn interrupted_call(_tid: u32) -> io::Result<Option<u32>> {
        Ok(None)
    }

    pub(crate) fn restart_call(_tid: u32) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(not(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    target_arch = "riscv64"
)))]
mod arch {
    use super::{Killed, io};

    pub(crate) fn skip_call(_tid: u32, _result: i64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn set_argument(
        _tid: u32,
        _audit_arch: u32,
        _index: usize,
        _value: u64,
    ) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn arguments(_tid: u32, _audit_arch: u32) -> io::Result<[u64; 6]> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn killed_call(_tid: u32, _alone: bool) -> io::Result<Killed> {
        Ok(Killed::Unknown)
    }
}

#[cfg(target_arch = "x86_64")]
use arch as interrupted;

/// Whether a [`Judge`](crate::Judge) can have interrupted calls
/// [made again](crate::Judge::restarts) on this machine: on x86-64.
pub const CAN_RESTART: bool = interrupted::CAN_RESTART;

/// The number of the call in which a thread was that has stopped for a signal,
/// where the signal's handler would decide whether it is made again.
pub(crate) fn interrupted_call(tid: u32) -> io::Result<Option<u32>> {
    interrupted::interrupted_call(tid)
}

/// Has such a call made again after the signal, whatever its handler says.
pub(crate) fn restart_call(tid: u32) -> io::Result<()> {
    interrupted::restart_call(tid)
}

/// Makes the call at whose seccomp stop the thread is not happen, and return
/// `result` (a negative errno, or 0).
pub(crate) fn skip_call(tid: u32, result: i64) -> io::Result<()> {
    arch::skip_call(tid, result)
}

/// Replaces an argument, the first being 0, of the call that a thread enters or
/// returns from, at which it has stopped.
///
/// # Errors
///
/// What ptrace(2) says: `ESRCH` for a thread that was killed. `EINVAL` for a
/// seventh argument; [`io::ErrorKind::Unsupported`] where a machine's registers
/// cannot be set.
pub fn set_argument(thread: u32, audit_arch: u32, index: usize, value: u64) -> io::Result<()> {
    arch::set_argument(thread, audit_arch, index, value)
}

/// The stack pointer of a thread that has stopped.
///
/// # Errors
///
/// What ptrace(2) says: `ESRCH` for a thread that was killed.
pub fn stack_pointer(thread: u32) -> io::Result<u64> {
    let mut info = sys::SyscallInfo::default();
    sys::syscall_info(thread, &mut info)?;
    Ok(info.stack_pointer)
}

/// What the call has returned from which a thread comes, as in
/// [`Judge::over`](crate::Judge::over): a negative errno where it has failed.
///
/// # Errors
///
/// What ptrace(2) says: `ESRCH` for a thread that was killed. `EINVAL` for one
/// that does not come from a call.
pub fn result(thread: u32) -> io::Result<i64> {
    let mut info = sys::SyscallInfo::default();
    sys::syscall_info(thread, &mut info)?;
    match info.op {
        sys::INFO_EXIT => Ok(info.nr.cast_signed()),
        _ => Err(io::Error::from_raw_os_error(libc::EINVAL)),
    }
}

#[cfg(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    target_arch = "riscv64"
))]
fn no_argument() -> io::Error {
    io::Error::from_raw_os_error(libc::EINVAL)
}

/// The arguments of the call that a filter has answered with SIGSYS, at whose
/// delivery the thread has stopped.
pub(crate) fn arguments(tid: u32, audit_arch: u32) -> io::Result<[u64; 6]> {
    arch::arguments(tid, audit_arch)
}

/// For which call a filter killed a thread that is at its exit stop with
/// SIGSYS. `alone`: it is the only thread of its process.
pub(crate) fn killed_call(tid: u32, alone: bool) -> io::Result<Killed> {
    arch::killed_call(tid, alone)
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "system call numbers are 32 bits wide; the rest is sign extension"
)]
#[cfg(any(target_arch = "x86_64", target_arch = "riscv64"))]
const fn low_half(number: u64) -> u32 {
    number as u32
}

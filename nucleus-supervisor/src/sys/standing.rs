//! What a tracer reads and changes of a thread that stands in one of its stops.

use std::os::raw::c_uint;

use rustix::io::Errno;

use super::last_errno;

/// The beginning of what `PTRACE_GET_SYSCALL_INFO` (5.3) says in every stop.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
struct Info {
    operation: u8,
    pad: [u8; 3],
    arch: u32,
    instruction_pointer: u64,
    stack_pointer: u64,
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

/// Its stack pointer.
pub(crate) fn stack_pointer(thread: u32) -> Result<u64, Errno> {
    const GET_SYSCALL_INFO: c_uint = 0x420e;
    let mut info = Info::default();
    let place = (&raw mut info).expose_provenance();
    request(GET_SYSCALL_INFO, thread, size_of::<Info>(), place)?;
    Ok(info.stack_pointer)
}

/// Sets argument `index` of the call that it enters or returns from; `narrow`
/// says that it is one of i386.
#[cfg(target_arch = "x86_64")]
pub(crate) fn set_argument(
    thread: u32,
    narrow: bool,
    index: usize,
    value: u64,
) -> Result<(), Errno> {
    use std::mem::offset_of;
    type Registers = libc::user_regs_struct;
    const WIDE: [usize; 6] = [
        offset_of!(Registers, rdi),
        offset_of!(Registers, rsi),
        offset_of!(Registers, rdx),
        offset_of!(Registers, r10),
        offset_of!(Registers, r8),
        offset_of!(Registers, r9),
    ];
    const NARROW: [usize; 6] = [
        offset_of!(Registers, rbx),
        offset_of!(Registers, rcx),
        offset_of!(Registers, rdx),
        offset_of!(Registers, rsi),
        offset_of!(Registers, rdi),
        offset_of!(Registers, rbp),
    ];
    let registers = if narrow { NARROW } else { WIDE };
    let register = *registers.get(index).ok_or(Errno::INVAL)?;
    let value = usize::try_from(value).map_err(|_wide| Errno::INVAL)?;
    request(libc::PTRACE_POKEUSER as c_uint, thread, register, value)
}

/// The same: x0 to x30, sp, pc, pstate. The first argument's register is the
/// result's at the return.
#[cfg(target_arch = "aarch64")]
pub(crate) fn set_argument(
    thread: u32,
    _narrow: bool,
    index: usize,
    value: u64,
) -> Result<(), Errno> {
    set_general::<34>(thread, index, value)
}

/// The same: pc, then x1 to x31; the arguments begin at x10.
#[cfg(target_arch = "riscv64")]
pub(crate) fn set_argument(
    thread: u32,
    _narrow: bool,
    index: usize,
    value: u64,
) -> Result<(), Errno> {
    set_general::<32>(thread, 10 + index, value)
}

/// One of the registers of `NT_PRSTATUS`.
#[cfg(any(target_arch = "aarch64", target_arch = "riscv64"))]
fn set_general<const N: usize>(thread: u32, register: usize, value: u64) -> Result<(), Errno> {
    const NT_PRSTATUS: usize = 1;
    let mut registers = [0_u64; N];
    let mut vector = libc::iovec {
        iov_base: registers.as_mut_ptr().cast(),
        iov_len: size_of::<[u64; N]>(),
    };
    let place = (&raw mut vector).expose_provenance();
    request(libc::PTRACE_GETREGSET as c_uint, thread, NT_PRSTATUS, place)?;
    *registers.get_mut(register).ok_or(Errno::INVAL)? = value;
    request(libc::PTRACE_SETREGSET as c_uint, thread, NT_PRSTATUS, place)
}

/// Without registers to set, no deadline can be moved.
#[cfg(not(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    target_arch = "riscv64"
)))]
pub(crate) fn set_argument(
    _thread: u32,
    _narrow: bool,
    _index: usize,
    _value: u64,
) -> Result<(), Errno> {
    Err(Errno::OPNOTSUPP)
}

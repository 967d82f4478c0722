//! What a filter sees of a system call.

use crate::{Arch, Syscall};

/// `struct seccomp_data` (`include/uapi/linux/seccomp.h`): the input of a filter.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct SeccompData {
    /// The system call number; x32 calls carry bit 30.
    pub nr: u32,
    /// The `AUDIT_ARCH_*` value of the calling convention.
    pub arch: u32,
    /// Where the program will go on.
    pub instruction_pointer: u64,
    /// The six argument registers, zero-extended.
    pub args: [u64; 6],
}

impl SeccompData {
    /// The call, or `None` when it is of an architecture without a table.
    #[must_use]
    pub const fn syscall(&self) -> Option<Syscall> {
        match Arch::of(self.arch, self.nr) {
            Some(arch) => Some(Syscall::new(arch, self.nr)),
            None => None,
        }
    }
}

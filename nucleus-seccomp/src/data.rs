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
        syscall(self.arch, self.nr)
    }
}

/// A system call as somebody saw it: [`SeccompData`], but not all who tell of
/// calls know the arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Call {
    /// The `AUDIT_ARCH_*` value of the calling convention.
    pub arch: u32,
    /// The number in the table of `arch`; x32 calls carry bit 30.
    pub nr: u32,
    /// Where the program goes on.
    pub instruction_pointer: u64,
    /// The six argument registers, zero-extended, where they are known.
    pub args: Option<[u64; 6]>,
}

impl Call {
    /// The call by architecture and number, or `None` when nucleus has no
    /// table for its architecture.
    #[must_use]
    pub const fn syscall(&self) -> Option<Syscall> {
        syscall(self.arch, self.nr)
    }

    /// What the filter saw, or `None` when the arguments are unknown.
    #[must_use]
    pub fn data(&self) -> Option<SeccompData> {
        self.args.map(|args| SeccompData {
            nr: self.nr,
            arch: self.arch,
            instruction_pointer: self.instruction_pointer,
            args,
        })
    }
}

impl From<SeccompData> for Call {
    fn from(data: SeccompData) -> Self {
        Self {
            arch: data.arch,
            nr: data.nr,
            instruction_pointer: data.instruction_pointer,
            args: Some(data.args),
        }
    }
}

const fn syscall(arch: u32, nr: u32) -> Option<Syscall> {
    match Arch::of(arch, nr) {
        Some(arch) => Some(Syscall::new(arch, nr)),
        None => None,
    }
}

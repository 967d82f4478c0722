//! System calls: numbers and names.

use std::fmt;

use crate::Arch;

/// A system call of one architecture, known by name or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Syscall {
    arch: Arch,
    number: u32,
}

impl Syscall {
    /// The call with this `seccomp_data.nr` (for x32 with bit 30 set).
    #[must_use]
    pub const fn new(arch: Arch, number: u32) -> Self {
        Self { arch, number }
    }

    /// The architecture whose table the number belongs to.
    #[must_use]
    pub const fn arch(self) -> Arch {
        self.arch
    }

    /// `seccomp_data.nr`; x32 calls carry bit 30.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.number
    }

    /// The kernel's name, or `None` for a number that no table knows.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        let number = usize::try_from(self.number).ok()?;
        match self.arch {
            Arch::X86_64 => syscalls::x86_64::Sysno::new(number).map(|s| s.name()),
            Arch::X32 => syscalls::x86_64::Sysno::new(number & 0x3fff_ffff).map(|s| s.name()),
            Arch::I386 => syscalls::x86::Sysno::new(number).map(|s| s.name()),
            Arch::Aarch64 => syscalls::aarch64::Sysno::new(number).map(|s| s.name()),
            Arch::Riscv64 => syscalls::riscv64::Sysno::new(number).map(|s| s.name()),
        }
    }
}

impl fmt::Display for Syscall {
    /// The name, or `#` and the number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "#{}", self.number),
        }
    }
}

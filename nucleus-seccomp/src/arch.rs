//! Architectures as seccomp tells them apart.

use std::fmt;
use std::str::FromStr;

/// Bit 30 of `seccomp_data.nr`: set on x86_64 when the call used the x32 ABI
/// (`__X32_SYSCALL_BIT`, `arch/x86/include/uapi/asm/unistd.h`).
pub const X32_SYSCALL_BIT: u32 = 0x4000_0000;

/// A system call ABI: what decides which table a system call number belongs to.
///
/// `x86_64` and `x32` share one `AUDIT_ARCH_*` value and differ in
/// [`X32_SYSCALL_BIT`] only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Arch {
    /// 64-bit x86, by the `syscall` instruction without the x32 bit.
    X86_64,
    /// 32-bit pointers in 64-bit mode: `x86_64` numbers with bit 30 set.
    X32,
    /// 32-bit x86, also `int 0x80` out of a 64-bit program.
    I386,
    /// 64-bit ARM, little endian.
    Aarch64,
    /// 64-bit RISC-V, little endian.
    Riscv64,
}

/// A name that is none of nucleus's architectures.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown architecture {0:?}; known are x86_64, x32, i386, aarch64, riscv64 and their SCMP_ARCH_ names"
)]
pub struct UnknownArch(pub String);

impl Arch {
    /// Every architecture, in the order in which output lists them.
    pub const ALL: [Self; 5] = [
        Self::X86_64,
        Self::X32,
        Self::I386,
        Self::Aarch64,
        Self::Riscv64,
    ];

    /// The architecture this code was compiled for, or `None` where nucleus
    /// has no table for it.
    #[must_use]
    pub const fn native() -> Option<Self> {
        if cfg!(all(target_arch = "x86_64", target_pointer_width = "64")) {
            Some(Self::X86_64)
        } else if cfg!(all(target_arch = "aarch64", target_endian = "little")) {
            Some(Self::Aarch64)
        } else if cfg!(target_arch = "riscv64") {
            Some(Self::Riscv64)
        } else {
            None
        }
    }

    /// The `AUDIT_ARCH_*` value in `seccomp_data.arch` (`include/uapi/linux/audit.h`).
    #[must_use]
    pub const fn audit(self) -> u32 {
        match self {
            Self::X86_64 | Self::X32 => 0xc000_003e,
            Self::I386 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
            Self::Riscv64 => 0xc000_00f3,
        }
    }

    /// The architecture of a call with these `arch` and `nr` fields of
    /// `seccomp_data`, or `None` for one that nucleus has no table for.
    ///
    /// As libseccomp has it, every number from bit 30 on is x32, but for -1,
    /// which a tracer writes to skip a call; the kernel has no call with bit 31.
    #[must_use]
    pub const fn of(audit: u32, nr: u32) -> Option<Self> {
        match audit {
            0xc000_003e if nr >= X32_SYSCALL_BIT && nr != u32::MAX => Some(Self::X32),
            0xc000_003e => Some(Self::X86_64),
            0x4000_0003 => Some(Self::I386),
            0xc000_00b7 => Some(Self::Aarch64),
            0xc000_00f3 => Some(Self::Riscv64),
            _ => None,
        }
    }

    /// The short name: `x86_64`, `x32`, `i386`, `aarch64`, `riscv64`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::X32 => "x32",
            Self::I386 => "i386",
            Self::Aarch64 => "aarch64",
            Self::Riscv64 => "riscv64",
        }
    }

    /// The name in an OCI profile, such as `SCMP_ARCH_X86_64`.
    #[must_use]
    pub const fn oci_name(self) -> &'static str {
        match self {
            Self::X86_64 => "SCMP_ARCH_X86_64",
            Self::X32 => "SCMP_ARCH_X32",
            Self::I386 => "SCMP_ARCH_X86",
            Self::Aarch64 => "SCMP_ARCH_AARCH64",
            Self::Riscv64 => "SCMP_ARCH_RISCV64",
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Arch {
    type Err = UnknownArch;

    /// Takes the short name, the OCI name, and the spellings of the kernel
    /// and of Go (`x86`, `amd64`, `386`, `arm64`).
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Ok(match name {
            "x86_64" | "amd64" | "x86-64" | "SCMP_ARCH_X86_64" => Self::X86_64,
            "x32" | "SCMP_ARCH_X32" => Self::X32,
            "i386" | "x86" | "386" | "i686" | "SCMP_ARCH_X86" => Self::I386,
            "aarch64" | "arm64" | "SCMP_ARCH_AARCH64" => Self::Aarch64,
            "riscv64" | "SCMP_ARCH_RISCV64" => Self::Riscv64,
            other => return Err(UnknownArch(other.to_owned())),
        })
    }
}

//! A filter that the kernel would load.

mod cache;
mod check;

use std::os::fd::OwnedFd;

use crate::{Action, Insn, InstallError, InstallFlags, LoadError, sys};

/// The longest program that the kernel takes (`BPF_MAXINSNS`,
/// `include/uapi/linux/bpf_common.h`).
pub const MAX_INSNS: usize = 4096;

/// A classic BPF program that passes the checks of the kernel's loader.
///
/// ```
/// use nucleus_seccomp::{Action, Arch, Insn, Program, SeccompData, op, offset};
///
/// // getppid (110 on x86_64) fails with EPERM, everything else is allowed.
/// let program = Program::new(vec![
///     Insn::load(offset::NR),
///     Insn::jump(op::JEQ_K, 110, 0, 1),
///     Insn::ret(Action::Errno(1)),
///     Insn::ret(Action::Allow),
/// ])?;
/// let call = SeccompData { nr: 110, arch: Arch::X86_64.audit(), ..SeccompData::default() };
/// assert_eq!(program.run(&call).action, Action::Errno(1));
/// # Ok::<(), nucleus_seccomp::LoadError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Program {
    insns: Vec<Insn>,
}

/// Byte order of a raw program. Filters are loaded in the machine's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Endian {
    /// Least significant byte first: every architecture nucleus knows.
    Little,
    /// Most significant byte first.
    Big,
}

impl Endian {
    /// The byte order of the machine this code runs on.
    pub const NATIVE: Self = if cfg!(target_endian = "big") {
        Self::Big
    } else {
        Self::Little
    };

    /// The one that it is not.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Little => Self::Big,
            Self::Big => Self::Little,
        }
    }
}

impl Program {
    /// Checks what the kernel checks before it loads a filter.
    ///
    /// # Errors
    ///
    /// The first instruction that `bpf_check_classic` (`net/core/filter.c`)
    /// or `seccomp_check_filter` (`kernel/seccomp.c`) refuses, and why.
    pub fn new(insns: Vec<Insn>) -> Result<Self, LoadError> {
        check::check(&insns)?;
        Ok(Self { insns })
    }

    /// Stops every call of every architecture for the tracer
    /// (`SECCOMP_RET_TRACE` with data 0).
    #[must_use]
    pub fn trace_all() -> Self {
        Self {
            insns: vec![Insn::ret(Action::Trace(0))],
        }
    }

    /// The instructions; never empty.
    #[must_use]
    pub fn insns(&self) -> &[Insn] {
        &self.insns
    }

    /// An array of `struct sock_filter`, 8 bytes an instruction.
    #[must_use]
    pub fn to_bytes(&self, endian: Endian) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.insns.len() * 8);
        for insn in &self.insns {
            let (code, k) = match endian {
                Endian::Little => (insn.code.to_le_bytes(), insn.k.to_le_bytes()),
                Endian::Big => (insn.code.to_be_bytes(), insn.k.to_be_bytes()),
            };
            bytes.extend_from_slice(&code);
            bytes.extend_from_slice(&[insn.jt, insn.jf]);
            bytes.extend_from_slice(&k);
        }
        bytes
    }

    /// Reads an array of `struct sock_filter`, as every tool writes it.
    ///
    /// # Errors
    ///
    /// A length that is no multiple of 8, and what [`Program::new`] refuses.
    pub fn from_bytes(bytes: &[u8], endian: Endian) -> Result<Self, LoadError> {
        let (chunks, rest) = bytes.as_chunks::<8>();
        if !rest.is_empty() {
            return Err(LoadError::Torn { bytes: bytes.len() });
        }
        Self::new(
            chunks
                .iter()
                .map(|&[c0, c1, jt, jf, k0, k1, k2, k3]| {
                    let (code, k) = match endian {
                        Endian::Little => (
                            u16::from_le_bytes([c0, c1]),
                            u32::from_le_bytes([k0, k1, k2, k3]),
                        ),
                        Endian::Big => (
                            u16::from_be_bytes([c0, c1]),
                            u32::from_be_bytes([k0, k1, k2, k3]),
                        ),
                    };
                    Insn { code, jt, jf, k }
                })
                .collect(),
        )
    }

    /// Reads an array of `struct sock_filter` in either byte order, and says
    /// which. No array is a program in both: the last operation must be a
    /// return, and a return in the other order is none.
    ///
    /// # Errors
    ///
    /// As [`Program::from_bytes`], for the machine's own byte order.
    pub fn from_raw(bytes: &[u8]) -> Result<(Self, Endian), LoadError> {
        match Self::from_bytes(bytes, Endian::NATIVE) {
            Ok(program) => Ok((program, Endian::NATIVE)),
            Err(error) => match Self::from_bytes(bytes, Endian::NATIVE.other()) {
                Ok(program) => Ok((program, Endian::NATIVE.other())),
                Err(_) => Err(error),
            },
        }
    }

    /// Puts the filter on the calling thread, or on every thread of the
    /// process with [`InstallFlags::TSYNC`].
    ///
    /// Allocates nothing and takes no lock: sound between fork and exec.
    /// Sets nothing else; without `CAP_SYS_ADMIN` the caller must have set
    /// `PR_SET_NO_NEW_PRIVS` before. With [`InstallFlags::NEW_LISTENER`] the
    /// listener comes back, close-on-exec.
    ///
    /// # Errors
    ///
    /// What `seccomp(2)` refuses, with the cause that the errno stands for.
    pub fn install(&self, flags: InstallFlags) -> Result<Option<OwnedFd>, InstallError> {
        sys::install(&self.insns, flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{offset, op};

    #[test]
    fn bytes_round_trip_in_both_orders() {
        let program = Program::new(vec![
            Insn::load(offset::NR),
            Insn::jump(op::JEQ_K, 0x0102_0304, 0, 1),
            Insn::ret(Action::Errno(1)),
            Insn::ret(Action::Allow),
        ])
        .unwrap();
        let little = program.to_bytes(Endian::Little);
        assert_eq!(little[8..16], [0x15, 0, 0, 1, 4, 3, 2, 1]);
        let big = program.to_bytes(Endian::Big);
        assert_eq!(big[8..16], [0, 0x15, 0, 1, 1, 2, 3, 4]);
        assert_eq!(
            Program::from_bytes(&little, Endian::Little).unwrap(),
            program
        );
        assert_eq!(Program::from_bytes(&big, Endian::Big).unwrap(), program);
        assert_eq!(
            Program::from_raw(&big).unwrap(),
            (program.clone(), Endian::Big)
        );
        assert_eq!(
            Program::from_raw(&little).unwrap(),
            (program, Endian::Little)
        );
    }

    #[test]
    fn a_torn_file_is_an_error() {
        let bytes = Program::trace_all().to_bytes(Endian::Little);
        assert_eq!(
            Program::from_bytes(&bytes[..7], Endian::Little),
            Err(LoadError::Torn { bytes: 7 })
        );
    }
}

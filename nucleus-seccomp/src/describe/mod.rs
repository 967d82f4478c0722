//! A call as a person reads it: `socket(AF_NETLINK, SOCK_RAW|SOCK_CLOEXEC, 15)`.
//!
//! A filter sees registers, so what is behind a pointer stays an address.

mod names;
mod signatures;

use std::fmt;

use crate::{Arch, SeccompData};
use names::Names;
use signatures::Kind;

/// A call with its arguments decoded; see [`SeccompData::describe`].
#[derive(Clone, Copy)]
pub struct Description<'a> {
    data: &'a SeccompData,
    memory: Option<&'a ReadPath<'a>>,
}

/// Reads the NUL-terminated path at an address of the caller's memory, without
/// the NUL.
pub type ReadPath<'a> = dyn Fn(u64) -> Option<Vec<u8>> + 'a;

impl fmt::Debug for Description<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'a> Description<'a> {
    /// Shows paths in place of their addresses, where `read` gets at them.
    #[must_use]
    pub const fn with_paths(self, read: &'a ReadPath<'a>) -> Self {
        Self {
            memory: Some(read),
            ..self
        }
    }
}

impl SeccompData {
    /// The call in C's notation, with names for flags and constants.
    ///
    /// A call whose arguments no table knows is shown with all six registers.
    ///
    /// ```
    /// use nucleus_seccomp::{Arch, SeccompData, Syscall};
    ///
    /// let socket = Syscall::by_name(Arch::X86_64, "socket").ok_or("no such call")?;
    /// let data = SeccompData {
    ///     nr: socket.number(),
    ///     arch: Arch::X86_64.audit(),
    ///     args: [16, 0x80003, 15, 0, 0, 0],
    ///     ..SeccompData::default()
    /// };
    /// assert_eq!(data.describe().to_string(), "socket(AF_NETLINK, SOCK_RAW|SOCK_CLOEXEC, 15)");
    /// # Ok::<(), &str>(())
    /// ```
    #[must_use]
    pub const fn describe(&self) -> Description<'_> {
        Description {
            data: self,
            memory: None,
        }
    }
}

impl fmt::Display for Description<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let data = self.data;
        let Some(syscall) = data.syscall() else {
            write!(f, "#{} of AUDIT_ARCH {:#x}", data.nr, data.arch)?;
            return self.arguments(f, data.args.map(|value| (Kind::Hex, value)));
        };
        write!(f, "{syscall}")?;
        match syscall.name().and_then(signatures::of) {
            Some(kinds) => self.arguments(
                f,
                kinds
                    .iter()
                    .copied()
                    .zip(data.args)
                    .map(|(kind, value)| (kind.on(syscall.arch()), value)),
            ),
            None => self.arguments(f, data.args.map(|value| (Kind::Hex, value))),
        }
    }
}

impl Description<'_> {
    fn arguments(
        &self,
        f: &mut fmt::Formatter<'_>,
        arguments: impl IntoIterator<Item = (Kind, u64)>,
    ) -> fmt::Result {
        f.write_str("(")?;
        for (index, (kind, value)) in arguments.into_iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            match self.path(kind, value) {
                Some(path) => write!(f, "\"{}\"", path.escape_ascii())?,
                None => argument(f, kind, value)?,
            }
        }
        f.write_str(")")
    }

    fn path(&self, kind: Kind, address: u64) -> Option<Vec<u8>> {
        match (kind, self.memory) {
            (Kind::Path, Some(read)) => read(address),
            _ => None,
        }
    }
}

fn argument(f: &mut fmt::Formatter<'_>, kind: Kind, value: u64) -> fmt::Result {
    // The kernel reads an int from the lower half; the upper holds anything.
    let [a, b, c, d, ..] = value.to_le_bytes();
    let low = u32::from_le_bytes([a, b, c, d]);
    match kind {
        Kind::Pointer | Kind::Path if value == 0 => f.write_str("NULL"),
        Kind::Pointer | Kind::Path | Kind::Hex => write!(f, "{value:#x}"),
        Kind::Size => write!(f, "{value}"),
        Kind::Int => write!(f, "{}", low.cast_signed()),
        Kind::Mode => write!(f, "{low:#o}"),
        Kind::At if low == AT_FDCWD => f.write_str("AT_FDCWD"),
        Kind::At => write!(f, "{}", low.cast_signed()),
        Kind::Choice(names) => choice(f, names, low.into()),
        Kind::Flags(names) => flags(f, names, low.into()),
        Kind::LongFlags(names) => flags(f, names, value),
        Kind::ChoiceAndFlags {
            mask,
            choices,
            flags: names,
        } => {
            choice(f, choices, u64::from(low) & mask)?;
            let rest = u64::from(low) & !mask;
            if rest == 0 {
                return Ok(());
            }
            f.write_str("|")?;
            flags(f, names, rest)
        }
        Kind::OpenFlags => open_flags(f, names::OPEN, low.into()),
        Kind::ArmOpenFlags => open_flags(f, names::OPEN_ARM, low.into()),
        Kind::CloneFlags => {
            let signal = value & names::CLONE_SIGNAL;
            let rest = value & !names::CLONE_SIGNAL;
            if rest != 0 || signal == 0 {
                flags(f, names::CLONE, rest)?;
            }
            match (rest, signal) {
                (_, 0) => Ok(()),
                (0, _) => choice(f, names::SIGNALS, signal),
                _ => {
                    f.write_str("|")?;
                    choice(f, names::SIGNALS, signal)
                }
            }
        }
    }
}

const AT_FDCWD: u32 = (-100_i32).cast_unsigned();

fn open_flags(f: &mut fmt::Formatter<'_>, names: Names, value: u64) -> fmt::Result {
    choice(f, names::ACCESS_MODES, value & 3)?;
    match value & !3 {
        0 => Ok(()),
        rest => {
            f.write_str("|")?;
            flags(f, names, rest)
        }
    }
}

fn choice(f: &mut fmt::Formatter<'_>, names: Names, value: u64) -> fmt::Result {
    match names.iter().find(|(known, _)| *known == value) {
        Some((_, name)) => f.write_str(name),
        None if value < 1024 => write!(f, "{value}"),
        None => write!(f, "{value:#x}"),
    }
}

/// Names for the bits that have one, wider ones first in the table; what is
/// left as a number.
fn flags(f: &mut fmt::Formatter<'_>, names: Names, value: u64) -> fmt::Result {
    if value == 0 {
        return f.write_str("0");
    }
    let mut left = value;
    let mut separator = "";
    for &(bits, name) in names {
        if bits != 0 && left & bits == bits {
            write!(f, "{separator}{name}")?;
            separator = "|";
            left &= !bits;
        }
    }
    if left != 0 {
        write!(f, "{separator}{left:#x}")?;
    }
    Ok(())
}

impl Kind {
    /// Open flags have other values on ARM (`arch/arm64/include/uapi/asm/fcntl.h`).
    const fn on(self, arch: Arch) -> Self {
        match (self, arch) {
            (Self::OpenFlags, Arch::Aarch64) => Self::ArmOpenFlags,
            (kind, _) => kind,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Syscall;

    fn check(arch: Arch, name: &str, args: [u64; 6], expected: &str) {
        let data = SeccompData {
            nr: Syscall::by_name(arch, name).unwrap().number(),
            arch: arch.audit(),
            args,
            ..SeccompData::default()
        };
        assert_eq!(data.describe().to_string(), expected);
    }

    #[test]
    fn calls_read_as_in_c() {
        let check = |name, args, expected| check(Arch::X86_64, name, args, expected);
        check("getpid", [7; 6], "getpid()");
        check(
            "openat",
            [0xffff_ff9c, 0x7000, 0o2_000_101, 0o644, 9, 9],
            "openat(AT_FDCWD, 0x7000, O_WRONLY|O_CREAT|O_CLOEXEC, 0o644)",
        );
        check(
            "ioctl",
            [1, 0x5412, 0x7000, 0, 0, 0],
            "ioctl(1, TIOCSTI, 0x7000)",
        );
        check(
            "ioctl",
            [1, 0xdead_beef, 0, 0, 0, 0],
            "ioctl(1, 0xdeadbeef, 0x0)",
        );
        check(
            "prctl",
            [38, 1, 0, 0, 0, 0],
            "prctl(PR_SET_NO_NEW_PRIVS, 0x1, 0x0, 0x0, 0x0)",
        );
        check(
            "clone",
            [0x1000_0011, 0, 0, 0, 0, 0],
            "clone(CLONE_NEWUSER|SIGCHLD, NULL, NULL, NULL, 0x0)",
        );
        check(
            "clone",
            [17, 0, 0, 0, 0, 0],
            "clone(SIGCHLD, NULL, NULL, NULL, 0x0)",
        );
        check("clone", [0; 6], "clone(0, NULL, NULL, NULL, 0x0)");
        check(
            "unshare",
            [0x4002_0000, 0, 0, 0, 0, 0],
            "unshare(CLONE_NEWNS|CLONE_NEWNET)",
        );
        check(
            "kill",
            [0xffff_ffff_ffff_ffff, 9, 0, 0, 0, 0],
            "kill(-1, SIGKILL)",
        );
        check(
            "socket",
            [1, 0xdead_beef_0000_0001, 0, 0, 0, 0],
            "socket(AF_UNIX, SOCK_STREAM, 0)",
        );
    }

    #[test]
    fn paths_are_read_where_they_can_be() {
        let data = SeccompData {
            nr: Syscall::by_name(Arch::X86_64, "rename").unwrap().number(),
            arch: Arch::X86_64.audit(),
            args: [0x10, 0x20, 0, 0, 0, 0],
            ..SeccompData::default()
        };
        let read = |address| (address == 0x10).then(|| b"a \"b\"\n".to_vec());
        assert_eq!(
            data.describe().with_paths(&read).to_string(),
            r#"rename("a \"b\"\n", 0x20)"#
        );
    }

    #[test]
    fn open_flags_are_the_architectures_own() {
        check(
            Arch::Aarch64,
            "openat",
            [0xffff_ff9c, 1, 0o40000, 0, 0, 0],
            "openat(AT_FDCWD, 0x1, O_RDONLY|O_DIRECTORY, 0o0)",
        );
        check(
            Arch::X86_64,
            "openat",
            [0xffff_ff9c, 1, 0o200_000, 0, 0, 0],
            "openat(AT_FDCWD, 0x1, O_RDONLY|O_DIRECTORY, 0o0)",
        );
    }

    #[test]
    fn what_no_table_knows_is_shown_in_full() {
        let data = SeccompData {
            nr: 5,
            arch: 0x28,
            args: [1, 2, 3, 4, 5, 6],
            ..SeccompData::default()
        };
        assert_eq!(
            data.describe().to_string(),
            "#5 of AUDIT_ARCH 0x28(0x1, 0x2, 0x3, 0x4, 0x5, 0x6)"
        );
    }
}

//! System calls: numbers and names.

use std::fmt;

use crate::{Arch, Group, KernelVersion, suggest, table};

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

    /// The call of this name, or `None` where the architecture has none.
    ///
    /// Names are the kernel's; names that it gave up are found too.
    #[must_use]
    pub fn by_name(arch: Arch, name: &str) -> Option<Self> {
        let number = table::number(arch, name)?;
        Some(Self { arch, number })
    }

    /// The call whose name is nearest to one that is not in the table, if any
    /// is near: for "did you mean ...?".
    #[must_use]
    pub fn nearest(arch: Arch, name: &str) -> Option<Self> {
        let names = table::entries(arch).iter().map(|&(_, name)| name);
        Self::by_name(arch, suggest::nearest(name, names)?)
    }

    /// Every call that the architecture's table has, by number.
    pub fn all(arch: Arch) -> impl Iterator<Item = Self> {
        let entries = table::entries(arch).iter();
        entries.map(move |&(number, _)| Self { arch, number })
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
        table::name(self.arch, self.number)
    }

    /// The group that the call belongs to, or `None` for an unknown number.
    #[must_use]
    pub fn group(self) -> Option<&'static Group> {
        self.name().and_then(table::group)
    }

    /// The kernel release that first had this call, or `None` where that was
    /// 3.0 or before, or the number is unknown.
    #[must_use]
    pub fn since(self) -> Option<KernelVersion> {
        self.name().and_then(table::since)
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

//! The system call tables: which number has which name.
//!
//! The `syscalls` crate has the tables of Linux 6.17; [`fixes`] corrects and
//! extends them. Each architecture's table is built on first use (some 30 us).

mod fixes;
mod foreign;
mod group;
mod mux;
mod since;

pub(crate) use group::of as group;
pub use group::{GROUPS, Group};
pub(crate) use mux::multiplexed;
pub(crate) use since::since;

use std::sync::OnceLock;

use crate::{Arch, X32_SYSCALL_BIT};

/// A system call as a table has it: `seccomp_data.nr` and the kernel's name.
pub(crate) type Entry = (u32, &'static str);

/// One architecture's table, sorted both ways.
#[derive(Debug)]
struct Table {
    by_number: Vec<Entry>,
    by_name: Vec<Entry>,
}

/// The table of an architecture, ordered by number.
pub(crate) fn entries(arch: Arch) -> &'static [Entry] {
    &table(arch).by_number
}

/// The name of a number, or `None` where the architecture has no such call.
pub(crate) fn name(arch: Arch, number: u32) -> Option<&'static str> {
    let entries = entries(arch);
    let found = entries.binary_search_by_key(&number, |entry| entry.0);
    found.ok().map(|index| entries[index].1)
}

/// The number of a name or of one of its former names.
pub(crate) fn number(arch: Arch, name: &str) -> Option<u32> {
    let name = fixes::current_name(name);
    let entries = &table(arch).by_name;
    let found = entries.binary_search_by_key(&name, |entry| entry.1);
    found.ok().map(|index| entries[index].0)
}

/// Whether any architecture of Linux has a call of this name.
pub(crate) fn is_known(name: &str) -> bool {
    foreign::is_foreign(name)
        || multiplexed(name).is_some()
        || Arch::ALL
            .into_iter()
            .any(|arch| number(arch, name).is_some())
}

/// Every name of every table, some of them several times.
pub(crate) fn all_names() -> impl Iterator<Item = &'static str> {
    let tables = Arch::ALL.into_iter().flat_map(entries);
    tables.map(|entry| entry.1)
}

fn table(arch: Arch) -> &'static Table {
    static TABLES: [OnceLock<Table>; Arch::ALL.len()] =
        [const { OnceLock::new() }; Arch::ALL.len()];
    TABLES[arch as usize].get_or_init(|| build(arch))
}

/// The entries of one table of the `syscalls` crate, whose iterator stops
/// before the last.
macro_rules! crate_table {
    ($arch:ident) => {
        syscalls::$arch::Sysno::iter()
            .chain([syscalls::$arch::Sysno::last()])
            .map(|call| (call.id().unsigned_abs(), call.name()))
            .collect()
    };
}

fn build(arch: Arch) -> Table {
    let mut entries: Vec<Entry> = match arch {
        Arch::X86_64 | Arch::X32 => crate_table!(x86_64),
        Arch::I386 => crate_table!(x86),
        Arch::Aarch64 => crate_table!(aarch64),
        Arch::Riscv64 => crate_table!(riscv64),
    };
    entries.retain(|&(number, _)| fixes::exists(arch, number));
    for entry in &mut entries {
        entry.1 = fixes::kernel_name(entry.1);
    }
    entries.extend_from_slice(fixes::NEWER);
    if arch == Arch::X32 {
        entries.extend_from_slice(fixes::X32_OWN);
        for entry in &mut entries {
            entry.0 |= X32_SYSCALL_BIT;
        }
    }
    entries.sort_unstable();
    entries.dedup();
    let by_number = entries.clone();
    entries.sort_unstable_by_key(|entry| entry.1);
    Table {
        by_number,
        by_name: entries,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_lead_to_each_other() {
        for arch in Arch::ALL {
            let entries = entries(arch);
            assert!(entries.len() > 300, "{arch} has {} calls", entries.len());
            for window in entries.windows(2) {
                assert!(window[0].0 < window[1].0, "{arch}: {window:?}");
            }
            for &(nr, call) in entries {
                assert_eq!(name(arch, nr), Some(call));
                assert_eq!(number(arch, call), Some(nr), "{arch} {call}");
                assert!(
                    call.bytes()
                        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'),
                    "{arch}: {call:?} is no name"
                );
            }
        }
    }

    /// The headers of the build machine are a second witness, for as many
    /// calls as they know.
    #[test]
    fn agrees_with_libc() {
        #[cfg(target_arch = "x86_64")]
        let arch = Arch::X86_64;
        #[cfg(target_arch = "aarch64")]
        let arch = Arch::Aarch64;
        #[cfg(target_arch = "riscv64")]
        let arch = Arch::Riscv64;
        for (call, nr) in [
            ("read", libc::SYS_read),
            ("newfstatat", libc::SYS_newfstatat),
            ("clone3", libc::SYS_clone3),
            ("seccomp", libc::SYS_seccomp),
            ("landlock_restrict_self", libc::SYS_landlock_restrict_self),
        ] {
            assert_eq!(number(arch, call).map(i64::from), Some(nr), "{call}");
        }
    }

    #[test]
    fn numbers_that_are_easily_wrong() {
        // From arch/x86/entry/syscalls/syscall_{32,64}.tbl and scripts/syscall.tbl.
        for (arch, name, nr) in [
            (Arch::X86_64, "rt_sigaction", Some(13)),
            (Arch::X32, "rt_sigaction", Some(0x4000_0200)),
            (Arch::X32, "read", Some(0x4000_0000)),
            (Arch::X32, "pwritev2", Some(0x4000_0223)),
            (Arch::X32, "uselib", None),
            (Arch::X32, "uretprobe", Some(0x4000_014f)),
            (Arch::X86_64, "listns", Some(470)),
            (Arch::I386, "rseq_slice_yield", Some(471)),
            (Arch::X86_64, "file_setattr", Some(469)),
            (Arch::I386, "break", Some(17)),
            (Arch::I386, "clock_gettime64", Some(403)),
            (Arch::Aarch64, "clock_gettime64", None),
            (Arch::Aarch64, "newfstatat", Some(79)),
            (Arch::Riscv64, "renameat", None),
            (Arch::Riscv64, "riscv_hwprobe", Some(258)),
            (Arch::X86_64, "perf_counter_open", Some(298)),
        ] {
            assert_eq!(number(arch, name), nr, "{arch} {name}");
        }
        assert_eq!(name(Arch::X86_64, 512), None);
        assert_eq!(name(Arch::X32, 0x4000_000d), None);
        assert_eq!(name(Arch::X32, 0), None);
    }
}

//! Calls that only architectures without a table have.

/// Whether some architecture of Linux has a call of this name, though none of
/// [`Arch::ALL`](crate::Arch::ALL) does. Profiles of Docker and podman name
/// them for every machine.
pub(crate) fn is_foreign(name: &str) -> bool {
    NAMES.binary_search(&name).is_ok()
}

const NAMES: &[&str] = &[
    "arm_fadvise64_64",
    "arm_sync_file_range",
    "breakpoint",
    "cachectl",
    "cacheflush",
    "execv",
    "get_tls",
    "getdomainname",
    "getpagesize",
    "kern_features",
    "llseek",
    "memory_ordering",
    "multiplexer",
    "pciconfig_iobase",
    "pciconfig_read",
    "pciconfig_write",
    "perfctr",
    "rtas",
    "s390_guarded_storage",
    "s390_pci_mmio_read",
    "s390_pci_mmio_write",
    "s390_runtime_instr",
    "s390_sthyi",
    "sched_get_affinity",
    "sched_set_affinity",
    "set_tls",
    "spu_create",
    "spu_run",
    "subpage_prot",
    "swapcontext",
    "switch_endian",
    "sync_file_range2",
    "sys_debug_setcontext",
    "syscall",
    "sysmips",
    "timerfd",
    "usr26",
    "usr32",
    "utrap_install",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorted_and_without_a_table() {
        assert!(NAMES.is_sorted());
        for name in NAMES {
            for arch in crate::Arch::ALL {
                assert_eq!(crate::table::number(arch, name), None, "{arch} {name}");
            }
        }
    }
}

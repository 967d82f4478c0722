//! Which kernel first had a call.

use crate::KernelVersion;

/// The first release of a call on the architectures that got it first, or
/// `None` for those of 3.0 and before (`syscalls(2)` and the kernel's history).
pub(crate) fn since(name: &str) -> Option<KernelVersion> {
    let (major, minor) = match name {
        "process_vm_readv" | "process_vm_writev" => (3, 2),
        "kcmp" => (3, 5),
        "finit_module" => (3, 8),
        "sched_getattr" | "sched_setattr" => (3, 14),
        "renameat2" => (3, 15),
        "getrandom" | "kexec_file_load" | "memfd_create" | "seccomp" => (3, 17),
        "bpf" => (3, 18),
        "execveat" => (3, 19),
        "membarrier" | "userfaultfd" => (4, 3),
        "mlock2" => (4, 4),
        "copy_file_range" => (4, 5),
        "preadv2" | "pwritev2" => (4, 6),
        "pkey_alloc" | "pkey_free" | "pkey_mprotect" => (4, 9),
        "statx" => (4, 11),
        "riscv_flush_icache" => (4, 15),
        "io_pgetevents" | "rseq" => (4, 18),
        "clock_adjtime64"
        | "clock_getres_time64"
        | "clock_gettime64"
        | "clock_nanosleep_time64"
        | "clock_settime64"
        | "futex_time64"
        | "io_pgetevents_time64"
        | "io_uring_enter"
        | "io_uring_register"
        | "io_uring_setup"
        | "mq_timedreceive_time64"
        | "mq_timedsend_time64"
        | "pidfd_send_signal"
        | "ppoll_time64"
        | "pselect6_time64"
        | "recvmmsg_time64"
        | "rt_sigtimedwait_time64"
        | "sched_rr_get_interval_time64"
        | "semtimedop_time64"
        | "timer_gettime64"
        | "timer_settime64"
        | "timerfd_gettime64"
        | "timerfd_settime64"
        | "utimensat_time64" => (5, 1),
        "fsconfig" | "fsmount" | "fsopen" | "fspick" | "move_mount" | "open_tree" => (5, 2),
        "clone3" | "pidfd_open" => (5, 3),
        "openat2" | "pidfd_getfd" => (5, 6),
        "faccessat2" => (5, 8),
        "close_range" => (5, 9),
        "process_madvise" => (5, 10),
        "epoll_pwait2" => (5, 11),
        "mount_setattr" => (5, 12),
        "landlock_add_rule" | "landlock_create_ruleset" | "landlock_restrict_self" => (5, 13),
        "memfd_secret" | "quotactl_fd" => (5, 14),
        "process_mrelease" => (5, 15),
        "futex_waitv" => (5, 16),
        "set_mempolicy_home_node" => (5, 17),
        "riscv_hwprobe" => (6, 4),
        "cachestat" => (6, 5),
        "fchmodat2" | "map_shadow_stack" => (6, 6),
        "futex_requeue" | "futex_wait" | "futex_wake" => (6, 7),
        "listmount" | "lsm_get_self_attr" | "lsm_list_modules" | "lsm_set_self_attr"
        | "statmount" => (6, 8),
        "mseal" => (6, 10),
        "uretprobe" => (6, 11),
        "getxattrat" | "listxattrat" | "removexattrat" | "setxattrat" => (6, 13),
        "open_tree_attr" => (6, 15),
        "file_getattr" | "file_setattr" => (6, 17),
        "uprobe" => (6, 18),
        "listns" => (6, 19),
        "rseq_slice_yield" => (7, 0),
        _ => return None,
    };
    Some(KernelVersion::new(major, minor))
}

//! What a profile says of calls that the traces do not hold.

use std::collections::BTreeSet;

use nucleus_seccomp::Syscall;

use crate::{Arguments, Trace};

/// Allowed in every profile. A program needs them to start, to end and to go on
/// after a signal, which the traced run may have had no occasion for; none of
/// them reaches anything outside the process that it could not reach already.
///
/// - `execve`: the launcher's last call, made under the filter.
/// - `exit`, `exit_group`: without them a program ends by a crash.
/// - `rt_sigreturn`, on i386 also `sigreturn`: the way out of a signal handler.
/// - `restart_syscall`: put into the program by the kernel when a sleep is
///   interrupted by a stop and continued.
pub(crate) const ALWAYS: &[&str] = &[
    "execve",
    "exit",
    "exit_group",
    "restart_syscall",
    "rt_sigreturn",
    "sigreturn",
];

/// Allowed in the profile of a program that starts threads: whether a thread
/// waits for another, ends before its process does, or leaves a stack to the
/// next depends on the schedule, not on the program. All act on the threads and
/// the memory of the calling process alone.
const THREADS: &[&str] = &[
    "exit",
    "futex",
    "futex_time64",
    "madvise",
    "munmap",
    "rseq",
    "rt_sigprocmask",
    "sched_yield",
    "set_robust_list",
];

/// Calls that C libraries and language runtimes try first and do without when
/// the answer is ENOSYS; any other errno they take for the outcome. A later run,
/// or a newer libc, may try what the traced run did not.
///
/// Sources: the `__ASSUME_` list of glibc's `kernel-features.h` and the
/// callers of those names (renameat2, execveat, mlock2, statx, the time64 calls
/// of 32-bit architectures, clone3, faccessat2, `close_range`, fchmodat2); glibc's
/// fallbacks of preadv2, pwritev2, rseq, `epoll_pwait2`, `copy_file_range`, mseal,
/// getrandom; musl for statx, faccessat2, fchmodat2 and the time64 calls; the
/// standard libraries of Rust, Go and Python, systemd and util-linux for
/// openat2, the pidfd calls, `io_uring_setup`, membarrier, the Landlock calls,
/// `futex_waitv`, the mount calls of 5.2 and later, cachestat.
const PROBED: &[&str] = &[
    "cachestat",
    "clock_adjtime64",
    "clock_getres_time64",
    "clock_gettime64",
    "clock_nanosleep_time64",
    "clock_settime64",
    "clone3",
    "close_range",
    "copy_file_range",
    "epoll_pwait2",
    "execveat",
    "faccessat2",
    "fchmodat2",
    "file_getattr",
    "file_setattr",
    "fsconfig",
    "fsmount",
    "fsopen",
    "fspick",
    "futex_requeue",
    "futex_time64",
    "futex_wait",
    "futex_waitv",
    "futex_wake",
    "getrandom",
    "getxattrat",
    "io_pgetevents_time64",
    "io_uring_setup",
    "landlock_add_rule",
    "landlock_create_ruleset",
    "landlock_restrict_self",
    "listmount",
    "listxattrat",
    "map_shadow_stack",
    "membarrier",
    "memfd_create",
    "mlock2",
    "mount_setattr",
    "move_mount",
    "mq_timedreceive_time64",
    "mq_timedsend_time64",
    "mseal",
    "open_tree",
    "open_tree_attr",
    "openat2",
    "pidfd_getfd",
    "pidfd_open",
    "pidfd_send_signal",
    "ppoll_time64",
    "preadv2",
    "process_madvise",
    "process_mrelease",
    "pselect6_time64",
    "pwritev2",
    "recvmmsg_time64",
    "removexattrat",
    "renameat2",
    "rseq",
    "rt_sigtimedwait_time64",
    "sched_rr_get_interval_time64",
    "semtimedop_time64",
    "setxattrat",
    "statmount",
    "statx",
    "timer_gettime64",
    "timer_settime64",
    "timerfd_gettime64",
    "timerfd_settime64",
    "utimensat_time64",
];

/// The calls to answer with ENOSYS, ascending.
pub(crate) fn probed() -> impl Iterator<Item = &'static str> {
    PROBED.iter().copied()
}

/// The calls that the program of `trace` makes or not by the schedule.
pub(crate) fn by_schedule(trace: &Trace) -> BTreeSet<&'static str> {
    let starts_threads = trace
        .calls()
        .iter()
        .any(|(syscall, call)| may_start_thread(*syscall, &call.arguments));
    if starts_threads {
        THREADS.iter().copied().collect()
    } else {
        BTreeSet::new()
    }
}

/// Whether the call may have started a thread. The flags of clone3 are behind a
/// pointer: it may.
fn may_start_thread(syscall: Syscall, arguments: &Arguments) -> bool {
    const CLONE_THREAD: u64 = 0x1_0000;
    match (syscall.name(), arguments) {
        (Some("clone3"), _) => true,
        (Some("clone"), Arguments::Seen(seen)) => seen.rows().any(|row| row[0] & CLONE_THREAD != 0),
        (Some("clone"), _) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use nucleus_seccomp::Arch;

    use super::*;

    #[test]
    fn every_name_is_of_some_architecture_and_in_order() {
        for table in [ALWAYS, THREADS, PROBED] {
            assert!(table.is_sorted(), "{table:?}");
            for name in table {
                assert!(
                    Arch::ALL
                        .iter()
                        .any(|arch| Syscall::by_name(*arch, name).is_some()),
                    "{name}"
                );
            }
        }
    }
}

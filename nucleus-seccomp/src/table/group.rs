//! Groups of calls by what they are for.

/// A group: its name as users write it, what it holds, and the calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    /// Such as `@basic-io`.
    pub name: &'static str,
    /// One line.
    pub about: &'static str,
    /// The kernel's names, sorted, with white space between.
    calls: &'static str,
}

impl Group {
    /// The kernel's names of its calls, sorted.
    pub fn calls(&self) -> impl Iterator<Item = &'static str> {
        self.calls.split_whitespace()
    }
}

/// The group of a call; every call with a name is in exactly one.
pub(crate) fn of(name: &str) -> Option<&'static Group> {
    GROUPS
        .iter()
        .find(|group| group.calls().any(|call| call == name))
}

/// Every group, by name. Most are called as in systemd's `SystemCallFilter=`
/// and mean about the same; there groups overlap, here they do not.
pub const GROUPS: &[Group] = &[
    Group {
        name: "@aio",
        about: "Asynchronous I/O, io_uring included",
        calls: "\
            io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup \
            io_submit io_uring_enter io_uring_register io_uring_setup",
    },
    Group {
        name: "@basic-io",
        about: "Reading, writing and closing file descriptors",
        calls: "\
            _llseek close close_range copy_file_range dup dup2 dup3 fadvise64 fadvise64_64 \
            lseek pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readahead readv \
            sendfile sendfile64 splice tee vmsplice write writev",
    },
    Group {
        name: "@chown",
        about: "Changing the owner of files",
        calls: "chown chown32 fchown fchown32 fchownat lchown lchown32",
    },
    Group {
        name: "@clock",
        about: "Setting clocks",
        calls: "\
            adjtimex clock_adjtime clock_adjtime64 clock_settime clock_settime64 \
            settimeofday stime",
    },
    Group {
        name: "@cpu-emulation",
        about: "Emulating other processors",
        calls: "modify_ldt vm86 vm86old",
    },
    Group {
        name: "@debug",
        about: "Looking into other processes and tracing",
        calls: "\
            kcmp lookup_dcookie perf_event_open pidfd_getfd process_vm_readv \
            process_vm_writev ptrace uprobe uretprobe",
    },
    Group {
        name: "@default",
        about: "Memory, threads, time and what every program needs",
        calls: "\
            arch_prctl brk cachestat clock_getres clock_getres_time64 clock_gettime \
            clock_gettime64 clock_nanosleep clock_nanosleep_time64 exit exit_group futex \
            futex_requeue futex_time64 futex_wait futex_waitv futex_wake get_robust_list \
            get_thread_area getcpu getrandom gettimeofday madvise map_shadow_stack \
            membarrier mincore mmap mmap2 mprotect mremap mseal munmap nanosleep pause \
            process_madvise process_mrelease remap_file_pages restart_syscall \
            riscv_flush_icache riscv_hwprobe rseq rseq_slice_yield sched_yield \
            set_robust_list set_thread_area set_tid_address sysinfo time times uname",
    },
    Group {
        name: "@file-system",
        about: "Naming, opening and changing files and directories",
        calls: "\
            access chdir chmod creat faccessat faccessat2 fallocate fchdir fchmod fchmodat \
            fchmodat2 fcntl fcntl64 fgetxattr file_getattr file_setattr flistxattr flock \
            fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 ftruncate \
            ftruncate64 futimesat getcwd getdents getdents64 getxattr getxattrat \
            inotify_add_watch inotify_init inotify_init1 inotify_rm_watch ioctl lgetxattr \
            link linkat listxattr listxattrat llistxattr lremovexattr lsetxattr lstat \
            lstat64 mkdir mkdirat mknod mknodat name_to_handle_at newfstatat open openat \
            openat2 readdir readlink readlinkat removexattr removexattrat rename renameat \
            renameat2 rmdir setxattr setxattrat stat stat64 statfs statfs64 statx symlink \
            symlinkat truncate truncate64 umask unlink unlinkat utime utimensat \
            utimensat_time64 utimes",
    },
    Group {
        name: "@identity",
        about: "Asking who one is",
        calls: "\
            getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 \
            getpgid getpgrp getpid getppid getresgid getresgid32 getresuid getresuid32 \
            getsid gettid getuid getuid32",
    },
    Group {
        name: "@io-event",
        about: "Waiting for file descriptors",
        calls: "\
            _newselect epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 \
            epoll_wait eventfd eventfd2 poll ppoll ppoll_time64 pselect6 pselect6_time64 \
            select",
    },
    Group {
        name: "@ipc",
        about: "Pipes, memory files, System V and POSIX IPC",
        calls: "\
            ipc memfd_create memfd_secret mq_getsetattr mq_notify mq_open mq_timedreceive \
            mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink msgctl msgget \
            msgrcv msgsnd pipe pipe2 semctl semget semop semtimedop semtimedop_time64 shmat \
            shmctl shmdt shmget",
    },
    Group {
        name: "@keyring",
        about: "The kernel's keys",
        calls: "add_key keyctl request_key",
    },
    Group {
        name: "@memlock",
        about: "Locking memory",
        calls: "mlock mlock2 mlockall munlock munlockall",
    },
    Group {
        name: "@module",
        about: "Kernel modules",
        calls: "delete_module finit_module init_module",
    },
    Group {
        name: "@mount",
        about: "Mounting and the root directory",
        calls: "\
            chroot fsconfig fsmount fsopen fspick listmount listns mount mount_setattr \
            move_mount open_tree open_tree_attr pivot_root setns statmount umount umount2 \
            unshare",
    },
    Group {
        name: "@network-io",
        about: "Sockets",
        calls: "\
            accept accept4 bind connect getpeername getsockname getsockopt listen recv \
            recvfrom recvmmsg recvmmsg_time64 recvmsg send sendmmsg sendmsg sendto \
            setsockopt shutdown socket socketcall socketpair",
    },
    Group {
        name: "@obsolete",
        about: "Calls that no kernel has any more, or that have a successor everywhere",
        calls: "\
            _sysctl afs_syscall bdflush break create_module epoll_ctl_old epoll_wait_old \
            ftime get_kernel_syms getpmsg gtty idle lock mpx nfsservctl oldfstat oldlstat \
            oldolduname oldstat olduname prof profil putpmsg query_module security sgetmask \
            ssetmask stty sysfs tuxcall ulimit uselib ustat vserver",
    },
    Group {
        name: "@pkey",
        about: "Memory protection keys",
        calls: "pkey_alloc pkey_free pkey_mprotect",
    },
    Group {
        name: "@privileged",
        about: "What only a privileged process has use for",
        calls: "\
            acct bpf capset fanotify_init fanotify_mark lsm_set_self_attr nice \
            open_by_handle_at quotactl quotactl_fd setdomainname sethostname syslog \
            userfaultfd vhangup",
    },
    Group {
        name: "@process",
        about: "Starting, controlling and waiting for processes",
        calls: "\
            capget clone clone3 execve execveat fork getrusage kill personality pidfd_open \
            pidfd_send_signal prctl rt_sigqueueinfo rt_tgsigqueueinfo setpgid setsid tgkill \
            tkill vfork wait4 waitid waitpid",
    },
    Group {
        name: "@raw-io",
        about: "Ports and devices",
        calls: "ioperm iopl",
    },
    Group {
        name: "@reboot",
        about: "Restarting the machine or its kernel",
        calls: "kexec_file_load kexec_load reboot",
    },
    Group {
        name: "@resources",
        about: "Limits, priorities and placement",
        calls: "\
            get_mempolicy getpriority getrlimit ioprio_get ioprio_set mbind migrate_pages \
            move_pages prlimit64 sched_get_priority_max sched_get_priority_min \
            sched_getaffinity sched_getattr sched_getparam sched_getscheduler \
            sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity \
            sched_setattr sched_setparam sched_setscheduler set_mempolicy \
            set_mempolicy_home_node setpriority setrlimit ugetrlimit",
    },
    Group {
        name: "@sandbox",
        about: "Giving up rights",
        calls: "\
            landlock_add_rule landlock_create_ruleset landlock_restrict_self \
            lsm_get_self_attr lsm_list_modules seccomp",
    },
    Group {
        name: "@setuid",
        about: "Changing user and group",
        calls: "\
            setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 \
            setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid \
            setreuid32 setuid setuid32",
    },
    Group {
        name: "@signal",
        about: "Handling signals",
        calls: "\
            rt_sigaction rt_sigpending rt_sigprocmask rt_sigreturn rt_sigsuspend \
            rt_sigtimedwait rt_sigtimedwait_time64 sigaction sigaltstack signal signalfd \
            signalfd4 sigpending sigprocmask sigreturn sigsuspend",
    },
    Group {
        name: "@swap",
        about: "Swap space",
        calls: "swapoff swapon",
    },
    Group {
        name: "@sync",
        about: "Writing files to disk",
        calls: "fdatasync fsync msync sync sync_file_range syncfs",
    },
    Group {
        name: "@timer",
        about: "Timers",
        calls: "\
            alarm getitimer setitimer timer_create timer_delete timer_getoverrun \
            timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create \
            timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64",
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table;

    #[test]
    fn every_call_is_in_one_group() {
        for name in table::all_names() {
            let groups = GROUPS
                .iter()
                .filter(|group| group.calls().any(|call| call == name));
            assert_eq!(groups.count(), 1, "{name}");
            assert!(of(name).is_some(), "{name}");
        }
    }

    #[test]
    fn groups_are_sorted_and_hold_real_calls() {
        assert!(GROUPS.is_sorted_by_key(|group| group.name));
        for group in GROUPS {
            assert!(group.calls().is_sorted(), "{}", group.name);
            for name in group.calls() {
                assert!(table::is_known(name), "{name} in {}", group.name);
            }
        }
    }
}

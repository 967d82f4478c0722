//! What the arguments of calls are.

use super::names::{self, Names};

/// How an argument is shown.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// An address; 0 is NULL.
    Pointer,
    /// The address of a path.
    Path,
    /// A number of 64 bits in hexadecimal: what another argument decides about.
    Hex,
    /// A length or an offset.
    Size,
    /// An `int` in decimal: descriptors, identifiers.
    Int,
    /// A file mode in octal.
    Mode,
    /// A directory's descriptor, or `AT_FDCWD`.
    At,
    /// One of several constants.
    Choice(Names),
    /// 32 bits of flags.
    Flags(Names),
    /// 64 bits of flags.
    LongFlags(Names),
    /// A constant in the bits of `mask`, flags in the others.
    ChoiceAndFlags {
        mask: u64,
        choices: Names,
        flags: Names,
    },
    /// `O_*`.
    OpenFlags,
    /// `O_*` with ARM's values.
    ArmOpenFlags,
    /// `CLONE_*` and a signal.
    CloneFlags,
}

use Kind::{
    At, Choice, CloneFlags, Flags, Hex, Int, LongFlags, Mode, OpenFlags, Path, Pointer, Size,
};

const SOCKET_TYPE: Kind = Kind::ChoiceAndFlags {
    mask: 0xf,
    choices: names::SOCKET_TYPES,
    flags: names::SOCKET_FLAGS,
};
const FUTEX: Kind = Kind::ChoiceAndFlags {
    mask: 0x7f,
    choices: names::FUTEX,
    flags: names::FUTEX_FLAGS,
};
const FAMILY: Kind = Choice(names::FAMILIES);
const MESSAGE: Kind = Flags(names::MESSAGE_FLAGS);
const SIGNAL: Kind = Choice(names::SIGNALS);
const AT_FLAGS: Kind = Flags(names::AT_FLAGS);
const PROTECTION: Kind = LongFlags(names::PROTECTIONS);
const LEVEL: Kind = Choice(names::SOCKET_LEVELS);
const CLOCK: Kind = Choice(names::CLOCKS);
const RESOURCE: Kind = Choice(names::RESOURCES);

/// The arguments of the call `name`, where they are known.
pub(super) fn of(name: &str) -> Option<&'static [Kind]> {
    let found = TABLE.binary_search_by_key(&name, |(known, _)| known).ok()?;
    TABLE.get(found).map(|(_, kinds)| *kinds)
}

/// The prototypes of `SYSCALL_DEFINE` in the kernel, of the calls that
/// sandboxes deny and of the common ones. Sorted by name.
const TABLE: &[(&str, &[Kind])] = &[
    ("accept", &[Int, Pointer, Pointer]),
    (
        "accept4",
        &[Int, Pointer, Pointer, Flags(names::SOCKET_FLAGS)],
    ),
    ("access", &[Path, Mode]),
    ("acct", &[Path]),
    ("add_key", &[Pointer, Pointer, Pointer, Size, Int]),
    ("adjtimex", &[Pointer]),
    ("alarm", &[Int]),
    ("arch_prctl", &[Choice(names::ARCH_PRCTL), Hex]),
    ("bind", &[Int, Pointer, Int]),
    ("bpf", &[Choice(names::BPF), Pointer, Int]),
    ("brk", &[Pointer]),
    ("capget", &[Pointer, Pointer]),
    ("capset", &[Pointer, Pointer]),
    ("chdir", &[Path]),
    ("chmod", &[Path, Mode]),
    ("chown", &[Path, Int, Int]),
    ("chroot", &[Path]),
    ("clock_adjtime", &[CLOCK, Pointer]),
    ("clock_getres", &[CLOCK, Pointer]),
    ("clock_gettime", &[CLOCK, Pointer]),
    ("clock_nanosleep", &[CLOCK, Int, Pointer, Pointer]),
    ("clock_settime", &[CLOCK, Pointer]),
    ("clone", &[CloneFlags, Pointer, Pointer, Pointer, Hex]),
    ("clone3", &[Pointer, Size]),
    ("close", &[Int]),
    ("close_range", &[Int, Int, Int]),
    ("connect", &[Int, Pointer, Int]),
    ("copy_file_range", &[Int, Pointer, Int, Pointer, Size, Int]),
    ("creat", &[Path, Mode]),
    ("delete_module", &[Pointer, Int]),
    ("dup", &[Int]),
    ("dup2", &[Int, Int]),
    ("dup3", &[Int, Int, OpenFlags]),
    ("epoll_create", &[Int]),
    ("epoll_create1", &[OpenFlags]),
    ("epoll_ctl", &[Int, Choice(names::EPOLL), Int, Pointer]),
    ("epoll_pwait", &[Int, Pointer, Int, Int, Pointer, Size]),
    ("epoll_wait", &[Int, Pointer, Int, Int]),
    ("eventfd2", &[Int, OpenFlags]),
    ("execve", &[Path, Pointer, Pointer]),
    ("execveat", &[At, Path, Pointer, Pointer, AT_FLAGS]),
    ("exit", &[Int]),
    ("exit_group", &[Int]),
    ("faccessat", &[At, Path, Mode]),
    ("faccessat2", &[At, Path, Mode, AT_FLAGS]),
    ("fallocate", &[Int, Int, Size, Size]),
    ("fanotify_init", &[Flags(&[]), OpenFlags]),
    ("fanotify_mark", &[Int, Flags(&[]), Hex, At, Pointer]),
    ("fchdir", &[Int]),
    ("fchmod", &[Int, Mode]),
    ("fchmodat", &[At, Path, Mode]),
    ("fchmodat2", &[At, Path, Mode, AT_FLAGS]),
    ("fchown", &[Int, Int, Int]),
    ("fchownat", &[At, Path, Int, Int, AT_FLAGS]),
    ("fcntl", &[Int, Choice(names::FCNTL), Hex]),
    ("fcntl64", &[Int, Choice(names::FCNTL), Hex]),
    ("fgetxattr", &[Int, Pointer, Pointer, Size]),
    ("finit_module", &[Int, Pointer, Int]),
    ("flock", &[Int, Int]),
    ("fork", &[]),
    ("fsconfig", &[Int, Int, Pointer, Pointer, Int]),
    ("fsetxattr", &[Int, Pointer, Pointer, Size, Int]),
    ("fsmount", &[Int, Flags(&[]), Flags(&[])]),
    ("fsopen", &[Pointer, Flags(&[])]),
    ("fstat", &[Int, Pointer]),
    ("fstatfs", &[Int, Pointer]),
    ("fsync", &[Int]),
    ("ftruncate", &[Int, Size]),
    ("futex", &[Pointer, FUTEX, Int, Pointer, Pointer, Int]),
    ("getcwd", &[Pointer, Size]),
    ("getdents64", &[Int, Pointer, Int]),
    ("getegid", &[]),
    ("geteuid", &[]),
    ("getgid", &[]),
    ("getpgid", &[Int]),
    ("getpid", &[]),
    ("getppid", &[]),
    ("getpriority", &[Int, Int]),
    ("getrandom", &[Pointer, Size, Flags(&[])]),
    ("getrlimit", &[RESOURCE, Pointer]),
    ("getsockname", &[Int, Pointer, Pointer]),
    ("getsockopt", &[Int, LEVEL, Int, Pointer, Pointer]),
    ("gettid", &[]),
    ("getuid", &[]),
    ("getxattr", &[Path, Pointer, Pointer, Size]),
    ("init_module", &[Pointer, Size, Pointer]),
    ("inotify_add_watch", &[Int, Path, Flags(&[])]),
    ("inotify_init1", &[OpenFlags]),
    (
        "io_uring_enter",
        &[Int, Int, Int, Flags(&[]), Pointer, Size],
    ),
    ("io_uring_register", &[Int, Int, Pointer, Int]),
    ("io_uring_setup", &[Int, Pointer]),
    ("ioctl", &[Int, Choice(names::IOCTLS), Hex]),
    ("ioperm", &[Hex, Size, Int]),
    ("iopl", &[Int]),
    ("ioprio_set", &[Int, Int, Int]),
    ("kcmp", &[Int, Int, Int, Hex, Hex]),
    ("kexec_load", &[Pointer, Size, Pointer, Flags(&[])]),
    ("keyctl", &[Choice(names::KEYCTL), Hex, Hex, Hex, Hex]),
    ("kill", &[Int, SIGNAL]),
    ("landlock_add_rule", &[Int, Int, Pointer, Flags(&[])]),
    ("landlock_create_ruleset", &[Pointer, Size, Flags(&[])]),
    ("landlock_restrict_self", &[Int, Flags(&[])]),
    ("lchown", &[Path, Int, Int]),
    ("lgetxattr", &[Path, Pointer, Pointer, Size]),
    ("link", &[Path, Path]),
    ("linkat", &[At, Path, At, Path, AT_FLAGS]),
    ("listen", &[Int, Int]),
    ("lookup_dcookie", &[Hex, Pointer, Size]),
    ("lseek", &[Int, Size, Choice(names::WHENCE)]),
    ("lsetxattr", &[Path, Pointer, Pointer, Size, Int]),
    ("lstat", &[Path, Pointer]),
    ("madvise", &[Pointer, Size, Choice(names::MADVICE)]),
    ("mbind", &[Pointer, Size, Int, Pointer, Size, Int]),
    ("membarrier", &[Int, Int, Int]),
    ("memfd_create", &[Path, Flags(names::MEMFD)]),
    ("memfd_secret", &[Flags(&[])]),
    ("mincore", &[Pointer, Size, Pointer]),
    ("mkdir", &[Path, Mode]),
    ("mkdirat", &[At, Path, Mode]),
    ("mknod", &[Path, Mode, Hex]),
    ("mknodat", &[At, Path, Mode, Hex]),
    ("mlock", &[Pointer, Size]),
    ("mlock2", &[Pointer, Size, Int]),
    ("mlockall", &[Int]),
    (
        "mmap",
        &[Pointer, Size, PROTECTION, LongFlags(names::MAP), Int, Size],
    ),
    (
        "mount",
        &[Path, Path, Path, LongFlags(names::MOUNT), Pointer],
    ),
    (
        "mount_setattr",
        &[At, Path, Flags(names::AT_FLAGS), Pointer, Size],
    ),
    ("move_mount", &[At, Path, At, Path, Flags(&[])]),
    ("move_pages", &[Int, Size, Pointer, Pointer, Pointer, Int]),
    ("mprotect", &[Pointer, Size, PROTECTION]),
    ("mremap", &[Pointer, Size, Size, Flags(&[]), Pointer]),
    ("msync", &[Pointer, Size, Int]),
    ("munmap", &[Pointer, Size]),
    ("name_to_handle_at", &[At, Path, Pointer, Pointer, AT_FLAGS]),
    ("nanosleep", &[Pointer, Pointer]),
    ("newfstatat", &[At, Path, Pointer, AT_FLAGS]),
    ("open", &[Path, OpenFlags, Mode]),
    ("open_by_handle_at", &[At, Pointer, OpenFlags]),
    ("open_tree", &[At, Path, Flags(&[])]),
    ("openat", &[At, Path, OpenFlags, Mode]),
    ("openat2", &[At, Path, Pointer, Size]),
    ("pause", &[]),
    ("perf_event_open", &[Pointer, Int, Int, Int, Flags(&[])]),
    ("personality", &[Hex]),
    ("pidfd_getfd", &[Int, Int, Flags(&[])]),
    ("pidfd_open", &[Int, OpenFlags]),
    ("pidfd_send_signal", &[Int, SIGNAL, Pointer, Flags(&[])]),
    ("pipe", &[Pointer]),
    ("pipe2", &[Pointer, OpenFlags]),
    ("pivot_root", &[Path, Path]),
    ("pkey_alloc", &[Flags(&[]), Flags(&[])]),
    ("poll", &[Pointer, Int, Int]),
    ("ppoll", &[Pointer, Int, Pointer, Pointer, Size]),
    ("prctl", &[Choice(names::PRCTL), Hex, Hex, Hex, Hex]),
    ("pread64", &[Int, Pointer, Size, Size]),
    ("prlimit64", &[Int, RESOURCE, Pointer, Pointer]),
    (
        "process_madvise",
        &[Int, Pointer, Size, Choice(names::MADVICE), Flags(&[])],
    ),
    (
        "process_vm_readv",
        &[Int, Pointer, Size, Pointer, Size, Flags(&[])],
    ),
    (
        "process_vm_writev",
        &[Int, Pointer, Size, Pointer, Size, Flags(&[])],
    ),
    (
        "pselect6",
        &[Int, Pointer, Pointer, Pointer, Pointer, Pointer],
    ),
    ("ptrace", &[Choice(names::PTRACE), Int, Pointer, Hex]),
    ("pwrite64", &[Int, Pointer, Size, Size]),
    ("quotactl", &[Hex, Pointer, Int, Pointer]),
    ("read", &[Int, Pointer, Size]),
    ("readlink", &[Path, Pointer, Size]),
    ("readlinkat", &[At, Path, Pointer, Size]),
    ("readv", &[Int, Pointer, Size]),
    ("reboot", &[Hex, Hex, Hex, Pointer]),
    ("recvfrom", &[Int, Pointer, Size, MESSAGE, Pointer, Pointer]),
    ("recvmmsg", &[Int, Pointer, Int, MESSAGE, Pointer]),
    ("recvmsg", &[Int, Pointer, MESSAGE]),
    ("rename", &[Path, Path]),
    ("renameat", &[At, Path, At, Path]),
    ("renameat2", &[At, Path, At, Path, Flags(&[])]),
    ("request_key", &[Pointer, Pointer, Pointer, Int]),
    ("restart_syscall", &[]),
    ("rmdir", &[Path]),
    ("rseq", &[Pointer, Size, Int, Hex]),
    ("rt_sigaction", &[SIGNAL, Pointer, Pointer, Size]),
    ("rt_sigprocmask", &[Int, Pointer, Pointer, Size]),
    ("rt_sigreturn", &[]),
    ("sched_getaffinity", &[Int, Size, Pointer]),
    ("sched_setaffinity", &[Int, Size, Pointer]),
    ("sched_setattr", &[Int, Pointer, Flags(&[])]),
    ("sched_setparam", &[Int, Pointer]),
    (
        "sched_setscheduler",
        &[Int, Choice(names::SCHEDULERS), Pointer],
    ),
    ("sched_yield", &[]),
    (
        "seccomp",
        &[Choice(names::SECCOMP), Flags(names::SECCOMP_FLAGS), Pointer],
    ),
    ("semget", &[Int, Int, Mode]),
    ("semop", &[Int, Pointer, Size]),
    ("sendfile", &[Int, Int, Pointer, Size]),
    ("sendmmsg", &[Int, Pointer, Int, MESSAGE]),
    ("sendmsg", &[Int, Pointer, MESSAGE]),
    ("sendto", &[Int, Pointer, Size, MESSAGE, Pointer, Int]),
    ("set_mempolicy", &[Int, Pointer, Size]),
    ("set_robust_list", &[Pointer, Size]),
    ("set_tid_address", &[Pointer]),
    ("setfsgid", &[Int]),
    ("setfsuid", &[Int]),
    ("setgid", &[Int]),
    ("setgroups", &[Int, Pointer]),
    ("sethostname", &[Pointer, Int]),
    ("setns", &[Int, Flags(names::UNSHARE)]),
    ("setpgid", &[Int, Int]),
    ("setpriority", &[Int, Int, Int]),
    ("setregid", &[Int, Int]),
    ("setresgid", &[Int, Int, Int]),
    ("setresuid", &[Int, Int, Int]),
    ("setreuid", &[Int, Int]),
    ("setrlimit", &[RESOURCE, Pointer]),
    ("setsid", &[]),
    ("setsockopt", &[Int, LEVEL, Int, Pointer, Int]),
    ("settimeofday", &[Pointer, Pointer]),
    ("setuid", &[Int]),
    ("setxattr", &[Path, Pointer, Pointer, Size, Int]),
    ("shmat", &[Int, Pointer, Int]),
    ("shmget", &[Int, Size, Mode]),
    ("shutdown", &[Int, Choice(names::SHUTDOWNS)]),
    ("sigaltstack", &[Pointer, Pointer]),
    ("signalfd4", &[Int, Pointer, Size, OpenFlags]),
    ("socket", &[FAMILY, SOCKET_TYPE, Int]),
    ("socketcall", &[Int, Pointer]),
    ("socketpair", &[FAMILY, SOCKET_TYPE, Int, Pointer]),
    ("splice", &[Int, Pointer, Int, Pointer, Size, Flags(&[])]),
    ("stat", &[Path, Pointer]),
    ("statfs", &[Path, Pointer]),
    ("statx", &[At, Path, AT_FLAGS, Flags(&[]), Pointer]),
    ("swapoff", &[Path]),
    ("swapon", &[Path, Flags(&[])]),
    ("symlink", &[Path, Path]),
    ("symlinkat", &[Path, At, Path]),
    ("sync", &[]),
    ("sysinfo", &[Pointer]),
    ("syslog", &[Int, Pointer, Int]),
    ("tgkill", &[Int, Int, SIGNAL]),
    ("time", &[Pointer]),
    ("timer_create", &[CLOCK, Pointer, Pointer]),
    ("timerfd_create", &[CLOCK, OpenFlags]),
    ("tkill", &[Int, SIGNAL]),
    ("truncate", &[Path, Size]),
    ("umask", &[Mode]),
    ("umount2", &[Path, Flags(names::UNMOUNT)]),
    ("uname", &[Pointer]),
    ("unlink", &[Path]),
    ("unlinkat", &[At, Path, Flags(names::UNLINK)]),
    ("unshare", &[LongFlags(names::UNSHARE)]),
    ("userfaultfd", &[OpenFlags]),
    ("ustat", &[Hex, Pointer]),
    ("utimensat", &[At, Path, Pointer, AT_FLAGS]),
    ("vfork", &[]),
    ("vhangup", &[]),
    ("vmsplice", &[Int, Pointer, Size, Flags(&[])]),
    ("wait4", &[Int, Pointer, Int, Pointer]),
    ("waitid", &[Int, Int, Pointer, Int, Pointer]),
    ("write", &[Int, Pointer, Size]),
    ("writev", &[Int, Pointer, Size]),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Arch, Syscall};

    #[test]
    fn the_table_is_sorted_and_every_call_exists() {
        assert!(TABLE.is_sorted_by_key(|(name, _)| name));
        for (name, kinds) in TABLE {
            assert!(kinds.len() <= 6, "{name}");
            assert!(
                Syscall::by_name(Arch::X86_64, name).is_some()
                    || Syscall::by_name(Arch::I386, name).is_some(),
                "{name}"
            );
        }
    }
}

//! What takes a capability or another process's consent.

use std::io;

use crate::{at, call, errno, number_of};

const AT_FDCWD: u64 = (-100_i64).cast_unsigned();

pub(crate) fn privileges() -> Vec<(&'static str, i32)> {
    let none = c"none";
    vec![
        (
            "mount",
            call(libc::SYS_mount, &[at(none), at(c"/tmp"), at(c"tmpfs")]),
        ),
        (
            "remount /usr writable",
            call(
                libc::SYS_mount,
                &[0, at(c"/usr"), 0, libc::MS_REMOUNT | libc::MS_BIND],
            ),
        ),
        ("mount_setattr", {
            let attr = [0_u64, 1, 0, 0];
            let attr = attr.as_ptr().addr() as u64;
            call(
                libc::SYS_mount_setattr,
                &[AT_FDCWD, at(c"/usr"), 0, attr, 32],
            )
        }),
        ("setns", {
            match std::fs::File::open("/proc/self/ns/uts") {
                Ok(file) => call(libc::SYS_setns, &[number_of(&file), 0]),
                Err(error) => errno(&error),
            }
        }),
        ("umount", call(libc::SYS_umount2, &[at(c"/proc"), 2])),
        (
            "pivot_root",
            call(libc::SYS_pivot_root, &[at(c"."), at(c".")]),
        ),
        ("chroot", call(libc::SYS_chroot, &[at(c"/tmp")])),
        ("fsopen", call(libc::SYS_fsopen, &[at(c"tmpfs")])),
        (
            "open_tree",
            call(libc::SYS_open_tree, &[AT_FDCWD, at(c"/"), 1]),
        ),
        ("unshare user", call(libc::SYS_unshare, &[0x1000_0000])),
        ("unshare mount", call(libc::SYS_unshare, &[0x0002_0000])),
        ("unshare net", call(libc::SYS_unshare, &[0x4000_0000])),
        ("unshare pid", call(libc::SYS_unshare, &[0x2000_0000])),
        ("unshare ipc", call(libc::SYS_unshare, &[0x0800_0000])),
        ("unshare uts", call(libc::SYS_unshare, &[0x0400_0000])),
        ("unshare cgroup", call(libc::SYS_unshare, &[0x0200_0000])),
        ("unshare time", call(libc::SYS_unshare, &[0x80])),
        ("clone user", call(libc::SYS_clone, &[0x1000_0011])),
        ("clone3 user", {
            let args = [0x1000_0000_u64, 0, 0, 0, 17, 0, 0, 0];
            call(libc::SYS_clone3, &[args.as_ptr().addr() as u64, 64])
        }),
        ("setuid 0", call(libc::SYS_setuid, &[0])),
        ("setgroups", call(libc::SYS_setgroups, &[0, 0])),
        (
            "reboot",
            call(libc::SYS_reboot, &[0xfee1_dead, 672_274_793, 0]),
        ),
        ("sethostname", call(libc::SYS_sethostname, &[at(none), 4])),
        ("settimeofday", {
            let now = [0_u64, 0];
            call(libc::SYS_settimeofday, &[now.as_ptr().addr() as u64, 0])
        }),
        (
            "init_module",
            call(libc::SYS_init_module, &[0, 0, at(none)]),
        ),
        (
            "finit_module",
            call(libc::SYS_finit_module, &[0, at(none), 0]),
        ),
        ("kexec_load", call(libc::SYS_kexec_load, &[0, 0, 0, 0])),
        ("swapon", call(libc::SYS_swapon, &[at(none), 0])),
        ("acct", call(libc::SYS_acct, &[at(none)])),
        ("syslog", call(libc::SYS_syslog, &[10, 0, 0])),
        (
            "kill init",
            match call(libc::SYS_kill, &[1, 9]) {
                // Where only the kernel keeps an init from signals of its own
                // namespace, it takes this one and does nothing.
                0 => libc::EPERM,
                errno => errno,
            },
        ),
        ("ptrace init", call(libc::SYS_ptrace, &[0x4206, 1, 0, 0])),
        ("read init by process_vm_readv", {
            let mut byte = [0_u8];
            let area = [byte.as_mut_ptr().addr() as u64, 1];
            let area = area.as_ptr().addr() as u64;
            call(libc::SYS_process_vm_readv, &[1, area, 1, area, 1, 0])
        }),
        ("take a descriptor of init", {
            // SAFETY: takes no pointer.
            let pidfd = unsafe { libc::syscall(libc::SYS_pidfd_open, 1, 0) };
            match u64::try_from(pidfd) {
                Ok(pidfd) => call(libc::SYS_pidfd_getfd, &[pidfd, 0, 0]),
                Err(_negative) => errno(&io::Error::last_os_error()),
            }
        }),
    ]
}

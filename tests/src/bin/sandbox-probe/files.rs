//! Files: reading what is hidden, changing what is shown.

use std::ffi::CStr;
use std::fs::Permissions;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;

use crate::{at, call, done, errno, number_of, read, write};

const AT_FDCWD: u64 = (-100_i64).cast_unsigned();

/// `FS_IOC_SETFLAGS` (ioctl_iflags(2)): append only, no atime and the like.
const FS_IOC_SETFLAGS: u64 = 0x4008_6602;

fn set_attributes(path: &CStr) -> i32 {
    let path = path.to_string_lossy();
    let flags = [0_u64; 1];
    match std::fs::File::open(&*path) {
        Ok(file) => call(
            libc::SYS_ioctl,
            &[
                number_of(&file),
                FS_IOC_SETFLAGS,
                flags.as_ptr().addr() as u64,
            ],
        ),
        Err(error) => errno(&error),
    }
}

pub(crate) fn files() -> Vec<(&'static str, i32)> {
    let program = c"/usr/bin/env";
    let times = [libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    }; 2];
    vec![
        ("read /etc/shadow", read("/etc/shadow")),
        ("read shadow by ..", read("../../../../../../../etc/shadow")),
        (
            "read shadow by init's root",
            read("/proc/1/root/etc/shadow"),
        ),
        ("read init's memory", read("/proc/1/mem")),
        ("read init's environment", read("/proc/1/environ")),
        (
            "list init's descriptors",
            done(std::fs::read_dir("/proc/1/fd")),
        ),
        (
            "read /proc/kcore",
            match std::fs::read("/proc/kcore") {
                // Masked by the null device.
                Ok(bytes) if bytes.is_empty() => libc::EACCES,
                other => done(other),
            },
        ),
        ("write /etc", write("/etc/new")),
        ("write /usr", write("/usr/new")),
        ("write /", write("/new")),
        ("write the working directory", write("new")),
        ("write a program", write("/usr/bin/env")),
        ("write a program by its descriptor", {
            let file = std::fs::File::open("/usr/bin/env");
            match &file {
                Ok(file) => write(&format!("/proc/self/fd/{}", file.as_raw_fd())),
                Err(error) => errno(error),
            }
        }),
        ("write a program by a link", {
            let linked = std::os::unix::fs::symlink("/usr/bin/env", "/tmp/link");
            if linked.is_ok() {
                write("/tmp/link")
            } else {
                done(linked)
            }
        }),
        (
            "link a program",
            done(std::fs::hard_link("/usr/bin/env", "/tmp/hard")),
        ),
        ("write core_pattern", write("/proc/sys/kernel/core_pattern")),
        ("write a setting", write("/proc/sys/net/ipv4/ip_forward")),
        (
            "write the limit of namespaces",
            write("/proc/sys/user/max_user_namespaces"),
        ),
        ("write init's oom_score_adj", write("/proc/1/oom_score_adj")),
        ("write a cgroup", write("/sys/fs/cgroup/cgroup.procs")),
        (
            "write sysrq-trigger",
            match write("/proc/sysrq-trigger") {
                // The null device.
                0 => libc::EACCES,
                errno => errno,
            },
        ),
        (
            "chmod",
            call(libc::SYS_fchmodat, &[AT_FDCWD, at(program), 0o755]),
        ),
        (
            "chmod the working directory",
            call(libc::SYS_fchmodat, &[AT_FDCWD, at(c"."), 0o777]),
        ),
        (
            "chmod by a descriptor",
            match std::fs::File::open("/usr/bin/env") {
                Ok(file) => done(file.set_permissions(Permissions::from_mode(0o755))),
                Err(error) => errno(&error),
            },
        ),
        (
            "chown",
            call(libc::SYS_fchownat, &[AT_FDCWD, at(program), 1, 1, 0]),
        ),
        (
            "utimensat",
            call(
                libc::SYS_utimensat,
                &[AT_FDCWD, at(program), times.as_ptr().addr() as u64, 0],
            ),
        ),
        (
            "setxattr",
            call(
                libc::SYS_setxattr,
                &[at(program), at(c"user.a"), at(c"b"), 1, 0],
            ),
        ),
        ("device node", {
            let mode = u64::from(libc::S_IFCHR | 0o666);
            call(
                libc::SYS_mknodat,
                &[AT_FDCWD, at(c"/tmp/null"), mode, 0x103],
            )
        }),
        (
            "write /usr by the own root",
            write("/proc/self/root/usr/new"),
        ),
        ("write by init's root", write("/proc/1/root/tmp/new")),
        ("write init's program", write("/proc/1/exe")),
        ("read init's maps", read("/proc/1/maps")),
        ("read init's stack", read("/proc/1/stack")),
        (
            "set attributes of a program",
            set_attributes(c"/usr/bin/env"),
        ),
        (
            "fsetxattr",
            match std::fs::File::open("/usr/bin/env") {
                Ok(file) => call(
                    libc::SYS_fsetxattr,
                    &[number_of(&file), at(c"user.a"), at(c"b"), 1, 0],
                ),
                Err(error) => errno(&error),
            },
        ),
        (
            "removexattr",
            call(libc::SYS_removexattr, &[at(program), at(c"user.a")]),
        ),
        (
            "rename a program",
            done(std::fs::rename("/usr/bin/env", "/usr/bin/env2")),
        ),
        (
            "remove a program",
            done(std::fs::remove_file("/usr/bin/env")),
        ),
        ("open /dev/kmsg", read("/dev/kmsg")),
        ("open /dev/mem", read("/dev/mem")),
        (
            "open_by_handle_at",
            call(libc::SYS_open_by_handle_at, &[AT_FDCWD]),
        ),
    ]
}

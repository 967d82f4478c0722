//! Tries to get out of a sandbox, one attempt a line: its name and the errno
//! that it ended with, 0 when it worked. `sandbox-probe HOST_PID PORT SOCKET`,
//! where the arguments are of the test: its process, a TCP port and an
//! abstract socket that it listens on.

#![allow(unsafe_code, reason = "attacks are raw system calls")]
#![allow(clippy::print_stdout, reason = "the results")]

mod exhaust;

use std::ffi::{CStr, c_long};
use std::fs::{OpenOptions, Permissions};
use std::io;
use std::net::TcpStream;
use std::os::fd::AsRawFd as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::net::{SocketAddr, UnixStream};
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;

/// Makes a system call with up to six arguments.
fn call(number: c_long, arguments: &[u64]) -> i32 {
    let mut six = [0; 6];
    for (to, from) in six.iter_mut().zip(arguments) {
        *to = *from;
    }
    let [a, b, c, d, e, f] = six;
    // SAFETY: the attacks below pass pointers that live, or none.
    let ret = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if ret < 0 {
        errno(&io::Error::last_os_error())
    } else {
        0
    }
}

fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(-1)
}

fn done<T>(result: io::Result<T>) -> i32 {
    result.map_or_else(|error| errno(&error), |_value| 0)
}

fn at(text: &CStr) -> u64 {
    text.as_ptr().addr() as u64
}

fn read(path: &str) -> i32 {
    done(std::fs::read(path))
}

fn write(path: &str) -> i32 {
    let mut options = OpenOptions::new();
    done(options.write(true).create(true).mode(0o600).open(path))
}

/// A socket of a family, type and protocol.
fn socket(family: u64, kind: u64, protocol: u64) -> i32 {
    call(libc::SYS_socket, &[family, kind, protocol])
}

const AT_FDCWD: u64 = (-100_i64).cast_unsigned();

fn files() -> Vec<(&'static str, i32)> {
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
            call(libc::SYS_fchmodat, &[AT_FDCWD, at(program), 0o4755]),
        ),
        (
            "chmod the working directory",
            call(libc::SYS_fchmodat, &[AT_FDCWD, at(c"."), 0o777]),
        ),
        (
            "chmod by a descriptor",
            match std::fs::File::open("/usr/bin/env") {
                Ok(file) => done(file.set_permissions(Permissions::from_mode(0o4755))),
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
        ("open /dev/kmsg", read("/dev/kmsg")),
        ("open /dev/mem", read("/dev/mem")),
        (
            "open_by_handle_at",
            call(libc::SYS_open_by_handle_at, &[AT_FDCWD]),
        ),
    ]
}

fn privileges() -> Vec<(&'static str, i32)> {
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

/// What only the filter closes.
fn kernel_surface() -> Vec<(&'static str, i32)> {
    vec![
        ("int 0x80", done_by_itself("int80")),
        ("bpf", call(libc::SYS_bpf, &[0, 0, 0])),
        (
            "perf_event_open",
            call(libc::SYS_perf_event_open, &[0, 0, 0, 0, 0]),
        ),
        ("userfaultfd", call(libc::SYS_userfaultfd, &[1])),
        ("io_uring_setup", {
            let mut params = [0_u64; 15];
            let params = params.as_mut_ptr().addr() as u64;
            call(libc::SYS_io_uring_setup, &[1, params])
        }),
        ("add_key", {
            let (kind, name) = (at(c"user"), at(c"probe"));
            call(
                libc::SYS_add_key,
                &[kind, name, at(c"x"), 1, (-3_i64).cast_unsigned()],
            )
        }),
        (
            "keyctl",
            call(libc::SYS_keyctl, &[0, (-3_i64).cast_unsigned(), 1]),
        ),
        ("fanotify_init", call(libc::SYS_fanotify_init, &[0x200, 0])),
        ("kcmp", call(libc::SYS_kcmp, &[1, 1, 1, 0, 0])),
        ("memfd_secret", call(libc::SYS_memfd_secret, &[0])),
        ("vsock", socket(40, 1, 0)),
        ("packet socket", socket(17, 3, 0)),
        ("raw socket", socket(2, 3, 1)),
        ("AF_ALG", socket(38, 5, 0)),
        ("TIPC", socket(30, 1, 0)),
        ("MPTCP", socket(2, 1, 262)),
        ("TIOCSTI", call(libc::SYS_ioctl, &[0, 0x5412, at(c"x")])),
        (
            "TIOCLINUX",
            call(libc::SYS_ioctl, &[0, 0x541c, at(c"\x03")]),
        ),
    ]
}

fn outside(arguments: &[String]) -> Vec<(&'static str, i32)> {
    let [_self, pid, port, name] = arguments else {
        return vec![("be called with three arguments", -1)];
    };
    let pid = pid.parse().unwrap_or(0);
    let port = port.parse().unwrap_or(0);
    let address = SocketAddr::from_abstract_name(name);
    vec![
        ("signal the host", call(libc::SYS_kill, &[pid, 0])),
        (
            "ptrace the host",
            call(libc::SYS_ptrace, &[0x4206, pid, 0, 0]),
        ),
        (
            "open the host's process",
            call(libc::SYS_pidfd_open, &[pid, 0]),
        ),
        (
            "connect to the host's loopback",
            done(TcpStream::connect(("127.0.0.1", port))),
        ),
        (
            "connect to the host's abstract socket",
            done(address.and_then(|address| UnixStream::connect_addr(&address))),
        ),
        ("see the host's process", read(&format!("/proc/{pid}/stat"))),
    ]
}

/// The number of a descriptor, for a raw call.
fn number_of(file: &std::fs::File) -> u64 {
    u64::from(file.as_raw_fd().unsigned_abs())
}

/// Has a child try what may kill it: the negative number of the signal then.
fn done_by_itself(what: &str) -> i32 {
    let status = std::env::current_exe().and_then(|own| Command::new(own).args([what]).status());
    match status {
        Ok(status) => status.signal().map_or(0, |signal| -signal),
        Err(error) => errno(&error),
    }
}

/// Calls getpid of i386.
#[cfg(target_arch = "x86_64")]
fn int80() {
    // SAFETY: the call takes nothing and changes eax alone; kernels before 4.17
    // clear r8 to r11.
    unsafe {
        std::arch::asm!(
            "int 0x80",
            inout("eax") 20 => _,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
}

/// As if the filter had killed it: there is no such instruction.
#[cfg(not(target_arch = "x86_64"))]
fn int80() {
    // SAFETY: ends this process.
    unsafe { libc::raise(libc::SIGSYS) };
}

/// A program with the set-user-ID bit must not get its owner's id.
fn set_user_id() -> i32 {
    let mut stat = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: the kernel fills `stat`, as the result says.
    if unsafe { libc::statvfs(c"/usr".as_ptr(), stat.as_mut_ptr()) } != 0 {
        return -1;
    }
    // SAFETY: filled by the call above.
    let stat = unsafe { stat.assume_init() };
    if stat.f_flag & libc::ST_NOSUID == 0 {
        0
    } else {
        libc::EPERM
    }
}

fn main() {
    let arguments: Vec<_> = std::env::args().collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [_self, "int80"] => return int80(),
        [_self, "fork-bomb"] => return println!("{}", exhaust::fork_bomb()),
        [_self, "fill", path] => return println!("{}", exhaust::fill(path)),
        [_self, "room", path] => return println!("{}", exhaust::room(path)),
        _ => {}
    }
    if let [_self, what, argument] = arguments.as_slice() {
        match what.as_str() {
            "write" => return println!("{}", write(argument)),
            "exec" => {
                let status = Command::new(argument).status();
                return println!("{}", done(status));
            }
            _ => {}
        }
    }
    let attempts = [files(), privileges(), kernel_surface(), outside(&arguments)];
    for (name, errno) in attempts.into_iter().flatten() {
        println!("{name}: {errno}");
    }
    println!("set-user-ID: {}", set_user_id());
}

//! What only the filter closes.

use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;

use crate::{at, call, errno};

/// A socket of a family, type and protocol.
fn socket(family: u64, kind: u64, protocol: u64) -> i32 {
    call(libc::SYS_socket, &[family, kind, protocol])
}

/// Families but unix, IPv4, IPv6 and netlink, of each type: 0 if there is a
/// socket of one, otherwise the largest errno.
fn every_other_family() -> i32 {
    let families = (0..64).filter(|family| ![1, 2, 10, 16].contains(family));
    let errnos: Vec<_> = families
        .flat_map(|family| [1, 2, 3, 5].map(|kind| socket(family, kind, 0)))
        .collect();
    if errnos.contains(&0) {
        return 0;
    }
    errnos.into_iter().max().unwrap_or(0)
}

pub(crate) fn kernel_surface() -> Vec<(&'static str, i32)> {
    vec![
        ("int 0x80", done_by_itself("int80")),
        ("x32", done_by_itself("x32")),
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
        ("every other family", every_other_family()),
        ("TIOCSTI", call(libc::SYS_ioctl, &[0, 0x5412, at(c"x")])),
        (
            "TIOCLINUX",
            call(libc::SYS_ioctl, &[0, 0x541c, at(c"\x03")]),
        ),
    ]
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
pub(crate) fn int80() {
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

/// Calls getpid of x32; what came of it is printed: a process id, or the
/// negative errno.
#[cfg(target_arch = "x86_64")]
pub(crate) fn x32() -> i64 {
    const X32_SYSCALL_BIT: i64 = 0x4000_0000;
    let answer: i64;
    // SAFETY: the call takes nothing and changes rax, rcx and r11 alone.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") X32_SYSCALL_BIT | libc::SYS_getpid => answer,
            out("rcx") _, out("r11") _,
        );
    }
    answer
}

/// As if the filter had killed it: there is no such call.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn x32() -> i64 {
    int80();
    0
}

/// As if the filter had killed it: there is no such instruction.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn int80() {
    // SAFETY: ends this process.
    unsafe { libc::raise(libc::SIGSYS) };
}

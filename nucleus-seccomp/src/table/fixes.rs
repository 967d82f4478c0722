//! What the tables of the `syscalls` crate lack or have wrong.
//!
//! Compared with the kernel's `arch/x86/entry/syscalls/syscall_{32,64}.tbl`
//! and `scripts/syscall.tbl`, and with libseccomp 2.5.4's tables.

use super::Entry;
use crate::Arch;

/// Newer than the crate; the numbers above 423 are the same everywhere.
pub(super) const NEWER: &[Entry] = &[(470, "listns"), (471, "rseq_slice_yield")];

/// The calls that x32 has under numbers of its own (`x32` in `syscall_64.tbl`),
/// without bit 30.
pub(super) const X32_OWN: &[Entry] = &[
    (512, "rt_sigaction"),
    (513, "rt_sigreturn"),
    (514, "ioctl"),
    (515, "readv"),
    (516, "writev"),
    (517, "recvfrom"),
    (518, "sendmsg"),
    (519, "recvmsg"),
    (520, "execve"),
    (521, "ptrace"),
    (522, "rt_sigpending"),
    (523, "rt_sigtimedwait"),
    (524, "rt_sigqueueinfo"),
    (525, "sigaltstack"),
    (526, "timer_create"),
    (527, "mq_notify"),
    (528, "kexec_load"),
    (529, "waitid"),
    (530, "set_robust_list"),
    (531, "get_robust_list"),
    (532, "vmsplice"),
    (533, "move_pages"),
    (534, "preadv"),
    (535, "pwritev"),
    (536, "rt_tgsigqueueinfo"),
    (537, "recvmmsg"),
    (538, "sendmmsg"),
    (539, "process_vm_readv"),
    (540, "process_vm_writev"),
    (541, "setsockopt"),
    (542, "getsockopt"),
    (543, "io_setup"),
    (544, "io_submit"),
    (545, "execveat"),
    (546, "preadv2"),
    (547, "pwritev2"),
];

/// The numbers of x86_64 that x32 does not have (`64` in `syscall_64.tbl`).
const X32_LACKS: &[u32] = &[
    13, 15, 16, 19, 20, 45, 46, 47, 54, 55, 59, 101, 127, 128, 129, 131, 134, 156, 174, 177, 178,
    180, 205, 206, 209, 211, 214, 215, 222, 236, 244, 246, 247, 273, 274, 278, 279, 295, 296, 297,
    299, 307, 310, 311, 322, 327, 328, 453,
];

/// Whether the architecture really has this number of its table in the crate.
pub(super) fn exists(arch: Arch, number: u32) -> bool {
    match arch {
        Arch::X32 => !X32_LACKS.contains(&number),
        // The crate gives aarch64 the 64-bit time calls of 32-bit machines.
        Arch::Aarch64 => !(403..=423).contains(&number),
        Arch::X86_64 | Arch::I386 | Arch::Riscv64 => true,
    }
}

/// The kernel's spelling of a name of the crate.
pub(super) fn kernel_name(name: &'static str) -> &'static str {
    match name {
        "r#break" => "break",
        "fstatat" => "newfstatat",
        other => other,
    }
}

/// The present name of a call that the kernel renamed; other names unchanged.
pub(super) fn current_name(name: &str) -> &str {
    match name {
        // 2.6.32
        "perf_counter_open" => "perf_event_open",
        // Before the release of 5.14.
        "quotactl_path" => "quotactl_fd",
        // i386, until 2.6.
        "madvise1" => "madvise",
        // arm64 spells it as 32-bit machines do in some headers.
        "fstatat" => "newfstatat",
        other => other,
    }
}

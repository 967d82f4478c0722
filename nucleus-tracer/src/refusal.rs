//! Finding out why `PTRACE_SEIZE` was refused.

use std::{fs, io};

use crate::Refusal;
use crate::status::Status;
use crate::sys;

/// Explains the kernel's answer to an attempt to attach to `pid`.
pub(crate) fn explain(pid: u32, error: io::Error) -> Refusal {
    if !sys::ptrace_reaches_kernel() {
        return Refusal::Filtered;
    }
    match error.raw_os_error() {
        Some(libc::ESRCH) => Refusal::Gone,
        Some(libc::EPERM) => refused(pid, error),
        _ => Refusal::Other(error),
    }
}

/// The kernel checks in this order: already traced, user and capabilities,
/// then the security modules (`ptrace_attach`, `__ptrace_may_access`).
fn refused(pid: u32, error: io::Error) -> Refusal {
    let Some(status) = Status::of(pid) else {
        return Refusal::Other(error);
    };
    if let Some(tracer @ 1..) = status.tracer {
        return Refusal::Traced { tracer };
    }
    let own_uid = rustix::process::geteuid().as_raw();
    let target_uid = status.real_uid.unwrap_or(own_uid);
    if target_uid == own_uid
        && let Some(scope @ 1..) = yama_scope()
    {
        return Refusal::Yama { scope };
    }
    Refusal::NotPermitted {
        target_uid,
        own_uid,
    }
}

fn yama_scope() -> Option<u8> {
    let text = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").ok()?;
    text.trim().parse().ok()
}

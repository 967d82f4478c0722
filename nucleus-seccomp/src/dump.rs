//! Filters of running processes.

use std::fs;

use crate::{DumpError, Program, sys};

impl Program {
    /// The filters of a thread, oldest first, as the kernel counts them
    /// (`PTRACE_SECCOMP_GET_FILTER`, `ptrace(2)`, Linux 4.4). The thread is
    /// stopped for the moment it takes.
    ///
    /// Needs `CAP_SYS_ADMIN` in the initial user namespace, the right to trace
    /// the thread, a caller without a filter of its own, and a kernel with
    /// `CONFIG_CHECKPOINT_RESTORE`.
    ///
    /// # Errors
    ///
    /// Which of these is missing, and [`DumpError::NoFilter`] where there is
    /// nothing to see.
    pub fn of_process(pid: i32) -> Result<Vec<Self>, DumpError> {
        match mode(pid)? {
            Mode::Off => return Err(DumpError::NoFilter { pid }),
            Mode::Strict => return Err(DumpError::Strict { pid }),
            Mode::Filter => {}
        }
        let tracee = sys::Tracee::stop(pid)?;
        let mut programs = Vec::new();
        while let Some(insns) = tracee.filter(programs.len())? {
            programs.push(Self::new(insns).map_err(|source| DumpError::Refused { pid, source })?);
        }
        Ok(programs)
    }
}

enum Mode {
    Off,
    Strict,
    Filter,
}

/// The `Seccomp` line of `/proc/PID/status`: known before anything is stopped,
/// and apart from the other causes of EINVAL.
fn mode(pid: i32) -> Result<Mode, DumpError> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read(&path).map_err(|source| DumpError::Status { pid, source })?;
    let mode = status
        .split(|&byte| byte == b'\n')
        .find_map(|line| line.strip_prefix(b"Seccomp:"))
        .map(<[u8]>::trim_ascii);
    match mode {
        Some(b"2") => Ok(Mode::Filter),
        Some(b"1") => Ok(Mode::Strict),
        _ => Ok(Mode::Off),
    }
}

//! What a filter answers.

use std::fmt;

/// The verdict on one system call: `SECCOMP_RET_*` with its data
/// (`include/uapi/linux/seccomp.h`).
///
/// Ordered as the kernel orders them when several filters disagree: the
/// smallest wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Kills the process with SIGSYS (4.14).
    KillProcess,
    /// Kills the calling thread with SIGSYS.
    KillThread,
    /// Sends a catchable SIGSYS; the data arrives as `si_errno`.
    Trap(u16),
    /// The call returns this errno. The kernel caps it at 4095.
    Errno(u16),
    /// Asks the listener of the filter (5.0).
    Notify,
    /// Stops for the tracer with this message; ENOSYS where there is none.
    Trace(u16),
    /// Allows the call and logs it (4.14).
    Log,
    /// Allows the call.
    Allow,
}

const KILL_PROCESS: u32 = 0x8000_0000;
const KILL_THREAD: u32 = 0x0000_0000;
const TRAP: u32 = 0x0003_0000;
const ERRNO: u32 = 0x0005_0000;
const NOTIFY: u32 = 0x7fc0_0000;
const TRACE: u32 = 0x7ff0_0000;
const LOG: u32 = 0x7ffc_0000;
const ALLOW: u32 = 0x7fff_0000;

impl Action {
    /// The value that a filter returns for it.
    #[must_use]
    pub const fn to_ret(self) -> u32 {
        match self {
            Self::KillProcess => KILL_PROCESS,
            Self::KillThread => KILL_THREAD,
            Self::Trap(data) => TRAP | data as u32,
            Self::Errno(errno) => ERRNO | errno as u32,
            Self::Notify => NOTIFY,
            Self::Trace(data) => TRACE | data as u32,
            Self::Log => LOG,
            Self::Allow => ALLOW,
        }
    }

    /// What the kernel makes of a filter's return value: an unknown action
    /// kills the process (`__seccomp_filter`, `kernel/seccomp.c`).
    #[must_use]
    pub const fn from_ret(ret: u32) -> Self {
        let bytes = ret.to_le_bytes();
        let data = u16::from_le_bytes([bytes[0], bytes[1]]);
        match ret & 0xffff_0000 {
            KILL_THREAD => Self::KillThread,
            TRAP => Self::Trap(data),
            ERRNO => Self::Errno(data),
            NOTIFY => Self::Notify,
            TRACE => Self::Trace(data),
            LOG => Self::Log,
            ALLOW => Self::Allow,
            _ => Self::KillProcess,
        }
    }

    /// The name in an OCI profile, such as `SCMP_ACT_ERRNO`.
    #[must_use]
    pub const fn oci_name(self) -> &'static str {
        match self {
            Self::KillProcess => "SCMP_ACT_KILL_PROCESS",
            Self::KillThread => "SCMP_ACT_KILL_THREAD",
            Self::Trap(_) => "SCMP_ACT_TRAP",
            Self::Errno(_) => "SCMP_ACT_ERRNO",
            Self::Notify => "SCMP_ACT_NOTIFY",
            Self::Trace(_) => "SCMP_ACT_TRACE",
            Self::Log => "SCMP_ACT_LOG",
            Self::Allow => "SCMP_ACT_ALLOW",
        }
    }

    /// Whether the program does not get what it asked for: everything but
    /// `Allow`, `Log`, and the two that leave the decision to somebody else.
    #[must_use]
    pub const fn is_denial(self) -> bool {
        matches!(
            self,
            Self::KillProcess | Self::KillThread | Self::Trap(_) | Self::Errno(_)
        )
    }
}

impl fmt::Display for Action {
    /// `errno(1)`, `kill_process`, `allow`: the kernel's names with the data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KillProcess => f.write_str("kill_process"),
            Self::KillThread => f.write_str("kill_thread"),
            Self::Trap(data) => write!(f, "trap({data})"),
            Self::Errno(errno) => write!(f, "errno({errno})"),
            Self::Notify => f.write_str("user_notif"),
            Self::Trace(data) => write!(f, "trace({data})"),
            Self::Log => f.write_str("log"),
            Self::Allow => f.write_str("allow"),
        }
    }
}

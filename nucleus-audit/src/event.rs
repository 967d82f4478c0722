//! One system call that a seccomp filter did not simply allow.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::SystemTime;

use nucleus_seccomp::{Action, SeccompData, Syscall};

use crate::proc::{self, Status};

/// What a source of events yields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When the call was made; `None` where the source records many calls and
    /// takes no time for a clock.
    pub time: Option<SystemTime>,
    /// The process (thread group) as the reader's PID namespace numbers it;
    /// the kernel's own records number it in the initial namespace.
    pub pid: u32,
    /// The calling thread, where the source tells it.
    pub tid: Option<u32>,
    /// The audit session id (`/proc/PID/sessionid`), where the source tells it.
    pub session: Option<u32>,
    /// The system call.
    pub call: Call,
    /// What the filter answered. A recorded call that went on is
    /// [`Action::Trace`].
    pub action: Action,
    /// The thread's name as the kernel keeps it: at most 15 bytes. `None` for
    /// recorded calls.
    pub comm: Option<OsString>,
    /// The program's file. `None` for recorded calls and where it is unknown.
    pub exe: Option<PathBuf>,
}

impl Event {
    /// A call that a thread, which stands still, makes now: with its process,
    /// its name and its program, as `/proc` has them.
    #[must_use]
    pub fn of_thread(tid: u32, call: Call, action: Action) -> Self {
        Self {
            time: Some(SystemTime::now()),
            pid: Status::of(tid)
                .and_then(|status| status.tgid)
                .unwrap_or(tid),
            tid: Some(tid),
            session: None,
            call,
            action,
            comm: proc::comm(tid),
            exe: proc::exe(tid),
        }
    }
}

/// A system call as a source saw it: [`SeccompData`], but the kernel's own
/// records hold no arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Call {
    /// The `AUDIT_ARCH_*` value of the calling convention.
    pub arch: u32,
    /// The number in the table of `arch`; x32 calls carry bit 30.
    pub nr: u32,
    /// Where the program goes on.
    pub instruction_pointer: u64,
    /// The six argument registers, zero-extended, where the source tells them.
    pub args: Option<[u64; 6]>,
}

impl Call {
    /// The call by architecture and number, or `None` when nucleus has no
    /// table for its architecture.
    #[must_use]
    pub const fn syscall(&self) -> Option<Syscall> {
        SeccompData {
            nr: self.nr,
            arch: self.arch,
            instruction_pointer: self.instruction_pointer,
            args: [0; 6],
        }
        .syscall()
    }

    /// What the filter saw, or `None` when the arguments are unknown.
    #[must_use]
    pub fn data(&self) -> Option<SeccompData> {
        self.args.map(|args| SeccompData {
            nr: self.nr,
            arch: self.arch,
            instruction_pointer: self.instruction_pointer,
            args,
        })
    }
}

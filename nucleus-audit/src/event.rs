//! One system call that a seccomp filter did not simply allow.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::SystemTime;

use nucleus_seccomp::{Action, Call};

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

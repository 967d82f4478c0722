//! What a tracer tells.

use nucleus_seccomp::{Action, Call};

use crate::Task;

/// A call that was recorded or denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Who made it.
    pub task: Task,
    /// The call; its arguments are unknown where a filter has killed.
    pub call: Call,
    /// What the filter answered: [`Action::Trace`] for a recorded call.
    pub action: Action,
}

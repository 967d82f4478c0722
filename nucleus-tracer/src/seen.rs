//! What a tracer tells.

use nucleus_seccomp::{Action, SeccompData, Syscall};

use crate::Task;

/// A call that was recorded or denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Who made it.
    pub task: Task,
    /// The `AUDIT_ARCH_*` value of the calling convention.
    pub arch: u32,
    /// The number in the table of `arch`; x32 calls carry bit 30.
    pub nr: u32,
    /// Where the program goes on.
    pub instruction_pointer: u64,
    /// The six argument registers, zero-extended; unknown where a filter has
    /// killed.
    pub args: Option<[u64; 6]>,
    /// What the filter answered: [`Action::Trace`] for a recorded call.
    pub action: Action,
}

impl Seen {
    /// The call, where nucleus has a table for its architecture.
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
}

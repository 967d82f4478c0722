//! Limits where no cgroup is to be had: guards of a tracer.

mod claim;
mod figures;
mod forks;
mod ledger;
mod memory;
mod processes;
mod small;
mod spaces;

pub(crate) use claim::trap_claims;
pub(crate) use figures::heap_start;
pub use memory::{MemoryLimit, WhenFull};
pub use processes::ProcessLimit;

use nucleus_seccomp::{Arch, Syscall};

use crate::{ArgTest, Errno, Refusal, TrapError, Traps, When};

/// `CLONE_VM`: the child shares the memory of the parent.
const CLONE_VM: u32 = 0x100;
/// `CLONE_VFORK`.
const CLONE_VFORK: u32 = 0x4000;
/// `CLONE_THREAD`.
const CLONE_THREAD: u32 = 0x1_0000;
/// `CLONE_UNTRACED`: the child has no tracer.
const CLONE_UNTRACED: u32 = 0x80_0000;

/// A call of this name on every architecture that has one.
pub(crate) fn everywhere(name: &str) -> impl Iterator<Item = Syscall> {
    Arch::ALL
        .into_iter()
        .filter_map(move |arch| Syscall::by_name(arch, name))
}

const fn bits(index: u8, mask: u32, value: u32) -> ArgTest {
    ArgTest::Int { index, mask, value }
}

/// Traps whatever makes a process; threads are made freely. What hides its
/// flags behind a pointer is not there, so that libc falls back to `clone`, and
/// a child without a tracer is refused.
pub(crate) fn trap_forks(traps: &mut Traps) -> Result<(), TrapError> {
    for call in everywhere("fork").chain(everywhere("vfork")) {
        traps.add(call, When::Always)?;
    }
    for call in everywhere("clone") {
        traps.add(call, When::test(bits(0, CLONE_THREAD, 0)))?;
    }
    refuse_unseen_children(traps)
}

/// A child that the tracer would not hear of, or that it might not.
pub(crate) fn refuse_unseen_children(traps: &mut Traps) -> Result<(), TrapError> {
    for call in everywhere("clone") {
        let untraced = When::test(bits(0, CLONE_UNTRACED, CLONE_UNTRACED));
        traps.refuse(call, Refusal::Of(untraced, Errno::PERM))?;
    }
    for call in everywhere("clone3") {
        traps.refuse(call, Refusal::Of(When::Always, Errno::NOSYS))?;
    }
    Ok(())
}

/// A call that makes a process, as [`trap_forks`] traps them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fork {
    /// The child runs in the parent's memory.
    shares_memory: bool,
}

impl Fork {
    pub(crate) fn of(call: &crate::TracedCall) -> Option<Self> {
        let name = call.data.syscall()?.name()?;
        let flags = match name {
            "fork" => 0,
            "vfork" => CLONE_VM | CLONE_VFORK,
            "clone" => call.int(0),
            _ => return None,
        };
        (flags & CLONE_THREAD == 0).then_some(Self {
            shares_memory: flags & CLONE_VM != 0,
        })
    }
}

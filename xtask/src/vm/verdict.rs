//! Why a machine ended without a verdict.

use std::fmt;
use std::path::Path;
use std::process::ExitStatus;

use anyhow::{Context as _, Result};

/// How a machine ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// All tests have been run and reported.
    Done,
    /// The guest could not be set up, or its runner died.
    Broken(String),
    /// The kernel crashed.
    Panic(String),
    /// A processor was stuck in the kernel.
    LockUp(String),
    /// The machine's memory was used up.
    OutOfMemory(String),
    /// The accelerator cannot run this kernel.
    Accelerator(String),
    /// It had to be killed, and the console does not tell why.
    Hang(String),
    /// It ended by itself, and the console does not tell why.
    Lost(String),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => write!(f, "done"),
            Self::Broken(why) => write!(f, "guest set-up failed: {why}"),
            Self::Panic(line) => write!(f, "kernel panic: {line}"),
            Self::LockUp(line) => write!(f, "kernel lock-up: {line}"),
            Self::OutOfMemory(line) => write!(f, "out of memory: {line}"),
            Self::Accelerator(line) => {
                write!(f, "the accelerator failed: {line}; try --accel tcg")
            }
            Self::Hang(why) => write!(f, "hang: the machine {why}"),
            Self::Lost(why) => write!(f, "lost verdict: the machine ended by itself, {why}"),
        }
    }
}

/// Parts of a line, and what such a line means.
type Sign = (&'static [&'static str], fn(String) -> End);

/// What the console shows for each way of ending, most telling first: an
/// exhausted memory leads to a panic, a lock-up may, too.
const SIGNS: &[Sign] = &[
    (&["KVM internal error"], End::Accelerator),
    (
        &["Out of memory", "System is deadlocked on memory"],
        End::OutOfMemory,
    ),
    (
        &["soft lockup", "hard LOCKUP", "detected stall"],
        End::LockUp,
    ),
    (&["Kernel panic", "Oops:", "BUG: "], End::Panic),
];

/// How a machine ended that gave no verdict. `killed` says why we killed it.
pub(crate) fn explain(console: &str, killed: Option<String>, status: ExitStatus) -> End {
    signs(console).unwrap_or_else(|| match killed {
        Some(why) => End::Hang(why),
        None => End::Lost(format!("qemu with {status}")),
    })
}

/// What the console tells of the machine's end.
pub(crate) fn signs(console: &str) -> Option<End> {
    SIGNS.iter().find_map(|(signs, end)| {
        // The last line is the cause: "Kernel panic - not syncing: ...".
        let shows = |line: &&str| signs.iter().any(|sign| line.contains(sign));
        let line = console.lines().rfind(shows)?;
        Some(end(line.trim().to_owned()))
    })
}

/// The console's text.
pub(crate) fn console(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).replace('\r', ""))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    fn check(console: &str, killed: Option<&str>, expected: fn(String) -> End, text: &str) {
        let status = ExitStatus::from_raw(0);
        let end = explain(console, killed.map(str::to_owned), status);
        assert_eq!(end, expected(text.to_owned()));
    }

    #[test]
    fn the_console_tells_why_there_is_no_verdict() {
        let panic = "[    5.1] Kernel panic - not syncing: sysrq triggered crash";
        check(panic, None, End::Panic, panic);
        let stuck = "[   60.0] watchdog: BUG: soft lockup - CPU#1 stuck for 26s! [spin:77]";
        check(stuck, Some("said nothing"), End::LockUp, stuck);
        let memory = "[  9.0] Out of memory: Killed process 80 (vm-runner)";
        let both = format!("{memory}\n[  9.1] Kernel panic - not syncing: no init\n");
        check(&both, None, End::OutOfMemory, memory);
        let cgroup = "[  9.0] Memory cgroup out of memory: Killed process 80 (eater)";
        check(cgroup, Some("said nothing"), End::Hang, "said nothing");
        check("", None, End::Lost, "qemu with exit status: 0");
    }
}

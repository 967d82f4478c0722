//! What strace sees: the second opinion on a trace.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// The names of the calls and how often each was made, of all architectures.
pub type Counts = BTreeMap<String, u64>;

/// Runs the command under `strace -f`. Not with `-c`, which does not count the
/// calls that never return.
///
/// # Panics
///
/// When strace fails, or the command does.
#[must_use]
pub fn count(command: &[&str], directory: &Path) -> Counts {
    let log = tempfile::NamedTempFile::new().expect("a temporary file");
    let output = Command::new("strace")
        .args(["-f", "-qq", "-e", "raw=all", "-o"])
        .arg(log.path())
        .arg("--")
        .args(command)
        .current_dir(directory)
        .output()
        .expect("starting strace");
    assert!(output.status.success(), "strace {command:?}: {output:?}");
    parse(&std::fs::read_to_string(log.path()).expect("the log of strace"))
}

/// Counts the lines that begin a call: the thread's id, the call's name and a
/// parenthesis. Other lines are of calls that go on, signals and exits.
fn parse(log: &str) -> Counts {
    let mut counts = Counts::new();
    for line in log.lines() {
        let event = line.trim_start_matches(|c: char| c.is_ascii_digit());
        let Some((name, _)) = event.trim_start().split_once('(') else {
            continue;
        };
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if !name.is_empty() && name.chars().all(is_name) {
            *counts.entry(name.to_owned()).or_default() += 1;
        }
    }
    counts
}

/// What several runs have seen.
#[derive(Debug)]
pub struct Seen {
    /// By every run.
    pub always: BTreeSet<String>,
    /// By at least one.
    pub ever: BTreeSet<String>,
}

/// Runs the command under strace several times.
///
/// # Panics
///
/// As [`count`].
#[must_use]
pub fn runs(times: usize, command: &[&str], directory: &Path) -> Seen {
    let runs: Vec<BTreeSet<String>> = (0..times)
        .map(|_| count(command, directory).into_keys().collect())
        .collect();
    let ever: BTreeSet<_> = runs.iter().flatten().cloned().collect();
    let always = ever
        .iter()
        .filter(|name| runs.iter().all(|run| run.contains(*name)))
        .cloned()
        .collect();
    Seen { always, ever }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_of_a_log_is_counted_once() {
        let log = "\
412   execve(0x7ffe, 0x7fff, 0x7ffd) = 0
412   strace: [ Process PID=412 runs in 32 bit mode. ]
412   read(0x3, 0x7f, 0x340 <unfinished ...>
413   read(0x3, 0x7f, 0x340) = 0x340
412   <... read resumed>) = 0x340
413   --- SIGCHLD {si_signo=SIGCHLD, si_code=CLD_EXITED} ---
413   exit_group(0) = ?
413   +++ exited with 0 +++
";
        let expected = [("execve", 1), ("exit_group", 1), ("read", 2)];
        assert_eq!(
            parse(log),
            expected
                .map(|(name, count)| (name.to_owned(), count))
                .into()
        );
    }
}

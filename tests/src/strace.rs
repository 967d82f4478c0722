//! What strace sees: the second opinion on a trace.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// The names of the calls and how often each was made, of all architectures.
pub type Counts = BTreeMap<String, u64>;

/// Runs the command under `strace -f -c`.
///
/// # Panics
///
/// When strace fails, or the command does.
#[must_use]
pub fn count(command: &[&str], directory: &Path) -> Counts {
    let summary = tempfile::NamedTempFile::new().expect("a temporary file");
    let output = Command::new("strace")
        .args(["-f", "-qq", "-c", "-U", "name,calls", "-o"])
        .arg(summary.path())
        .arg("--")
        .args(command)
        .current_dir(directory)
        .output()
        .expect("starting strace");
    assert!(output.status.success(), "strace {command:?}: {output:?}");
    parse(&std::fs::read_to_string(summary.path()).expect("the summary of strace"))
}

/// Reads the tables of a summary: one for each architecture, in which a line
/// is a name and a number, between two lines of dashes.
fn parse(summary: &str) -> Counts {
    let mut counts = Counts::new();
    for line in summary.lines() {
        let mut words = line.split_whitespace();
        let (Some(name), Some(calls), None) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        if let Ok(calls) = calls.parse::<u64>()
            && name != "total"
        {
            *counts.entry(name.to_owned()).or_default() += calls;
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
    fn every_table_of_a_summary_is_read() {
        let summary = "\
syscall                 calls
---------------- ------------
read                        3
execve                      1
---------------- ------------
total                       4
System call usage summary for 32 bit mode:
syscall                 calls
---------------- ------------
read                        2
---------------- ------------
total                       2
";
        assert_eq!(
            parse(summary),
            Counts::from([("execve".into(), 1), ("read".into(), 5)])
        );
    }
}

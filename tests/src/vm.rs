//! What the host and the init of a test VM say to each other.
//!
//! The host writes a [`Job`] into the initial file system. Init writes the
//! tests' output to a virtio serial port, and [`Event`]s among it: each on a
//! line of its own behind a mark that holds the job's nonce, so that no test
//! can forge one by accident.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Where the host puts the job in the guest.
pub const JOB: &str = "/vm/job.json";
/// The directory of the modules to load, in the order of their names.
pub const MODULES: &str = "/vm/modules";
/// The name of the virtio serial port that takes output and events.
pub const PORT: &str = "nucleus.tests";

/// What a VM is started for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Job {
    /// A word that the output of a test does not hold.
    pub nonce: String,
    /// How long one [`Test`] may take.
    pub timeout: Duration,
    /// How cgroups are mounted.
    pub cgroups: Cgroups,
    /// What is run, in this order.
    pub phases: Vec<Phase>,
    /// Give a person a shell on the console instead.
    pub shell: bool,
}

/// Tests that find the machine alike.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Phase {
    /// Files below `/proc/sys`, and what is written to them for this phase.
    pub sysctls: BTreeMap<String, String>,
    /// Added to the environment of the tests.
    pub environment: BTreeMap<String, String>,
    /// What is run, in this order.
    pub tests: Vec<Test>,
}

/// How `/sys/fs/cgroup` looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cgroups {
    /// Version 2 alone, every controller enabled below the root.
    Unified,
    /// Version 1 controllers, and version 2 without any at
    /// `/sys/fs/cgroup/unified`.
    Hybrid,
    /// Version 2, which systemd divides: it is the first process of the
    /// machine, and a manager of the user with id 1000 runs.
    Systemd,
}

/// One program to run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Test {
    /// What the host calls it.
    pub name: String,
    /// The working directory.
    pub directory: String,
    /// Absolute path of the program.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
}

/// What init reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The guest is set up; tests begin.
    Ready {
        /// The kernel's release, as uname says.
        kernel: String,
    },
    /// A test begins.
    Start {
        /// Its number, counted over all phases.
        test: usize,
    },
    /// A test has ended.
    End {
        /// Its number, counted over all phases.
        test: usize,
        /// How it ended.
        outcome: Outcome,
        /// From its start to the end of what it left running.
        took: Duration,
        /// What it did not try, and why: one line each.
        skipped: Vec<String>,
        /// What the kernel complained about meanwhile.
        complaints: Vec<String>,
    },
    /// Every test has been run.
    Done,
    /// The guest could not be set up.
    Broken {
        /// What failed and why.
        why: String,
    },
}

/// How a test ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// With status 0, and nothing left behind.
    Passed,
    /// With another status.
    Failed(i32),
    /// By a signal.
    Killed(i32),
    /// Not within [`Job::timeout`].
    TimedOut,
    /// With status 0, but the machine was not as before.
    LeftBehind(Vec<String>),
    /// It could not be started.
    NotStarted(String),
}

impl Event {
    /// The line that carries this event, ready to be written.
    #[must_use]
    pub fn to_line(&self, nonce: &str) -> Vec<u8> {
        // Strings, numbers and lists of both always have a JSON form.
        let json = serde_json::to_string(self).unwrap_or_default();
        format!("{}{json}\n", mark(nonce)).into_bytes()
    }

    /// The event of a line, and what a test wrote before it on that line.
    ///
    /// None if the line holds no event of the job with this nonce.
    #[must_use]
    pub fn from_line<'a>(line: &'a [u8], nonce: &str) -> Option<(&'a [u8], Self)> {
        let mark = mark(nonce).into_bytes();
        let at = line.windows(mark.len()).position(|window| window == mark)?;
        let event = serde_json::from_slice(&line[at + mark.len()..]).ok()?;
        Some((&line[..at], event))
    }
}

fn mark(nonce: &str) -> String {
    format!("\u{1e}{nonce} ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_found_behind_the_output_of_a_test() {
        let event = Event::End {
            test: 3,
            outcome: Outcome::LeftBehind(vec!["mount /mnt".to_owned()]),
            took: Duration::from_millis(1250),
            skipped: vec!["no \"gcc\"\n".to_owned()],
            complaints: Vec::new(),
        };
        let mut line = b"no newline".to_vec();
        line.extend(event.to_line("abc"));
        assert_eq!(line.iter().filter(|&&byte| byte == b'\n').count(), 1);
        assert_eq!(
            Event::from_line(&line, "abc"),
            Some((&b"no newline"[..], event))
        );
        assert_eq!(Event::from_line(&line, "abd"), None);
        assert_eq!(Event::from_line(b"", "abc"), None);
    }
}

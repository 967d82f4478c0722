//! Runs the tests one after the other and reports on each.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nucleus_tests::vm::{Event, Job, Outcome, Phase, Test};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::leftovers::Machine;

/// Tests append a line here for what they do not try.
const SKIPS: &str = "/run/skipped";

/// Lines of the kernel's log that no test may cause.
const COMPLAINTS: &[&str] = &[
    "BUG:",
    "Oops",
    "soft lockup",
    "hard LOCKUP",
    "detected stall",
    "blocked for more than",
    // Of the whole machine; that of a cgroup begins with "Memory cgroup".
    "Out of memory",
];

pub(crate) fn run(job: &Job, port: &File) -> Result<()> {
    let mut log = KernelLog::open()?;
    let kernel = rustix::system::uname();
    let kernel = kernel.release().to_string_lossy().into_owned();
    say(job, port, &Event::Ready { kernel })?;
    log.complaints()?;
    let mut before = Machine::look()?;
    let mut number = 0;
    for (index, phase) in job.phases.iter().enumerate() {
        let saved = set(&phase.sysctls)?;
        for test in &phase.tests {
            say(job, port, &Event::Start { test: number })?;
            let start = Instant::now();
            let mut outcome = run_one(job, phase, test, port)?;
            let left = before.wait_for_the_same()?;
            if !left.is_empty() {
                if outcome == Outcome::Passed {
                    outcome = Outcome::LeftBehind(left.iter().map(ToString::to_string).collect());
                }
                before = before.clean_up(&left)?;
            }
            let event = Event::End {
                test: number,
                outcome,
                took: start.elapsed(),
                skipped: skipped()?,
                complaints: log.complaints()?,
            };
            say(job, port, &event)?;
            number += 1;
        }
        // The last phase may have made a choice that nothing takes back.
        if index + 1 < job.phases.len() {
            set(&saved)?;
        }
    }
    say(job, port, &Event::Done)
}

/// Writes files below `/proc/sys`; what they held before.
fn set(sysctls: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>> {
    let mut before = BTreeMap::new();
    for (name, value) in sysctls {
        let path = Path::new("/proc/sys").join(name);
        let old =
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        fs::write(&path, value)
            .with_context(|| format!("writing {value} to {}", path.display()))?;
        before.insert(name.clone(), old.trim_end().to_owned());
    }
    Ok(before)
}

fn run_one(job: &Job, phase: &Phase, test: &Test, port: &File) -> Result<Outcome> {
    let output = || port.try_clone().context("sharing the port");
    let spawned = Command::new(&test.program)
        .args(&test.arguments)
        .current_dir(&test.directory)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", "/root")
        .env("NUCLEUS_TEST_SKIPS", SKIPS)
        .envs(&phase.environment)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(output()?)
        .stderr(output()?)
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => return Ok(Outcome::NotStarted(error.to_string())),
    };
    let Some(status) = wait_for(&mut child, job.timeout)? else {
        child.kill().context("killing a test")?;
        child.wait().context("waiting for a killed test")?;
        return Ok(Outcome::TimedOut);
    };
    Ok(match (status.code(), status.signal()) {
        (Some(0), _) => Outcome::Passed,
        (Some(code), _) => Outcome::Failed(code),
        (None, signal) => Outcome::Killed(signal.unwrap_or_default()),
    })
}

/// How the child ended, or None if it did not within `limit`.
fn wait_for(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pidfd = pidfd_open(pid.context("a process id")?, PidfdFlags::empty())
        .context("opening a test's pidfd")?;
    let limit = Timespec::try_from(limit).context("the time limit")?;
    let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
    if poll(&mut fds, Some(&limit)).context("waiting for a test")? == 0 {
        return Ok(None);
    }
    child.wait().map(Some).context("waiting for a test")
}

/// What the tests noted since the last call.
fn skipped() -> Result<Vec<String>> {
    let text = match fs::read_to_string(SKIPS) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("reading {SKIPS}")),
    };
    fs::remove_file(SKIPS).with_context(|| format!("removing {SKIPS}"))?;
    Ok(text.lines().map(str::to_owned).collect())
}

fn say(job: &Job, mut port: &File, event: &Event) -> Result<()> {
    port.write_all(&event.to_line(&job.nonce))
        .context("reporting to the host")
}

/// A reader of the kernel's log with a position of its own.
struct KernelLog(File);

impl KernelLog {
    fn open() -> Result<Self> {
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        let file = File::options()
            .read(true)
            .custom_flags(flags)
            .open("/dev/kmsg")
            .context("opening /dev/kmsg")?;
        Ok(Self(file))
    }

    /// The complaints since the last call.
    fn complaints(&mut self) -> Result<Vec<String>> {
        let mut found = Vec::new();
        // One read gives one record; the kernel's longest is smaller.
        let mut record = [0; 8192];
        loop {
            let length = match self.0.read(&mut record) {
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(found),
                // The ring went round: go on at its oldest record.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => continue,
                Err(error) => return Err(error).context("reading /dev/kmsg"),
            };
            let text = String::from_utf8_lossy(&record[..length]);
            let line = text.lines().next().unwrap_or_default();
            let message = line.split_once(';').map_or(line, |(_, message)| message);
            if COMPLAINTS
                .iter()
                .any(|complaint| message.contains(complaint))
                && !message.starts_with("audit:")
            {
                found.push(message.to_owned());
            }
        }
    }
}

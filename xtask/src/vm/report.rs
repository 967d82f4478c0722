//! What a person reads of a machine's run.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nucleus_tests::vm::{Event, Outcome};

use crate::vm::catalogue::Entry;
use crate::vm::qemu::Said;
use crate::vm::verdict::{self, End};

/// How much of what went wrong is shown.
const TAIL: usize = 50;

/// Exit codes for what is no test's own.
const TIMED_OUT: u8 = 124;
const NO_VERDICT: u8 = 125;

/// Follows one machine.
pub(crate) struct Report<'a> {
    entries: Vec<&'a Entry>,
    /// Said before the name of each test, where others run beside this machine.
    label: &'a str,
    nonce: &'a str,
    /// Takes everything that the guest says.
    log: File,
    /// Show what tests write as it comes.
    live: bool,
    /// What the running test has written last.
    tail: VecDeque<Vec<u8>>,
    running: Option<usize>,
    broken: Option<String>,
    /// The release of the kernel, once the guest is set up.
    pub(crate) ready: Option<String>,
    pub(crate) totals: Totals,
}

/// What came of many tests.
#[derive(Default)]
pub(crate) struct Totals {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: Vec<String>,
    /// How each entry ended that did not pass.
    pub(crate) failures: Vec<(String, String)>,
    /// The exit code of the first failure.
    pub(crate) code: Option<u8>,
}

impl<'a> Report<'a> {
    pub(crate) fn new(
        entries: Vec<&'a Entry>,
        label: &'a str,
        nonce: &'a str,
        log: File,
        live: bool,
    ) -> Self {
        Self {
            entries,
            label,
            nonce,
            log,
            live,
            tail: VecDeque::new(),
            running: None,
            broken: None,
            ready: None,
            totals: Totals::default(),
        }
    }

    /// Takes one line from the guest.
    pub(crate) fn line(&mut self, line: &[u8]) -> Result<Said> {
        self.log
            .write_all(line)
            .context("writing the log of a machine")?;
        let Some((before, event)) = Event::from_line(line, self.nonce) else {
            self.output(line)?;
            return Ok(Said::Something);
        };
        if !before.is_empty() {
            self.output(before)?;
        }
        match event {
            Event::Ready { kernel } => self.ready = Some(kernel),
            Event::Start { test } => {
                self.tail.clear();
                self.running = Some(test);
            }
            Event::End {
                test,
                outcome,
                took,
                skipped,
                complaints,
            } => {
                self.running = None;
                self.end(test, &outcome, took, skipped, &complaints)?;
            }
            Event::Broken { why } => {
                self.broken = Some(why);
                return Ok(Said::Done);
            }
            Event::Done => return Ok(Said::Done),
        }
        Ok(Said::Something)
    }

    fn output(&mut self, bytes: &[u8]) -> Result<()> {
        if self.live {
            let mut stderr = std::io::stderr().lock();
            stderr
                .write_all(bytes)
                .context("writing to standard error")?;
        }
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(bytes.to_vec());
        Ok(())
    }

    fn end(
        &mut self,
        test: usize,
        outcome: &Outcome,
        took: Duration,
        skipped: Vec<String>,
        complaints: &[String],
    ) -> Result<()> {
        let entry = self
            .entries
            .get(test)
            .context("the guest ran a test that nobody asked for")?;
        let name = format!("{} {}", self.label, entry.test.name);
        let name = name.trim_start();
        let took = took.as_secs_f32();
        if *outcome == Outcome::Passed && complaints.is_empty() {
            let many = if entry.count == 1 {
                String::new()
            } else {
                format!(" ({} tests)", entry.count)
            };
            eprintln!("        PASS [{took:8.3}s] {name}{many}");
            self.totals.passed += entry.count.saturating_sub(skipped.len());
            self.totals.skipped.extend(skipped);
            return Ok(());
        }
        let (word, mut how, code) = describe(outcome);
        if !complaints.is_empty() {
            how = format!("{how}; the kernel said: {}", complaints.join("; "));
        }
        self.show(&format!("{word:>12} [{took:8.3}s] {name}: {how}"), "")?;
        self.fail(name.to_owned(), format!("{word} {how}"), code);
        self.totals.skipped.extend(skipped);
        Ok(())
    }

    /// Takes how the machine ended; all that was not run has failed then.
    pub(crate) fn finish(&mut self, end: End, console: &Path) -> Result<()> {
        let text = verdict::console(console)?;
        let end = match self.broken.take() {
            // Rather why the kernel ended the runner than that it did.
            Some(why) => verdict::signs(&text).unwrap_or(End::Broken(why)),
            None => end,
        };
        if end == End::Done {
            return Ok(());
        }
        let name = match self.running.and_then(|test| self.entries.get(test)) {
            Some(entry) => format!("the machine, in {}", entry.test.name),
            None if self.ready.is_none() => "the machine, before the first test".to_owned(),
            None => "the machine, between tests".to_owned(),
        };
        let name = format!("{} {name}", self.label);
        let name = name.trim_start();
        let lines: Vec<_> = text.lines().collect();
        let last = lines[lines.len().saturating_sub(TAIL)..].join("\n");
        let last = format!("--- the end of {}\n{last}\n---\n", console.display());
        self.show(&format!("      NO-END {name}: {end}"), &last)?;
        let code = if matches!(end, End::Hang(_)) {
            TIMED_OUT
        } else {
            NO_VERDICT
        };
        self.fail(name.to_owned(), end.to_string(), code);
        Ok(())
    }

    fn fail(&mut self, name: String, how: String, code: u8) {
        self.totals.failed += 1;
        self.totals.failures.push((name, how));
        self.totals.code.get_or_insert(code);
    }

    /// Says a line, what the running test has written last, and something
    /// more, without another machine's words in between.
    fn show(&mut self, line: &str, more: &str) -> Result<()> {
        let mut text = format!("{line}\n").into_bytes();
        if !self.live && !self.tail.is_empty() {
            text.extend(format!("--- its last {} lines\n", self.tail.len()).bytes());
            self.tail.drain(..).for_each(|line| text.extend(line));
            text.extend(b"---\n");
        }
        text.extend(more.bytes());
        let mut stderr = std::io::stderr().lock();
        stderr.write_all(&text).context("writing to standard error")
    }
}

/// A word, a sentence and an exit code for what did not pass.
fn describe(outcome: &Outcome) -> (&'static str, String, u8) {
    match outcome {
        Outcome::Passed => ("COMPLAINT", "passed".to_owned(), 1),
        // What libtest says when a test has panicked or failed.
        Outcome::Failed(101) => ("FAIL", "exit code 101 (a panic)".to_owned(), 101),
        Outcome::Failed(code) => {
            let own = u8::try_from(*code).unwrap_or(1);
            ("FAIL", format!("exit code {code}"), own)
        }
        Outcome::Killed(signal) => {
            let code = u8::try_from(128 + signal).unwrap_or(1);
            ("SIGNAL", format!("killed by signal {signal}"), code)
        }
        Outcome::TimedOut => ("TIMEOUT", "did not end in time".to_owned(), TIMED_OUT),
        Outcome::LeftBehind(things) => ("LEFT", format!("left behind: {}", things.join(", ")), 1),
        Outcome::NotStarted(why) => ("NOT-STARTED", why.clone(), NO_VERDICT),
    }
}

impl Totals {
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped.extend(other.skipped);
        self.failures.extend(other.failures);
        self.code = self.code.or(other.code);
    }

    /// As cargo-nextest ends its report.
    pub(crate) fn summary(&self, took: Duration, what: &str) -> String {
        let failed = match self.failed {
            0 => String::new(),
            number => format!(" {number} failed,"),
        };
        format!(
            "     Summary [{:8.3}s] {what}{} tests run: {} passed,{failed} {} skipped",
            took.as_secs_f32(),
            self.passed + self.failed,
            self.passed,
            self.skipped.len(),
        )
    }
}

//! A directory for one test, and what nucleus wrote into it.

use std::borrow::BorrowMut;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// A directory that is gone after the test.
#[derive(Debug)]
pub struct Scratch(tempfile::TempDir);

impl Scratch {
    /// A new, empty directory.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it makes a directory")]
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// A file in it.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// The names of all that is in it, ascending.
    #[must_use]
    pub fn listing(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.path())
            .expect("reading the directory")
            .map(|entry| {
                let name = entry.expect("reading the directory").file_name();
                name.into_string().expect("a name that is text")
            })
            .collect();
        names.sort();
        names
    }

    /// Compiles a C program with these options.
    ///
    /// # Panics
    ///
    /// When gcc fails.
    #[must_use]
    pub fn compile(&self, name: &str, source: &str, options: &[&str]) -> PathBuf {
        let (code, program) = (self.file(&format!("{name}.c")), self.file(name));
        fs::write(&code, source).expect("writing the source");
        let output = Command::new("gcc")
            .args(options)
            .arg("-o")
            .args([&program, &code])
            .output()
            .expect("starting gcc");
        assert!(output.status.success(), "gcc: {output:?}");
        program
    }
}

/// A trace as any program reads it: a JSON object a line.
#[derive(Debug)]
pub struct TraceFile {
    /// The lines of the calls.
    pub calls: Vec<Value>,
    /// The last line.
    pub verdict: Value,
}

impl TraceFile {
    /// Reads a trace.
    ///
    /// # Panics
    ///
    /// When there is none, or it is not NDJSON with a verdict.
    #[must_use]
    pub fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).expect("reading the trace");
        let mut calls: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("a JSON object"))
            .collect();
        let verdict = calls.pop().expect("a last line");
        assert!(verdict["verdict"].is_string(), "no verdict: {verdict}");
        Self { calls, verdict }
    }

    /// Whether nothing was missed.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.verdict["verdict"] == "complete"
    }

    /// The names of the calls of all architectures.
    #[must_use]
    pub fn names(&self) -> BTreeSet<String> {
        let names = self.calls.iter().map(|call| call["name"].as_str());
        names
            .map(|name| name.expect("a call with a name").to_owned())
            .collect()
    }

    /// How often a call was made on x86_64.
    #[must_use]
    pub fn count(&self, name: &str) -> u64 {
        let call = self
            .calls
            .iter()
            .find(|call| call["name"] == name && call["arch"] == "x86_64");
        call.map_or(0, |call| call["count"].as_u64().expect("a count"))
    }

    /// The architectures of the calls, ascending.
    #[must_use]
    pub fn archs(&self) -> BTreeSet<String> {
        let archs = self.calls.iter().map(|call| call["arch"].as_str());
        archs
            .map(|arch| arch.expect("an architecture").to_owned())
            .collect()
    }
}

/// Runs the command in a directory, to its end.
///
/// # Panics
///
/// When it cannot be started.
pub fn run(mut command: impl BorrowMut<Command>, directory: &Path) -> Output {
    command
        .borrow_mut()
        .current_dir(directory)
        .output()
        .expect("starting a program")
}

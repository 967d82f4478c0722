//! Which tests there are, and how they are run in a guest.

use std::process::Command;

use anyhow::{Context as _, Result};
use nucleus_tests::vm::Test;
use regex_lite::Regex;

use crate::build::{self, Built};
use crate::shell;
use crate::vm::text;

/// Binaries whose tests are about values: they say the same on every kernel,
/// and are slow under translation. In a guest they run when asked for.
const PURE: &[&str] = &["nucleus-profile", "nucleus-seccomp::", "xtask"];

/// Every test of the workspace by name, below the binary that holds it.
pub(crate) struct Catalogue {
    binaries: Vec<Binary>,
}

struct Binary {
    name: String,
    executable: String,
    directory: String,
    /// Tests that talk to the kernel get a process each, so that one that
    /// hangs or dies takes no other with it.
    isolated: bool,
    tests: Vec<String>,
}

/// What a guest runs as one process.
pub(crate) struct Entry {
    pub(crate) test: Test,
    /// How many tests it holds.
    pub(crate) count: usize,
}

impl Catalogue {
    pub(crate) fn read(built: &Built, all: bool) -> Result<Self> {
        let wanted =
            |test: &&build::Test| all || !PURE.iter().any(|pure| test.name.starts_with(pure));
        let mut binaries = Vec::new();
        for test in built.tests.iter().filter(wanted) {
            let mut list = Command::new(&test.executable);
            list.args(["--list", "--format=terse"])
                .current_dir(&test.package);
            let list = String::from_utf8(shell::output(&mut list)?)
                .with_context(|| format!("the tests of {}", test.name))?;
            binaries.push(Binary {
                name: test.name.clone(),
                executable: text(&test.executable)?,
                directory: text(&test.package)?,
                isolated: test.integration,
                tests: list
                    .lines()
                    .filter_map(|line| line.strip_suffix(": test"))
                    .map(str::to_owned)
                    .collect(),
            });
        }
        Ok(Self { binaries })
    }

    /// The tests whose full name, `package::binary::test`, matches each of
    /// `filters`, with `arguments` for each process.
    pub(crate) fn select(&self, filters: &[&Regex], arguments: &[String]) -> Vec<Entry> {
        let mut entries = Vec::new();
        for binary in &self.binaries {
            let full = |test: &str| format!("{}::{test}", binary.name);
            let chosen: Vec<&String> = binary
                .tests
                .iter()
                .filter(|test| filters.iter().all(|filter| filter.is_match(&full(test))))
                .collect();
            if binary.isolated {
                let one = |test: &&String| binary.entry(full(test), &[*test], arguments);
                entries.extend(chosen.iter().map(one));
            } else if chosen.len() == binary.tests.len() && !chosen.is_empty() {
                let mut all = binary.entry(binary.name.clone(), &[], arguments);
                all.count = chosen.len();
                entries.push(all);
            } else if !chosen.is_empty() {
                entries.push(binary.entry(binary.name.clone(), &chosen, arguments));
            }
        }
        entries
    }
}

impl Binary {
    fn entry(&self, name: String, tests: &[&String], arguments: &[String]) -> Entry {
        let mut words = vec!["--test-threads=1".to_owned()];
        if !tests.is_empty() {
            words.push("--exact".to_owned());
            words.extend(tests.iter().map(ToString::to_string));
        }
        words.extend_from_slice(arguments);
        Entry {
            test: Test {
                name,
                directory: self.directory.clone(),
                program: self.executable.clone(),
                arguments: words,
            },
            count: tests.len(),
        }
    }
}

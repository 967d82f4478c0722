//! The program under test.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// The `nucleus` to test: the one that `NUCLEUS_BIN` names, or else the one of
/// this build, brought up to date.
#[must_use]
pub fn path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| match std::env::var_os("NUCLEUS_BIN") {
        Some(path) => path.into(),
        None => build(),
    })
}

/// A command line of `nucleus`.
pub fn nucleus<Word: AsRef<OsStr>>(words: impl IntoIterator<Item = Word>) -> Command {
    let mut command = Command::new(path());
    command.args(words);
    command
}

/// A test's executable is `target/PROFILE/deps/NAME-HASH`, nucleus is two up.
fn build() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    let profile = test.ancestors().nth(2).expect("a build directory");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args([
            "build",
            "--quiet",
            "--package",
            "nucleus-cli",
            "--target-dir",
        ])
        .arg(profile.parent().expect("a target directory"))
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    let status = cargo.status().expect("starting cargo to build nucleus");
    assert!(status.success(), "cargo could not build nucleus: {status}");
    profile.join("nucleus")
}

/// What a program left, with words for a failed assertion.
pub trait Said {
    /// Standard output; panics unless it is text.
    fn out(&self) -> &str;
    /// Standard error; panics unless it is text.
    fn err(&self) -> &str;
    /// The lines of standard output that are a name, a colon and a number, as
    /// probes write them.
    fn numbers(&self) -> BTreeMap<String, i64>;
    /// Returns itself if it ended with this exit code, and panics with what it
    /// said otherwise.
    fn code(self, expected: i32) -> Self;
}

impl Said for Output {
    fn out(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("text on standard output")
    }

    fn err(&self) -> &str {
        std::str::from_utf8(&self.stderr).expect("text on standard error")
    }

    fn numbers(&self) -> BTreeMap<String, i64> {
        let number = |line: &str| {
            let (name, number) = line.rsplit_once(": ")?;
            Some((name.to_owned(), number.parse().ok()?))
        };
        self.out().lines().filter_map(number).collect()
    }

    fn code(self, expected: i32) -> Self {
        assert_eq!(
            self.status.code(),
            Some(expected),
            "it ended with {}\n--- standard output\n{}\n--- standard error\n{}",
            self.status,
            String::from_utf8_lossy(&self.stdout),
            String::from_utf8_lossy(&self.stderr),
        );
        self
    }
}

//! nucleus where every user can start it, and who does.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use crate::nucleus;
use crate::scratch::Scratch;

/// The user that owns nothing.
pub const NOBODY: u32 = 65534;

/// Whom a test runs programs as: whoever tests and, where that is root, nobody.
#[must_use]
pub fn users() -> Vec<Option<u32>> {
    match rustix::process::geteuid().is_root() {
        true => vec![None, Some(NOBODY)],
        false => vec![None],
    }
}

/// A folder that everybody can enter, with a nucleus in it, and a user. A build
/// directory may be closed to others.
#[derive(Debug, Clone)]
pub struct Place {
    scratch: Arc<Scratch>,
    user: Option<u32>,
}

impl Place {
    /// A new folder, for whoever tests.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it makes a directory")]
    pub fn new() -> Self {
        let place = Self {
            scratch: Arc::new(Scratch::new()),
            user: None,
        };
        place.open("", 0o755);
        place.add("nucleus", nucleus::path());
        place
    }

    /// A new folder for each of [`users`].
    #[must_use]
    pub fn all() -> Vec<Self> {
        let all = users().into_iter();
        all.map(|user| Self::new().of(user)).collect()
    }

    /// A new folder for a user without privilege: whoever tests or, where that
    /// is root, nobody.
    #[must_use]
    pub fn unprivileged() -> Self {
        Self::new().of(users().pop().flatten())
    }

    /// The same folder for another user; for whoever tests by none and by 0.
    #[must_use]
    pub fn of(&self, user: impl Into<Option<u32>>) -> Self {
        Self {
            scratch: self.scratch.clone(),
            user: user.into().filter(|user| *user != 0),
        }
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.scratch.path()
    }

    /// A file in it.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.scratch.file(name)
    }

    /// Copies a program there.
    pub fn add(&self, name: &str, program: &Path) {
        fs::copy(program, self.file(name)).expect("copying a program");
        self.open(name, 0o755);
    }

    /// Writes a file that everybody can read.
    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.file(name), text).expect("writing a file");
        self.open(name, 0o644);
    }

    /// Writes a program that everybody can execute.
    pub fn script(&self, name: &str, text: &str) {
        self.write(name, text);
        self.open(name, 0o755);
    }

    /// Gives what is in the folder, or itself by no name, this mode.
    pub fn open(&self, name: &str, mode: u32) {
        fs::set_permissions(self.file(name), Permissions::from_mode(mode))
            .expect("opening a file to everybody");
    }

    /// A command of the user's in that folder, with a plain environment.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.path())
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .env("HOME", "/home/someone")
            .stdin(Stdio::null());
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command
    }

    /// Runs nucleus there as the user.
    #[must_use]
    pub fn nucleus(&self, words: &[&str]) -> Output {
        let mut command = self.command("./nucleus");
        command.args(words).output().expect("starting nucleus")
    }

    /// Runs `nucleus run` there as the user.
    #[must_use]
    pub fn run(&self, words: &[&str]) -> Output {
        self.nucleus(&[&["run"], words].concat())
    }
}

//! nucleus where every user can start it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

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

/// A folder that everybody can enter, with a nucleus in it. A build directory
/// may be closed to others.
#[derive(Debug)]
pub struct Anybody(Scratch);

impl Anybody {
    /// A new folder.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it makes a directory")]
    pub fn new() -> Self {
        let place = Self(Scratch::new());
        place.open("", 0o755);
        place.add("nucleus", nucleus::path());
        place
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Copies a program there.
    pub fn add(&self, name: &str, program: &Path) {
        fs::copy(program, self.0.file(name)).expect("copying a program");
        self.open(name, 0o755);
    }

    /// Writes a file that everybody can read.
    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.0.file(name), text).expect("writing a file");
        self.open(name, 0o644);
    }

    fn open(&self, name: &str, mode: u32) {
        fs::set_permissions(self.0.file(name), Permissions::from_mode(mode))
            .expect("opening a file to everybody");
    }

    /// A command of this user in that folder, with a plain environment.
    #[must_use]
    pub fn command(&self, user: u32, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.path())
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .env("HOME", "/home/someone")
            .stdin(Stdio::null());
        if user != 0 {
            command.uid(user).gid(user);
        }
        command
    }

    /// Runs nucleus there as this user.
    #[must_use]
    pub fn nucleus(&self, user: u32, words: &[&str]) -> Output {
        self.command(user, "./nucleus")
            .args(words)
            .output()
            .expect("starting nucleus")
    }
}

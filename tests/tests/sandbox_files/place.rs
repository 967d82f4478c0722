//! A folder with nucleus in it, and a user who runs it there.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output, Stdio};

use nucleus_tests::nucleus::path;
use nucleus_tests::scratch::Scratch;

pub(crate) const NOBODY: u32 = 65534;
/// Root, and somebody without privilege.
pub(crate) const USERS: [u32; 2] = [0, NOBODY];

pub(crate) struct Place {
    pub(crate) scratch: Scratch,
    pub(crate) user: u32,
}

impl Place {
    /// A folder of the user's.
    pub(crate) fn new(user: u32) -> Self {
        let scratch = Scratch::new();
        fs::set_permissions(scratch.path(), Permissions::from_mode(0o755)).unwrap();
        chown(scratch.path(), Some(user), Some(user)).unwrap();
        fs::copy(path(), scratch.file("nucleus")).unwrap();
        Self { scratch, user }
    }

    /// `nucleus run` with these words, in the folder.
    pub(crate) fn nucleus(&self, words: &[&str]) -> Command {
        let mut command = self.command("./nucleus");
        command.arg("run").args(words);
        command
    }

    pub(crate) fn run(&self, words: &[&str]) -> Output {
        self.nucleus(words).output().unwrap()
    }

    /// Any program, as the user.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.scratch.path())
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .env("HOME", "/home/someone")
            .stdin(Stdio::null());
        if self.user != 0 {
            command.uid(self.user).gid(self.user);
        }
        command
    }

    /// Runs a script as the user, outside of any sandbox; it must succeed.
    pub(crate) fn prepare(&self, script: &str) {
        let status = self.command("sh").args(["-ec", script]).status().unwrap();
        assert!(status.success(), "{script}: {status}");
    }
}

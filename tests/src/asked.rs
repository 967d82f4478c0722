//! Runs of nucleus that a policy program is asked about.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output, Stdio};

use crate::anybody::users;
use crate::nucleus::path;
use crate::scratch::Scratch;

/// Answers each event by `verdict ID LINE`, which a test defines before.
pub const ANSWER: &str = r#"
    while read -r line; do
        id=${line#*:}
        verdict "${id%%,*}" "$line"
    done
"#;

/// A folder of its own with a policy program and nucleus, and who runs it.
#[derive(Debug)]
pub struct Place {
    /// Where the policy and nucleus are.
    pub scratch: Scratch,
    user: Option<u32>,
}

impl Place {
    /// For whoever tests and, where that is root, for another one as well.
    #[must_use]
    pub fn all() -> Vec<Self> {
        users().into_iter().map(Self::new).collect()
    }

    /// For a user, or for whoever tests.
    #[must_use]
    pub fn new(user: Option<u32>) -> Self {
        let scratch = Scratch::new();
        fs::set_permissions(scratch.path(), Permissions::from_mode(0o777)).unwrap();
        fs::copy(path(), scratch.file("nucleus")).unwrap();
        Self { scratch, user }
    }

    /// A policy that a shell plays.
    pub fn policy(&self, script: &str) {
        self.write("policy", &format!("#!/bin/sh\n{script}"));
    }

    /// A file that everybody may execute.
    pub fn write(&self, name: &str, text: &str) {
        let file = self.scratch.file(name);
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o755)).unwrap();
    }

    /// A run that the policy is asked about.
    #[must_use]
    pub fn command(&self, options: &[&str], program: &[&str]) -> Command {
        let mut command = Command::new(self.scratch.file("nucleus"));
        command
            .args(["run", "--policy-exec", "./policy"])
            .args(options)
            .arg("--")
            .args(program)
            .current_dir(self.scratch.path())
            // Without folders that nobody may not look into.
            .env("PATH", "/usr/bin:/bin")
            .stdin(Stdio::null());
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command
    }

    /// What came of such a run.
    #[must_use]
    pub fn run(&self, options: &[&str], program: &[&str]) -> Output {
        self.command(options, program).output().unwrap()
    }
}

/// A block of this language in the documentation of policies, counted from 0.
#[must_use]
pub fn documented(language: &str, number: usize) -> String {
    let text = include_str!("../../docs/policy.md");
    let begin = format!("```{language}\n");
    let block = text.split(&begin).nth(number + 1).unwrap();
    block.split_once("```").unwrap().0.to_owned()
}

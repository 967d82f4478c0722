//! Runs of nucleus that a policy program is asked about.

use std::process::{Command, Output};

use crate::place::Place;

/// Answers each event by `verdict ID LINE`, which a test defines before.
pub const ANSWER: &str = r#"
    while read -r line; do
        id=${line#*:}
        verdict "${id%%,*}" "$line"
    done
"#;

impl Place {
    /// A policy that a shell plays, which may write to the folder.
    pub fn policy(&self, script: &str) {
        self.open("", 0o777);
        self.script("policy", &format!("#!/bin/sh\n{script}"));
    }

    /// A run that the policy is asked about.
    #[must_use]
    pub fn asking(&self, options: &[&str], program: &[&str]) -> Command {
        let mut command = self.command("./nucleus");
        command
            .args(["run", "--policy-exec", "./policy"])
            .args(options)
            .arg("--")
            .args(program);
        command
    }

    /// What came of such a run.
    #[must_use]
    pub fn ask(&self, options: &[&str], program: &[&str]) -> Output {
        self.asking(options, program).output().unwrap()
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

//! Rules from a file, and a program that is asked about what they let pass.

use std::cell::OnceCell;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use nucleus_supervisor::callback::Arbiter;

use super::value::duration;
use crate::policy_file::PolicyFile;
use crate::report;

/// How long a caller waits for the policy program where nothing else is said.
const PATIENCE: Duration = Duration::from_secs(5);

/// A policy of rules, and one that is asked.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Policy")]
pub(crate) struct PolicyArgs {
    /// Take rules from a file: on the network, on executing programs, limits
    ///
    /// They and those of the options add up; a denial of either wins, and of
    /// two limits the stricter one counts. nucleus policy check FILE says what a
    /// file means.
    #[arg(long, value_name = "FILE.toml")]
    policy: Option<PathBuf>,

    /// Ask a program about whatever the rules on the network and on executing
    /// programs let pass
    ///
    /// It is started outside of the sandbox, without a shell, and gets an event
    /// as one line of JSON on its standard input for each call that is to be
    /// judged; each waits for a line such as {"id":1,"verdict":"allow"} on its
    /// standard output, in any order. Without an answer, or when it has ended,
    /// the call is denied. Words are divided at blanks.
    #[arg(long, value_name = "COMMAND", value_parser = words)]
    policy_exec: Option<Words>,

    /// How long a call waits for the answer of --policy-exec [default: 5s]
    #[arg(long, value_name = "TIME", value_parser = duration, requires = "policy_exec")]
    policy_timeout: Option<Duration>,

    #[arg(skip)]
    read: OnceCell<PolicyFile>,
}

/// A program and its arguments.
#[derive(Debug, Clone)]
struct Words(Vec<String>);

fn words(text: &str) -> Result<Words, &'static str> {
    let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    if words.is_empty() {
        return Err("a command has a program, such as \"./policy.py --strict\"");
    }
    Ok(Words(words))
}

impl PolicyArgs {
    /// What the file says, or nothing where there is none. Reads it the first
    /// time.
    pub(crate) fn read(&self) -> anyhow::Result<&PolicyFile> {
        if let Some(read) = self.read.get() {
            return Ok(read);
        }
        let read = match &self.policy {
            Some(path) => PolicyFile::read(path)?,
            None => PolicyFile::default(),
        };
        Ok(self.read.get_or_init(|| read))
    }

    /// The program to ask, which does not run yet.
    pub(crate) fn arbiter(&self) -> anyhow::Result<Option<Arbiter>> {
        let by_file = &self.read()?.program;
        ensure!(
            by_file.is_none() || self.policy_exec.is_none(),
            "--policy-exec and [program] of the policy name a program each, and one can be asked; leave one out"
        );
        let (command, patience) = match (&self.policy_exec, by_file) {
            (Some(Words(command)), _) => (command, self.policy_timeout),
            (None, Some(program)) => (&program.command, program.timeout),
            (None, None) => return Ok(None),
        };
        let command = command.iter().map(Into::into).collect();
        let patience = patience.unwrap_or(PATIENCE);
        let arbiter = Arbiter::program(command, patience, |sentence| report::note(sentence));
        Ok(Some(arbiter.context("cannot ask a policy program")?))
    }
}

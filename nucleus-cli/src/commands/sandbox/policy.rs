//! Rules from a file, and a program that is asked about what they let pass.

use std::cell::OnceCell;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use nucleus_supervisor::callback::{Arbiter, Category, Inquiry};

use super::value::duration;
use crate::policy_file::PolicyFile;
use crate::report;

/// How long a caller waits for the policy program where nothing else is said.
const PATIENCE: Duration = Duration::from_secs(5);

/// A policy of rules, and one that is asked.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Policy")]
pub(crate) struct PolicyArgs {
    /// Take rules from a file: on the network, on executing programs, on paths,
    /// limits
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
    /// the call is denied. With a verdict it can take more away from all or from
    /// one process. Words are divided at blanks. The words are in
    /// docs/policy.md; the version of the protocol is in its environment
    /// (NUCLEUS_POLICY_PROTOCOL), and nucleus policy check says it.
    #[arg(long, value_name = "COMMAND", value_parser = words)]
    policy_exec: Option<Words>,

    /// How long a call waits for the answer of --policy-exec [default: 5s]
    #[arg(long, value_name = "TIME", value_parser = duration, requires = "policy_exec")]
    policy_timeout: Option<Duration>,

    /// What --policy-exec is asked about [default: exec,network]
    #[arg(
        long,
        value_name = "KINDS",
        value_delimiter = ',',
        requires = "policy_exec"
    )]
    policy_asks: Vec<Asked>,

    #[arg(skip)]
    read: OnceCell<PolicyFile>,
}

/// What a policy program can be asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Asked {
    /// Each program to execute
    Exec,
    /// Each peer and port that the rules on the network allow
    Network,
    /// Each use of a path
    Path,
    /// Each process to make
    Process,
    /// Each claim of memory
    Memory,
}

/// A policy program that is asked.
#[derive(Debug)]
pub(crate) struct Asking {
    arbiter: Arbiter,
    about: Vec<Asked>,
}

impl Asking {
    /// Whom to ask about this.
    pub(crate) fn about(&self, kind: Asked) -> Option<&Arbiter> {
        self.about.contains(&kind).then_some(&self.arbiter)
    }

    /// Whoever is asked, whatever it is about.
    pub(crate) const fn arbiter(&self) -> &Arbiter {
        &self.arbiter
    }

    /// Who asks about processes and memory, as far as that is wanted, and sees
    /// processes made, so that what is taken from one is not its children's.
    pub(crate) fn inquiry(&self) -> Inquiry {
        let kinds = [
            (Asked::Process, Category::Process),
            (Asked::Memory, Category::Memory),
        ];
        let kinds = kinds
            .into_iter()
            .filter(|(kind, _)| self.about.contains(kind));
        Inquiry::new(self.arbiter.clone(), kinds.map(|(_, category)| category))
    }
}

/// What a program is asked about where nothing else is said.
pub(crate) const ASKED: [Asked; 2] = [Asked::Exec, Asked::Network];

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
    pub(crate) fn asking(&self) -> anyhow::Result<Option<Asking>> {
        let by_file = &self.read()?.program;
        ensure!(
            by_file.is_none() || self.policy_exec.is_none(),
            "--policy-exec and [program] of the policy name a program each, and one can be asked; leave one out"
        );
        let (command, patience, about) = match (&self.policy_exec, by_file) {
            (Some(Words(command)), _) => (command, self.policy_timeout, &self.policy_asks[..]),
            (None, Some(program)) => (&program.command, program.timeout, &program.asks[..]),
            (None, None) => return Ok(None),
        };
        let command = command.iter().map(Into::into).collect();
        let patience = patience.unwrap_or(PATIENCE);
        let arbiter = Arbiter::program(command, patience, |sentence| report::note(sentence));
        Ok(Some(Asking {
            arbiter: arbiter.context("cannot ask a policy program")?,
            about: if about.is_empty() { &ASKED } else { about }.to_vec(),
        }))
    }
}

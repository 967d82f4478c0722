//! `nucleus seccomp verify`, `equal`, `subset`: proofs, or counter-examples.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use nucleus_seccomp::CompileOptions;
use nucleus_seccomp::proof::{self, Answer, CounterExample};
use serde_json::{Value, json};

use super::call;
use super::input::{self, Filter};
use super::target::TargetArgs;
use crate::exit::Exit;

/// Proves that a filter does exactly what a profile says.
///
/// Without --against, the filter is the one that nucleus compiles. Every
/// architecture, number and argument is covered: the comparison is symbolic,
/// and each region of the input is also evaluated by the profile's rules on
/// one side and by simulating the filter on the other.
///
/// Exits with 0 if they are equivalent, with 1 if not, with 125 if that
/// cannot be found out.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nucleus seccomp verify profile.json
  nucleus seccomp verify profile.json --cap CAP_SYS_ADMIN --against filter.bpf")]
pub(crate) struct VerifyArgs {
    /// An OCI profile; - is standard input
    profile: PathBuf,
    /// The filter to compare with: raw, or a listing
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: TargetArgs,
}

/// Compares two profiles or filters, in any combination.
///
/// Profiles are OCI JSON; filters are raw, in either byte order, or listings.
/// Exits with 0 if it holds, with 1 and a counter-example if not, with 125 if
/// that cannot be found out.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nucleus seccomp equal old.json new.json
  nucleus seccomp subset tight.json /run/filter.bpf --cap ALL")]
pub(crate) struct PairArgs {
    /// A profile or a filter; - is standard input
    a: PathBuf,
    /// Another
    b: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: TargetArgs,
}

pub(crate) fn verify(args: &VerifyArgs) -> anyhow::Result<Exit> {
    let policy = input::policy(&args.profile, &args.target)?;
    let (program, name) = match &args.against {
        Some(path) => (input::filter(path)?, name(path)),
        None => {
            let program = policy
                .compile(&CompileOptions::default())
                .with_context(|| format!("compiling {}", args.profile.display()))?;
            (program, "compiled filter".to_owned())
        }
    };
    let answer = proof::equal(&policy, &program).context("comparing profile and filter")?;
    let wording = Wording {
        holds: "equivalent",
        fails: "not equivalent",
        names: [self::name(&args.profile), name],
    };
    wording.print(&answer, args.json)
}

pub(crate) fn equal(args: &PairArgs) -> anyhow::Result<Exit> {
    let [a, b] = args.read()?;
    let answer = proof::equal(a.subject(), b.subject()).context("comparing both")?;
    args.wording("equal", "different").print(&answer, args.json)
}

pub(crate) fn subset(args: &PairArgs) -> anyhow::Result<Exit> {
    let [a, b] = args.read()?;
    let answer = proof::subset(a.subject(), b.subject()).context("comparing both")?;
    args.wording("subset", "not a subset")
        .print(&answer, args.json)
}

impl PairArgs {
    fn read(&self) -> anyhow::Result<[Filter; 2]> {
        Ok([
            Filter::read(&self.a, &self.target)?,
            Filter::read(&self.b, &self.target)?,
        ])
    }

    fn wording(&self, holds: &'static str, fails: &'static str) -> Wording {
        Wording {
            holds,
            fails,
            names: [name(&self.a), name(&self.b)],
        }
    }
}

fn name(path: &Path) -> String {
    path.display().to_string()
}

/// How an answer is worded.
pub(super) struct Wording {
    pub(super) holds: &'static str,
    pub(super) fails: &'static str,
    /// What is on the left, and on the right.
    pub(super) names: [String; 2],
}

impl Wording {
    fn print(&self, answer: &Answer, json: bool) -> anyhow::Result<Exit> {
        let text = if json {
            self.json(answer).to_string()
        } else {
            self.text(answer)
        };
        writeln!(std::io::stdout(), "{text}").context("writing to standard output")?;
        Ok(match answer {
            Answer::Holds { .. } => Exit::SUCCESS,
            Answer::Fails(_) => Exit::DIFFERENT,
        })
    }

    pub(super) fn text(&self, answer: &Answer) -> String {
        match answer {
            Answer::Holds { classes, evaluated } => format!(
                "{}: {classes} classes of calls, {evaluated} calls evaluated one by one",
                self.holds
            ),
            Answer::Fails(CounterExample { data, left, right }) => format!(
                "{}: {}\n  {}: {left}\n  {}: {right}",
                self.fails,
                call::describe(data),
                self.names[0],
                self.names[1]
            ),
        }
    }

    pub(super) fn json(&self, answer: &Answer) -> Value {
        match answer {
            Answer::Holds { classes, evaluated } => {
                json!({ "answer": self.holds, "classes": classes, "evaluated": evaluated })
            }
            Answer::Fails(CounterExample { data, left, right }) => json!({
                "answer": self.fails,
                "call": call::to_json(data),
                "verdicts": [
                    { "name": self.names[0], "action": left.to_string() },
                    { "name": self.names[1], "action": right.to_string() },
                ],
            }),
        }
    }
}

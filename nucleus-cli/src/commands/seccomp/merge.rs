//! `nucleus seccomp merge`: one profile of several.

use std::path::PathBuf;

use anyhow::Context as _;
use nucleus_seccomp::merge::{Merge, merge};
use serde_json::json;

use super::input;
use super::output::OutputArgs;
use super::target::TargetArgs;
use crate::exit::Exit;

/// Merges profiles to one for this machine
///
/// A union lets pass what one of them lets pass, an intersection only what
/// all do; of two denials of a call the stricter counts in an intersection.
/// Conditions are decided for the target. Each rule of the result says in its
/// comment where it comes from. What no profile can say is an error that names
/// the call.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nucleus seccomp merge monday.json tuesday.json -o week.json
  nucleus seccomp merge ours.json @default --mode intersection")]
pub(crate) struct Args {
    /// Profiles; - is standard input, @default the sandbox's own
    #[arg(required = true, num_args = 2.., value_name = "PROFILE")]
    profiles: Vec<PathBuf>,
    /// What of the profiles is kept
    #[arg(long, value_enum, default_value_t = Mode::Union)]
    mode: Mode,
    #[command(flatten)]
    output: OutputArgs,
    /// Print one JSON object with the profile and what it was made of
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: TargetArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Mode {
    /// What one of them lets pass
    Union,
    /// What all of them let pass
    Intersection,
}

impl Mode {
    const fn name(self) -> &'static str {
        match self {
            Self::Union => "union",
            Self::Intersection => "intersection",
        }
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let mut policies = Vec::new();
    for path in &args.profiles {
        let policy = input::policy(path, &args.target)?;
        policies.push((path.display().to_string(), policy));
    }
    let output = args.output.open()?;
    let how = match args.mode {
        Mode::Union => Merge::Union,
        Mode::Intersection => Merge::Intersection,
    };
    let merged = merge(&policies, how).context("merging")?;
    let profile = merged.to_json();
    let text = if args.json {
        let origins: Vec<&str> = policies.iter().map(|(name, _)| name.as_str()).collect();
        let profile: serde_json::Value = serde_json::from_str(&profile)?;
        format!(
            "{}\n",
            json!({
                "mode": args.mode.name(),
                "profiles": origins,
                "rules": merged.rules.len(),
                "profile": profile,
            })
        )
    } else {
        profile
    };
    output.write(text.as_bytes())?;
    Ok(Exit::SUCCESS)
}

//! `nucleus seccomp diff`: what changed between two profiles.

use std::io::{self, Write as _};
use std::path::PathBuf;

use anyhow::Context as _;
use nucleus_seccomp::diff::{Change, Diff};
use serde_json::json;

use super::input;
use super::target::TargetArgs;
use crate::exit::Exit;

/// Shows what differs between two profiles, by call and by argument
///
/// Compares what the rules say of each call; `nucleus seccomp equal` proves
/// whether two profiles that are worded differently mean the same. Exits with
/// 0 if nothing differs, with 1 if something does, with 125 on errors.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nucleus seccomp diff old.json new.json
  nucleus seccomp diff profile.json @default --cap CAP_NET_ADMIN --json")]
pub(crate) struct Args {
    /// A profile; - is standard input, @default the sandbox's own
    before: PathBuf,
    /// Another
    after: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: TargetArgs,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let before = input::policy(&args.before, &args.target)?;
    let after = input::policy(&args.after, &args.target)?;
    let diff = Diff::new(&before, &after);
    let mut out = io::stdout().lock();
    let written = if args.json {
        writeln!(out, "{}", to_json(&diff))
    } else if diff.is_empty() {
        Ok(())
    } else {
        let names = [&args.before, &args.after].map(|path| path.display());
        write!(out, "--- {}\n+++ {}\n{diff}", names[0], names[1])
    };
    written.context("writing to standard output")?;
    Ok(if diff.is_empty() {
        Exit::SUCCESS
    } else {
        Exit::DIFFERENT
    })
}

fn to_json(diff: &Diff) -> serde_json::Value {
    let change = |change: &Change| {
        json!({
            "about": change.about.to_string(),
            "removed": change.removed,
            "added": change.added,
        })
    };
    let arches: Vec<_> = diff
        .arches
        .iter()
        .map(|arch| {
            let changes: Vec<_> = arch.changes.iter().map(change).collect();
            json!({ "arch": arch.arch.name(), "changes": changes })
        })
        .collect();
    json!({ "equal": diff.is_empty(), "arches": arches })
}

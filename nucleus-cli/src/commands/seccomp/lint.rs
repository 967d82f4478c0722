//! `nucleus seccomp lint`: weaknesses of a profile or a filter.

use std::io::{self, Write as _};
use std::path::PathBuf;

use anyhow::Context as _;
use nucleus_seccomp::lint::{Finding, lint};
use serde_json::json;

use super::input::Filter;
use super::target::TargetArgs;
use crate::exit::Exit;

/// Finds weaknesses: ways around the filter, dangerous calls, denials that
/// other calls undo
///
/// Asks the profile or filter what happens to certain calls, so raw filters
/// can be looked at as well. Exits with 0 if nothing is found, with 1 if
/// something is, with 125 on errors.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nucleus seccomp lint profile.json
  nucleus seccomp lint profile.json --ignore mptcp --ignore fast-open
  nucleus seccomp lint filter.bpf --json")]
pub(crate) struct Args {
    /// A profile, or a filter, raw or as a listing; - is standard input
    file: PathBuf,
    /// Leave out findings of this kind (may be repeated)
    #[arg(long, value_name = "ID")]
    ignore: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: TargetArgs,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let filter = Filter::read(&args.file, &args.target)?;
    let native = args.target.resolve()?.arch;
    let mut findings = lint(filter.subject(), native);
    findings.retain(|finding| !args.ignore.iter().any(|id| id == finding.id));
    let text = if args.json {
        let findings: Vec<_> = findings.iter().map(to_json).collect();
        format!("{}\n", json!({ "findings": findings }))
    } else {
        findings.iter().map(describe).collect()
    };
    io::stdout()
        .write_all(text.as_bytes())
        .context("writing to standard output")?;
    Ok(if findings.is_empty() {
        Exit::SUCCESS
    } else {
        Exit::DIFFERENT
    })
}

fn describe(finding: &Finding) -> String {
    let Finding {
        severity, id, why, ..
    } = finding;
    let mut calls = finding.calls.iter().map(ToString::to_string);
    let shown: Vec<String> = calls.by_ref().take(8).collect();
    let more = match calls.count() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(
        "{severity:<6}  {id:<15}  {}{more}: {why}\n",
        shown.join(", ")
    )
}

fn to_json(finding: &Finding) -> serde_json::Value {
    let calls: Vec<_> = finding
        .calls
        .iter()
        .map(|call| json!({ "arch": call.arch().name(), "name": call.name(), "number": call.number() }))
        .collect();
    json!({
        "severity": finding.severity.to_string(),
        "id": finding.id,
        "calls": calls,
        "why": finding.why,
    })
}

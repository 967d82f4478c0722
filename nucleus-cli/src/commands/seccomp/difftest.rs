//! `nucleus seccomp difftest`: the same profile through libseccomp.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use nucleus_seccomp::difftest::Libseccomp;
use nucleus_seccomp::proof::Answer;
use serde_json::json;

use super::profile::Loaded;
use super::target::TargetArgs;
use super::verify::Wording;
use crate::exit::Exit;
use crate::report;

/// Compares nucleus's filter for a profile with libseccomp's.
///
/// The profile goes through libseccomp.so.2, loaded at run time, as runc puts
/// it there; the two filters are then compared exactly. Calls that this
/// libseccomp does not know are left out on both sides, and so is runc's own
/// rule for calls newer than the profile.
///
/// Exits with 0 if they are the same, with 1 and the first call on which they
/// differ if not, with 125 if there is no libseccomp or it refuses the profile.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  nucleus seccomp difftest /usr/share/containers/seccomp.json --cap ALL")]
pub(crate) struct Args {
    /// An OCI profile; - is standard input
    profile: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: TargetArgs,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let target = args.target.resolve()?;
    let loaded = Loaded::read(&args.profile)?;
    // Says what means nothing in the profile.
    loaded.policy(&args.target)?;
    let library = Libseccomp::load()?;
    let version = library.version();
    let report = library
        .compare(&loaded.profile, &target)
        .with_context(|| format!("comparing with libseccomp {version}"))?;
    if !report.unknown.is_empty() {
        let names: Vec<&str> = report.unknown.iter().map(String::as_str).collect();
        report::note(format_args!(
            "libseccomp {version} does not know, so left out: {}",
            names.join(", ")
        ));
    }
    let wording = Wording {
        holds: "no disagreement",
        fails: "disagreement",
        names: ["nucleus".to_owned(), format!("libseccomp {version}")],
    };
    if args.json {
        let mut text = wording.json(&report.answer);
        text["libseccomp"] = json!(version);
        text["instructions"] = json!({ "nucleus": report.ours, "libseccomp": report.theirs });
        text["unknown"] = json!(report.unknown);
        writeln!(std::io::stdout(), "{text}")
    } else {
        writeln!(
            std::io::stdout(),
            "{}\n{} instructions, libseccomp {version}: {}",
            wording.text(&report.answer),
            report.ours,
            report.theirs
        )
    }
    .context("writing to standard output")?;
    Ok(match report.answer {
        Answer::Holds { .. } => Exit::SUCCESS,
        Answer::Fails(_) => Exit::DIFFERENT,
    })
}

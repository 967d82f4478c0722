//! `nucleus seccomp compile`: from a profile to a filter.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, IsTerminal as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use nucleus_profile::Trace;
use nucleus_seccomp::{CompileOptions, Syscall};

use super::disasm::{self, Format};
use super::input;
use super::output::OutputArgs;
use super::target::TargetArgs;
use crate::exit::Exit;

/// Compiles an OCI profile, as Docker, podman and Kubernetes use them, to a
/// filter with the same meaning
///
/// Calls that are always allowed cost nothing under it: the kernel (5.11 and
/// later) finds them out when the filter is installed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nucleus seccomp compile profile.json -o filter.bpf
  nucleus seccomp compile profile.json --cap CAP_NET_ADMIN --format asm
  nucleus seccomp compile profile.json --arch aarch64 --kernel 5.10 --format c > filter.h
  bwrap --seccomp 9 ... 9< <(nucleus seccomp compile profile.json)")]
pub(crate) struct Args {
    /// The profile: a file, - for standard input, or @default or @nested, the sandbox's own
    profile: PathBuf,
    #[command(flatten)]
    output: OutputArgs,
    /// In which form
    #[arg(long, value_enum, default_value_t = Format::Raw)]
    format: Format,
    /// Short for --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Give calls that this trace has often the shortest ways through the filter
    #[arg(long, value_name = "TRACE")]
    hot: Option<PathBuf>,
    #[command(flatten)]
    target: TargetArgs,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let format = if args.json { Format::Json } else { args.format };
    let raw = matches!(format, Format::Raw | Format::RawLe | Format::RawBe);
    if raw && args.output.is_stdout() && io::stdout().is_terminal() {
        bail!(
            "a raw filter is nothing for a terminal; name a file with -o, or choose --format asm"
        );
    }
    let policy = input::policy(&args.profile, &args.target)?;
    let hot = args.hot.as_deref().map(hot).transpose()?;
    let output = args.output.open()?;
    let options = CompileOptions {
        hot: hot.unwrap_or_default(),
    };
    let program = policy
        .compile(&options)
        .with_context(|| format!("compiling {}", args.profile.display()))?;
    let mut bytes = Vec::new();
    disasm::write(&mut bytes, &[program], format)?;
    output.write(&bytes)?;
    Ok(Exit::SUCCESS)
}

/// How often a trace has each call.
fn hot(path: &Path) -> anyhow::Result<BTreeMap<Syscall, u64>> {
    let read = || -> anyhow::Result<Trace> { Ok(Trace::read(BufReader::new(File::open(path)?))?) };
    let trace = read().with_context(|| format!("cannot use the trace {path:?}"))?;
    let calls = trace.calls().iter();
    Ok(calls.map(|(&call, seen)| (call, seen.count)).collect())
}

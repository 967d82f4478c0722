//! `nucleus trace`: records the system calls of a run.

use std::path::{Path, PathBuf};

use nucleus_profile::AtomicFile;

use super::program::Program;
use super::sandbox::SandboxArgs;
use crate::exit::Exit;
use crate::recording::{self, Recording};
use crate::report;
use crate::supervise::Supervision;
use crate::watch_source::WatchSource;

/// Run a program and record each system call that it makes
///
/// The trace is NDJSON: one object per architecture and system call, with its
/// count; the last line is the verdict, which says whether anything was missed.
/// The exit code is the program's own.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nucleus trace --host -o ls.trace -- ls -l /
  nucleus seccomp generate ls.trace -o ls.json")]
pub(crate) struct Args {
    /// Trace to write; it appears when the program has ended
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    /// What sees the calls
    #[arg(long, value_name = "SOURCE", default_value = "ptrace")]
    source: WatchSource,

    #[command(flatten)]
    sandbox: SandboxArgs,

    #[command(flatten)]
    program: Program,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    record_to(&args.output, args.source, &args.sandbox, &args.program)
}

/// Records a run into a file; also what `run --seccomp-mode trace` does.
pub(crate) fn record_to(
    path: &Path,
    source: WatchSource,
    sandbox: &SandboxArgs,
    program: &Program,
) -> anyhow::Result<Exit> {
    let output = AtomicFile::create(path)?;
    let (mut sandboxed, rules) = sandbox.supervised(program)?;
    let rules = Supervision::new(rules)?;
    let Recording { trace, ended } =
        recording::record(&mut sandboxed, &program.command, source, rules)?;
    trace.save(output)?;
    report::incomplete(
        &format!("the trace {}", path.display()),
        trace.completeness(),
    );
    Ok(ended.into())
}

//! `nucleus learn`: trace, generate, prove, and run once more under the profile.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use nucleus_audit::PtraceMode;
use nucleus_profile::{AtomicFile, Trace, generate, notes};
use nucleus_seccomp::Policy;
use nucleus_seccomp::proof::{self, Answer, CounterExample};

use super::program::Program;
use super::sandbox::SandboxArgs;
use crate::denials::{self, Remedy};
use crate::exit::{Ended, Exit};
use crate::recording::{self, Recording};
use crate::supervise::Supervision;
use crate::told::Teller;
use crate::watch_source::WatchSource;
use crate::{filter, report};

/// Learn the smallest seccomp profile with which a program works
///
/// Runs the program and records each system call, makes a profile that allows
/// exactly those, proves that the compiled filter means what the profile says,
/// and runs the program a second time under it. The profile is written only if
/// nothing was denied in that second run. The exit code is the program's own.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nucleus learn --host -- ls -l /
  nucleus learn --host -o server.json --runs 3 -- ./server --self-test
Then:
  nucleus run --seccomp-profile ls.seccomp.json --host -- ls -l /")]
pub(crate) struct Args {
    /// Profile to write [default: the program's name with .seccomp.json, in this directory]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Keep the trace, too (the first, with --runs)
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,

    /// Traced runs; a program whose calls vary wants several
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    runs: u16,

    /// Write the profile without a second run
    #[arg(long)]
    no_second_run: bool,

    /// What sees the calls, in every run
    #[arg(long, value_name = "SOURCE", default_value = "ptrace")]
    source: WatchSource,

    #[command(flatten)]
    sandbox: SandboxArgs,

    #[command(flatten)]
    generate: super::seccomp::generate::Options,

    #[command(flatten)]
    program: Program,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let path = match &args.output {
        Some(path) => path.clone(),
        None => implied_output(&args.program.command)?,
    };
    let output = AtomicFile::create(&path)?;
    let trace_output = args.trace.as_deref().map(AtomicFile::create).transpose()?;

    let (traces, ended) = record(args, trace_output)?;
    let profile = generate(&traces, &args.generate.resolve(filter::native()?))?;
    for note in notes(&traces)? {
        report::note(note);
    }
    let json = profile.to_json();
    let policy = filter::resolve(&profile, args.sandbox.capabilities()?)?;
    let program = filter::enforcing(&policy)?;
    let classes = prove(&policy, &program)?;
    report::note(format_args!(
        "profile: {}, {} bytes, {} instructions; the filter is proven to mean the profile, {classes} classes of calls",
        path.display(),
        json.len(),
        program.insns().len(),
    ));
    if !args.no_second_run {
        second_run(args, &policy, ended)?;
    }
    output.commit_with(json.as_bytes())?;
    Ok(ended.into())
}

/// Proves that the filter gives each call the verdict that the profile gives
/// it; returns into how many classes that divides the calls.
fn prove(policy: &Policy, program: &nucleus_seccomp::Program) -> anyhow::Result<u64> {
    match proof::equal(policy, program).context("cannot prove that the filter means the profile")? {
        Answer::Holds { classes, .. } => Ok(classes),
        Answer::Fails(CounterExample { data, left, right }) => bail!(
            "the compiled filter says {right} where the profile says {left}, for {data:?}; \
             this is a bug in nucleus: please report it with the profile"
        ),
    }
}

/// The traced runs; with how the last one ended.
fn record(args: &Args, trace_output: Option<AtomicFile>) -> anyhow::Result<(Vec<Trace>, Ended)> {
    let mut traces = Vec::new();
    let mut last = None;
    for _ in 0..args.runs {
        let (mut sandboxed, rules) = args.sandbox.supervised(&args.program)?;
        let rules = Supervision::new(rules)?;
        let Recording { trace, ended } =
            recording::record(&mut sandboxed, &args.program.command, args.source, rules)?;
        report::note(format_args!(
            "traced: {} calls, {} unique, by {}; {}; {ended}",
            trace.total(),
            trace.calls().len(),
            trace.origin().source,
            report::verdict(trace.completeness()),
        ));
        traces.push(trace);
        last = Some(ended);
    }
    if let (Some(output), Some(first)) = (trace_output, traces.first()) {
        first.clone().save(output)?;
    }
    let ended = last.context("--runs is at least 1")?;
    Ok((traces, ended))
}

/// Runs the program under the profile, and fails when anything is denied to it.
/// A tracer lets that go on, so that the run shows all that is missing and does
/// not hang for the first; where nothing is denied, it went as `run` would.
fn second_run(args: &Args, policy: &Policy, first: Ended) -> anyhow::Result<()> {
    let (mut sandboxed, rules) = args.sandbox.supervised(&args.program)?;
    let teller = Teller::new(false, None, Remedy::Said);
    let (ended, completeness) = denials::watch(
        &mut sandboxed,
        policy,
        PtraceMode::Rehearse,
        args.source,
        Supervision::new(rules)?,
        &teller,
    )
    .context("the second run, under the profile")?;
    let report = teller.finish(completeness, false)?;
    let (probes, denied): (Vec<_>, Vec<_>) = report
        .denials
        .iter()
        .partition(|denial| denials::is_probe(denial.action));
    for denial in denied.iter().chain(&probes) {
        report::note(denials::describe(denial, &Remedy::Said));
    }
    report::incomplete("the report of denied calls", &report.completeness);
    let names = denied.iter().map(|denial| denials::name(&denial.call));
    let names: Vec<_> = names.collect();
    ensure!(
        names.is_empty(),
        "the second run made calls that the first did not: {}; the profile was not written; \
         trace more runs of this program with --runs 3",
        names.join(", ")
    );
    if ended == first {
        report::note(format_args!(
            "second run under the profile: nothing denied, {first} as before"
        ));
    } else {
        report::note(format_args!(
            "second run under the profile: nothing denied, but {} where the first had {first}; \
             a program that changes what it works on may do that",
            ended
        ));
    }
    Ok(())
}

/// `NAME.seccomp.json` in this directory. A file that is there already is
/// replaced only by a name that the user gave.
fn implied_output(command: &[OsString]) -> anyhow::Result<PathBuf> {
    let name = command
        .first()
        .and_then(|program| Path::new(program).file_name())
        .context("no file name in the program to name the profile after; give one with -o FILE")?;
    let mut file = name.to_owned();
    file.push(".seccomp.json");
    Ok(file.into())
}

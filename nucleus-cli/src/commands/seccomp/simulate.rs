//! `nucleus seccomp simulate`: what a filter says to calls.

use std::io::{self, BufRead, Write};
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use nucleus_seccomp::{Action, Arch, Program, SeccompData};
use serde_json::{Value, json};

use super::call::{self, Call};
use super::input::Filter;
use super::target::TargetArgs;
use crate::exit::Exit;

/// Runs a filter as the kernel does, on one call or on many.
///
/// The filter is raw, a listing, or a profile that is compiled first. Without
/// a call, calls are read from standard input, one JSON object a line, and
/// answered likewise.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nucleus seccomp simulate profile.json openat -100 0x0 2
  nucleus seccomp simulate filter.bpf --abi i386 socketcall 1
  echo '{\"arch\":\"x86_64\",\"syscall\":\"socket\",\"args\":[40]}' | nucleus seccomp simulate profile.json")]
pub(crate) struct Args {
    /// A profile or a filter
    filter: PathBuf,
    /// A system call, by name or number
    call: Option<String>,
    /// Its arguments: decimal, negative, or hexadecimal with 0x
    #[arg(allow_negative_numbers = true)]
    args: Vec<String>,
    /// Calling convention: x86_64, x32, i386, aarch64 or riscv64 [default: the target's]
    #[arg(long)]
    abi: Option<Arch>,
    /// Print JSON for a single call, too
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: TargetArgs,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let target = args.target.resolve()?;
    let abi = args.abi.unwrap_or(target.arch);
    let from_stdin = args.call.is_none();
    if from_stdin && args.filter.as_os_str() == "-" {
        bail!("standard input cannot be both the filter and the calls; name a file or a call");
    }
    let program = Filter::read(&args.filter, &args.target)?.into_program()?;
    let mut out = io::stdout().lock();
    if let Some(name) = &args.call {
        let data = Call::from_words(abi, name, &args.args).data(abi)?;
        let line = if args.json {
            answer(&program, &data).to_string()
        } else {
            describe(&program, &data)
        };
        writeln!(out, "{line}").context("writing to standard output")?;
    } else {
        let mut out = io::BufWriter::new(out);
        many(&program, abi, io::stdin().lock(), &mut out)?;
        out.flush().context("writing to standard output")?;
    }
    Ok(Exit::SUCCESS)
}

fn many(
    program: &Program,
    abi: Arch,
    calls: impl BufRead,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    for (number, line) in (1_u64..).zip(calls.lines()) {
        let line = line.context("reading standard input")?;
        if line.trim().is_empty() {
            continue;
        }
        let data = serde_json::from_str::<Call>(&line)
            .map_err(anyhow::Error::from)
            .and_then(|call| call.data(abi))
            .with_context(|| format!("standard input, line {number}: {line}"))?;
        writeln!(out, "{}", answer(program, &data)).context("writing to standard output")?;
    }
    Ok(())
}

fn cached(program: &Program, data: &SeccompData) -> bool {
    data.syscall()
        .is_some_and(|call| program.cached(call.arch(), call.number()))
}

fn answer(program: &Program, data: &SeccompData) -> Value {
    let outcome = program.run(data);
    let mut answer = call::to_json(data);
    answer["action"] = json!(outcome.action.oci_name());
    answer["data"] = match outcome.action {
        Action::Errno(data) | Action::Trap(data) | Action::Trace(data) => json!(data),
        _ => Value::Null,
    };
    answer["ret"] = json!(outcome.ret);
    answer["executed"] = json!(outcome.executed);
    answer["cached"] = json!(cached(program, data));
    answer
}

fn describe(program: &Program, data: &SeccompData) -> String {
    let outcome = program.run(data);
    let cached = if cached(program, data) {
        "; kernels since 5.11 allow it without running the filter"
    } else {
        ""
    };
    format!(
        "{}: {}\n{} of {} instructions{cached}",
        call::describe(data),
        outcome.action,
        outcome.executed,
        program.insns().len(),
    )
}

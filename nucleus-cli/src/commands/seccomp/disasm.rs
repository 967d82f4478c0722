//! `nucleus seccomp disasm`: filters as text.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use nucleus_seccomp::{Endian, Program};
use serde_json::json;

use super::input;
use crate::exit::Exit;

/// Shows a filter as an assembler listing, or in another form.
///
/// Reads raw filters of any tool, in either byte order (bubblewrap's
/// --seccomp, exports of libseccomp, dumps of seccomp-tools), listings as this
/// command prints them, and the filters of running processes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nucleus seccomp compile profile.json -o filter.bpf && nucleus seccomp disasm filter.bpf
  nucleus seccomp disasm --pid 4711
  nucleus seccomp disasm --format c filter.bpf > filter.h
  nucleus seccomp disasm --format raw listing.txt > filter.bpf")]
pub(crate) struct Args {
    /// A raw filter or a listing; - is standard input
    #[arg(required_unless_present = "pid", conflicts_with = "pid")]
    file: Option<PathBuf>,
    /// Read the filters of this process or thread, oldest first (needs CAP_SYS_ADMIN)
    #[arg(long)]
    pid: Option<i32>,
    /// With --pid: only this filter, counted from the oldest, which is 0
    #[arg(long, requires = "pid")]
    index: Option<usize>,
    /// How to show it
    #[arg(long, value_enum, default_value_t = Format::Asm)]
    format: Format,
    /// Short for --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// A listing
    Asm,
    /// Code, operands and text of each instruction
    Json,
    /// A C array of struct sock_filter
    C,
    /// struct sock_filter in this machine's byte order
    Raw,
    /// struct sock_filter in little-endian byte order
    RawLe,
    /// struct sock_filter in big-endian byte order
    RawBe,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let mut programs = match (&args.file, args.pid) {
        (_, Some(pid)) => {
            Program::of_process(pid).with_context(|| format!("disassembling process {pid}"))?
        }
        (Some(file), None) => vec![input::filter(file)?],
        (None, None) => bail!("name a filter file, or a process with --pid"),
    };
    if let Some(index) = args.index {
        let count = programs.len();
        if index >= count {
            bail!("there is no filter {index}: the process has {count}, counted from 0");
        }
        programs = vec![programs.swap_remove(index)];
    }
    let format = if args.json { Format::Json } else { args.format };
    write(&mut io::stdout().lock(), &programs, format).context("writing to standard output")?;
    Ok(Exit::SUCCESS)
}

/// Writes filters in a format.
pub(super) fn write(
    out: &mut impl Write,
    programs: &[Program],
    format: Format,
) -> anyhow::Result<()> {
    match format {
        Format::Json => {
            let filters: Vec<_> = programs.iter().map(Program::to_json).collect();
            writeln!(out, "{}", json!({ "filters": filters }))?;
        }
        Format::Asm => {
            for (index, program) in programs.iter().enumerate() {
                if programs.len() > 1 {
                    writeln!(out, "; filter {index}")?;
                }
                write!(out, "{program}")?;
            }
        }
        Format::C => {
            for (index, program) in programs.iter().enumerate() {
                let name = if programs.len() > 1 {
                    format!("filter_{index}")
                } else {
                    "filter".to_owned()
                };
                write!(out, "{}", program.to_c_header(&name))?;
            }
        }
        Format::Raw | Format::RawLe | Format::RawBe => {
            let [program] = programs else {
                bail!(
                    "raw output holds one filter, the process has {}; choose one with --index",
                    programs.len()
                );
            };
            let endian = match format {
                Format::RawLe => Endian::Little,
                Format::RawBe => Endian::Big,
                _ => Endian::NATIVE,
            };
            out.write_all(&program.to_bytes(endian))?;
        }
    }
    out.flush()?;
    Ok(())
}

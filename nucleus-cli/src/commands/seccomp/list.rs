//! `nucleus seccomp list`: the system call tables.

use std::io::{self, Write};

use anyhow::Context as _;
use nucleus_seccomp::{Arch, GROUPS, Group, Syscall};
use serde_json::json;

use super::call;
use crate::exit::Exit;

/// Lists system calls with number, group and the kernel that first had them
///
/// Calls of Linux 3.0 and before show no kernel.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nucleus seccomp list
  nucleus seccomp list openat2 257 @basic-io
  nucleus seccomp list --arch aarch64 --json
  nucleus seccomp list --groups")]
pub(crate) struct Args {
    /// Only these: names, numbers, or groups such as @basic-io
    #[arg(value_name = "CALL")]
    calls: Vec<String>,
    /// Architecture: x86_64, x32, i386, aarch64 or riscv64 [default: this machine's]
    #[arg(long)]
    arch: Option<Arch>,
    /// List the groups instead
    #[arg(long, conflicts_with = "calls")]
    groups: bool,
    /// One JSON object, for programs
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let arch = args
        .arch
        .or_else(Arch::native)
        .context("no table for this machine's architecture; name one with --arch")?;
    let mut out = io::stdout().lock();
    let written = if args.groups {
        write_groups(&mut out, arch, args.json)
    } else {
        write_calls(&mut out, arch, &select(arch, &args.calls)?, args.json)
    };
    written.context("writing to standard output")?;
    Ok(Exit::SUCCESS)
}

/// The calls that the arguments name, by number; all without any.
fn select(arch: Arch, wanted: &[String]) -> anyhow::Result<Vec<Syscall>> {
    if wanted.is_empty() {
        return Ok(Syscall::all(arch).collect());
    }
    let mut calls = Vec::new();
    for word in wanted {
        if word.starts_with('@') {
            let group = GROUPS.iter().find(|group| group.name == word);
            let group = group.with_context(|| {
                format!("there is no group {word}; nucleus seccomp list --groups shows them")
            })?;
            calls.extend(calls_of(arch, group));
        } else if let Ok(number) = word.parse() {
            calls.push(Syscall::new(arch, number));
        } else {
            let call = Syscall::by_name(arch, word);
            calls.push(call.ok_or_else(|| call::unknown(arch, word))?);
        }
    }
    calls.sort_unstable();
    calls.dedup();
    Ok(calls)
}

fn calls_of(arch: Arch, group: &Group) -> impl Iterator<Item = Syscall> {
    group
        .calls()
        .filter_map(move |name| Syscall::by_name(arch, name))
}

fn write_calls(out: &mut impl Write, arch: Arch, calls: &[Syscall], json: bool) -> io::Result<()> {
    if json {
        let calls: Vec<_> = calls
            .iter()
            .map(|call| {
                json!({
                    "number": call.number(),
                    "name": call.name(),
                    "group": call.group().map(|group| group.name),
                    "since": call.since().map(|version| version.to_string()),
                })
            })
            .collect();
        return writeln!(out, "{}", json!({ "arch": arch.name(), "calls": calls }));
    }
    for call in calls {
        let group = call.group().map_or("", |group| group.name);
        let since = call
            .since()
            .map_or_else(String::new, |version| version.to_string());
        let line = format!(
            "{:>10}  {:<28}  {group:<14}  {since}",
            call.number(),
            call.to_string()
        );
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

fn write_groups(out: &mut impl Write, arch: Arch, json: bool) -> io::Result<()> {
    if json {
        let groups: Vec<_> = GROUPS
            .iter()
            .map(|group| {
                let calls: Vec<String> =
                    calls_of(arch, group).map(|call| call.to_string()).collect();
                json!({ "name": group.name, "about": group.about, "calls": calls })
            })
            .collect();
        return writeln!(out, "{}", json!({ "arch": arch.name(), "groups": groups }));
    }
    for group in GROUPS {
        let count = calls_of(arch, group).count();
        writeln!(out, "{:<14}  {count:>3}  {}", group.name, group.about)?;
    }
    Ok(())
}

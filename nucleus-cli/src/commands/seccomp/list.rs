//! `nucleus seccomp list`: the system call tables.

use std::io::Write;

use nucleus_seccomp::{Arch, Syscall};

use crate::exit::Exit;

/// Lists the system calls of an architecture with their numbers.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Architecture: x86_64, x32, i386, aarch64 or riscv64 [default: this machine's]
    #[arg(long)]
    arch: Option<Arch>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let arch = args.arch.or_else(Arch::native).ok_or_else(|| {
        anyhow::anyhow!("no table for this machine's architecture; name one with --arch")
    })?;
    let mut out = std::io::stdout().lock();
    for syscall in Syscall::all(arch) {
        writeln!(out, "{:>5} {syscall}", syscall.number())?;
    }
    Ok(Exit::SUCCESS)
}

//! Runs a filter on system calls without loading it.
//!
//! `cargo run -p nucleus-seccomp --example simulate -- [FILTER] [CALL...]`
//!
//! FILTER is raw, as `bwrap --seccomp` takes it; without one, a small listing.

use std::error::Error;
use std::io::Write as _;

use nucleus_seccomp::{Arch, Program, SeccompData, Syscall};

const LISTING: &str = "
    ld   [arch]
    jeq  #x86_64, 2, 8
    ld   [nr]
    jeq  #41, 4, 7          ; socket
    ld   [arg0.lo]
    jeq  #1, 7, 6           ; AF_UNIX
    ret  errno(97)          ; EAFNOSUPPORT
    ret  allow
    ret  kill_process
";

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let program: Program = match args.next() {
        Some(path) => Program::from_raw(&std::fs::read(path)?)?.0,
        None => LISTING.parse()?,
    };
    let mut names: Vec<String> = args.collect();
    if names.is_empty() {
        names = ["read", "socket"].map(str::to_owned).to_vec();
    }
    let mut out = std::io::stdout().lock();
    write!(out, "{program}")?;
    for name in names {
        let call = Syscall::by_name(Arch::X86_64, &name).ok_or("no such call")?;
        let outcome = program.run(&SeccompData {
            nr: call.number(),
            arch: Arch::X86_64.audit(),
            ..SeccompData::default()
        });
        let cached = program.cached(Arch::X86_64, call.number());
        writeln!(
            out,
            "{call}: {}, {} instructions, cached by the kernel: {cached}",
            outcome.action, outcome.executed
        )?;
    }
    Ok(())
}

//! Makes a profile of trace files:
//! `cargo run --example generate -- TRACE...`; without any, of a small trace
//! that it records itself.

use std::error::Error;
use std::fs::File;
use std::io::{BufReader, Write as _};

use nucleus_profile::{GenerateOptions, Origin, Recorder, Trace, generate, notes};
use nucleus_seccomp::{Arch, Completeness, SeccompData, Syscall};

fn main() -> Result<(), Box<dyn Error>> {
    let mut traces = Vec::new();
    for path in std::env::args_os().skip(1) {
        traces.push(Trace::read(BufReader::new(File::open(path)?))?);
    }
    let arch = Arch::native().ok_or("nucleus has no system call table for this machine")?;
    if traces.is_empty() {
        traces.push(small_trace(arch)?);
    }
    let profile = generate(&traces, &GenerateOptions::new(arch))?;
    for note in notes(&traces)? {
        eprintln!("{note}");
    }
    std::io::stdout().write_all(profile.to_json().as_bytes())?;
    Ok(())
}

fn small_trace(arch: Arch) -> Result<Trace, Box<dyn Error>> {
    let mut recorder = Recorder::new();
    for name in ["execve", "openat", "read", "write", "close", "exit_group"] {
        let syscall = Syscall::by_name(arch, name).ok_or("a call without a number")?;
        recorder.record(&SeccompData {
            nr: syscall.number(),
            arch: arch.audit(),
            ..SeccompData::default()
        });
    }
    let origin = Origin::here("example", vec!["cat".into(), "/etc/hostname".into()]);
    Ok(recorder.finish(origin, Completeness::Complete))
}

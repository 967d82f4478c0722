//! Counts the system calls of a program and of all that it starts, without
//! privilege: `cargo run -p nucleus-audit --example count -- ls -l /`.
#![allow(
    unsafe_code,
    clippy::print_stdout,
    reason = "fork is unsafe; printing the counts is the purpose"
)]

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, PipeReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use nucleus_audit::{PtraceMode, PtraceSource, Source};
use nucleus_seccomp::{Arch, InstallFlags, Program, Syscall};

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut words = std::env::args_os().skip(1);
    let mut command = Command::new(words.next().unwrap_or_else(|| "true".into()));
    command.args(words);

    let (attached_reader, mut attached) = io::pipe()?;
    // SAFETY: this process has one thread, so its copy may do anything.
    let pid = unsafe { libc::fork() };
    let pid = match u32::try_from(pid) {
        Err(_) => return Err(io::Error::last_os_error().into()),
        Ok(0) => {
            let error = execute(command, attached_reader);
            eprintln!("count: {error}");
            return Ok(ExitCode::from(127));
        }
        Ok(pid) => pid,
    };
    let mut source = PtraceSource::seize(pid, PtraceMode::Record)?;
    attached.write_all(b"!")?;

    let mut counts = BTreeMap::<_, u64>::new();
    while let Some(event) = source.next()? {
        *counts.entry((event.call.arch, event.call.nr)).or_default() += 1;
    }
    for (&(arch, nr), count) in &counts {
        match Arch::of(arch, nr) {
            Some(arch) => println!("{count:>9} {arch} {}", Syscall::new(arch, nr)),
            None => println!("{count:>9} {arch:#x} #{nr}"),
        }
    }
    println!("{:?}", source.completeness());
    let ended_well = source.root_status().is_some_and(|status| status.success());
    Ok(if ended_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Becomes the program, once the tracer is there. Returns only to tell why not.
fn execute(mut command: Command, mut attached: PipeReader) -> Box<dyn Error> {
    if let Err(error) = attached.read_exact(&mut [0]) {
        return error.into();
    }
    if let Err(error) = rustix::thread::set_no_new_privs(true) {
        return error.into();
    }
    match Program::trace_all().install(InstallFlags::empty()) {
        Ok(_no_listener) => command.exec().into(),
        Err(error) => error.into(),
    }
}

//! Runs a program to which one system call is refused:
//! `cargo run -p nucleus-tracer --example refuse -- mkdir mkdir /tmp/x`.
#![allow(unsafe_code, reason = "fork is unsafe")]

use std::error::Error;
use std::io::{self, PipeReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use nucleus_seccomp::{Action, Arch, Insn, InstallFlags, Program, Syscall, offset, op};
use nucleus_tracer::{Mode, Tracer};

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut words = std::env::args_os().skip(1);
    let name = words.next().unwrap_or_else(|| "mkdir".into());
    let mut command = Command::new(words.next().unwrap_or_else(|| "true".into()));
    command.args(words);
    let arch = Arch::native().ok_or("no table of this machine's calls")?;
    let call = name.to_str().and_then(|name| Syscall::by_name(arch, name));
    let call = call.ok_or("no such call")?;
    let filter = Program::new(vec![
        Insn::load(offset::NR),
        Insn::jump(op::JEQ_K, call.number(), 0, 1),
        Insn::ret(Action::Trace(1)),
        Insn::ret(Action::Allow),
    ])?;

    let (attached_reader, mut attached) = io::pipe()?;
    // SAFETY: this process has one thread, so its copy may do anything.
    let pid = match u32::try_from(unsafe { libc::fork() }) {
        Err(_) => return Err(io::Error::last_os_error().into()),
        Ok(0) => {
            let error = execute(command, &filter, attached_reader);
            eprintln!("refuse: {error}");
            return Ok(ExitCode::from(127));
        }
        Ok(pid) => pid,
    };
    let mut tracer = Tracer::seize(pid, Mode::Deny, ())?;
    attached.write_all(b"!")?;
    while let Some(seen) = tracer.next()? {
        eprintln!("refused {call} to thread {}", seen.task.thread);
    }
    let ended_well = tracer.root_status().is_some_and(|status| status.success());
    Ok(if ended_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Becomes the program, once the tracer is there. Returns only to tell why not.
fn execute(mut command: Command, filter: &Program, mut attached: PipeReader) -> Box<dyn Error> {
    let ready = attached
        .read_exact(&mut [0])
        .and_then(|()| Ok(rustix::thread::set_no_new_privs(true)?));
    match (ready, filter.install(InstallFlags::empty())) {
        (Ok(()), Ok(_no_listener)) => command.exec().into(),
        (Err(error), _) => error.into(),
        (_, Err(error)) => error.into(),
    }
}

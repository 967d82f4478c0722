//! Runs a program with a seccomp filter that makes uname(2) fail, and exits
//! as it did: `cargo run -p nucleus-core --example run -- uname -r`.

use std::ffi::OsString;
use std::process::ExitCode;

use nucleus_core::{Command, LaunchError};
use nucleus_seccomp::{Action, Insn, LoadError, Program, offset, op};

fn filter() -> Result<Program, LoadError> {
    Program::new(vec![
        Insn::load(offset::NR),
        Insn::jump(op::JEQ_K, u32::try_from(libc::SYS_uname).unwrap_or(0), 0, 1),
        Insn::ret(Action::Errno(1)),
        Insn::ret(Action::Allow),
    ])
}

fn run() -> Result<Option<i32>, Box<dyn std::error::Error>> {
    let mut words: Vec<OsString> = std::env::args_os().skip(1).collect();
    if words.is_empty() {
        words = ["sh", "-c", "uname || echo so it is"]
            .map(OsString::from)
            .to_vec();
    }
    let [program, args @ ..] = words.as_slice() else {
        return Ok(None);
    };
    let status = Command::new(program)
        .args(args)
        .filter(filter()?)
        .status()?;
    Ok(status.code())
}

fn main() -> ExitCode {
    match run() {
        Ok(Some(code)) => ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)),
        Ok(None) => ExitCode::from(128),
        Err(error) => {
            eprintln!("run: {error}");
            let code = error.downcast_ref().map_or(125, LaunchError::exit_code);
            ExitCode::from(code)
        }
    }
}

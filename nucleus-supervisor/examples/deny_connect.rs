//! Runs a program that may connect to nobody, and says to whom it tried.
//!
//! `cargo run -p nucleus-supervisor --example deny_connect -- curl example.org`

use std::error::Error;
use std::ffi::OsString;
use std::io::Write;
use std::process::Command;

use nucleus_seccomp::{Arch, Syscall};
use nucleus_supervisor::{Decision, Errno, Registry, Reply, Request, Supervisor, When, spawn};

fn main() -> Result<(), Box<dyn Error>> {
    let arch = Arch::native().ok_or("no system call table for this machine")?;
    let connect = Syscall::by_name(arch, "connect").ok_or("no connect in the table")?;
    let mut registry = Registry::new();
    registry.add(connect, When::Always, |request: &Request| {
        let address = request.data().args[1];
        let name = request.memory().socket_address(address, request.int(2))?;
        let text = format!("thread {}: connect {}\n", request.thread(), show(&name));
        std::io::stderr().write_all(text.as_bytes()).ok();
        // The address was read from memory that other threads can change: to
        // let some pass, the call would have to be made here, with this copy.
        Ok(Decision::Answer(Reply::Errno(Errno::NETUNREACH)))
    })?;

    let mut words = std::env::args_os().skip(1);
    let mut command = Command::new(words.next().unwrap_or_else(|| OsString::from("getent")));
    command.args(words);
    if command.get_program() == "getent" {
        command.args(["hosts", "localhost"]);
    }
    let filter = registry.program()?;
    let (mut child, supervisor) = spawn(command, filter, |listener| {
        Supervisor::start(listener, registry)
    })?;
    let status = child.wait()?;
    let summary = supervisor.wait()?;
    writeln!(std::io::stderr(), "{status}, {summary:?}")?;
    Ok(())
}

/// The family's number and the address.
fn show(name: &[u8]) -> String {
    match name {
        [2, 0, high, low, a, b, c, d, ..] => {
            format!("{a}.{b}.{c}.{d}:{}", u16::from_be_bytes([*high, *low]))
        }
        [1, 0, path @ ..] => {
            let end = path.iter().skip(1).position(|&byte| byte == 0);
            let path = &path[..end.map_or(path.len(), |end| end + 1)];
            format!("unix {}", path.escape_ascii())
        }
        [family, ..] => format!("family {family}"),
        [] => "nowhere".to_owned(),
    }
}

//! The engine with real callers: threads of this process under a filter, and
//! child processes.

#![allow(
    clippy::expect_used,
    reason = "what the helpers cannot do fails the test that asked for it"
)]

mod answers;
mod children;
mod descriptors;
mod memory;
mod processes;

use std::io;
use std::process::{Child, Command};
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use nucleus_seccomp::{Arch, InstallFlags, Program, Syscall};
use nucleus_supervisor::{
    Decision, Errno, Failure, Handler, Listener, Registry, Reply, Request, Summary, Supervisor,
    When, spawn,
};

pub(crate) fn call(name: &str) -> Syscall {
    let arch = Arch::native().expect("a table for this machine");
    Syscall::by_name(arch, name).expect("in the table")
}

pub(crate) fn answer(reply: Reply) -> Result<Decision, Failure> {
    Ok(Decision::Answer(reply))
}

pub(crate) fn add(registry: &mut Registry, name: &str, handler: impl Handler + 'static) {
    registry
        .add(call(name), When::Always, handler)
        .expect("a valid trap");
}

pub(crate) fn one(name: &str, handler: impl Handler + 'static) -> Registry {
    let mut registry = Registry::new();
    add(&mut registry, name, handler);
    registry
}

/// A system call with any arguments.
pub(crate) fn raw(name: &str, args: [usize; 6]) -> Result<i64, Errno> {
    let number = libc::c_long::from(call(name).number());
    let [a, b, c, d, e, f] = args;
    // SAFETY: the tests make calls that are answered by the supervisor or that
    // fail; what they point to is theirs, or is meant to be refused.
    let ret = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if ret == -1 {
        Err(Errno::from_io_error(&io::Error::last_os_error()).expect("an errno"))
    } else {
        Ok(ret)
    }
}

pub(crate) fn bare(name: &str) -> Result<i64, Errno> {
    raw(name, [0; 6])
}

/// Installs a filter on this thread alone.
pub(crate) fn install(program: &Program) -> Listener {
    rustix::thread::set_no_new_privs(true).expect("no_new_privs");
    let flags = InstallFlags::NEW_LISTENER | InstallFlags::WAIT_KILLABLE_RECV;
    let fd = program
        .install(flags)
        .or_else(|_before_5_19| program.install(InstallFlags::NEW_LISTENER))
        .expect("installed");
    Listener::new(fd.expect("a listener")).expect("usable")
}

/// Runs a function on a thread under the filter of a registry.
pub(crate) fn supervised<R: Send + 'static>(
    registry: Registry,
    run: impl FnOnce() -> R + Send + 'static,
) -> (R, Summary) {
    let program = registry.program().expect("loads");
    let (send, receive) = channel();
    let (go, start) = channel();
    let caller = thread::spawn(move || {
        send.send(install(&program)).expect("received");
        start.recv().expect("sent");
        run()
    });
    let listener = receive.recv().expect("a listener");
    let supervisor = Supervisor::start(listener, registry).expect("started");
    go.send(()).expect("received");
    let result = caller.join().expect("no panic");
    (result, supervisor.wait().expect("ended well"))
}

pub(crate) fn start(command: Command, registry: Registry) -> (Child, Supervisor) {
    let filter = registry.program().expect("loads");
    spawn(command, filter, |listener| {
        Supervisor::start(listener, registry)
    })
    .expect("spawned")
}

pub(crate) fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

/// A handler that hands every request to whoever has the other end.
pub(crate) fn hand_over(send: Sender<Request>) -> impl Handler {
    let send = Mutex::new(send);
    move |_: &Request| {
        let send = send.lock().expect("whole").clone();
        Ok(Decision::Hold(Box::new(move |request| {
            send.send(request).expect("received");
        })))
    }
}

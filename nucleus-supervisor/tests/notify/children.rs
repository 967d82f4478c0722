//! Programs that are started under a filter.

use std::io::{self, Read as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use nucleus_supervisor::{
    Decision, Delivery, Errno, Error, Grounds, Reply, Request, Supervisor, spawn,
};

use crate::{answer, hand_over, one, shell, start};

#[test]
fn a_child_under_a_filter_ends_with_its_own_code() {
    let registry = one("mkdir", |request: &Request| {
        let path = request.memory().path(request.data().args[0])?;
        assert_eq!(path, b"/dir");
        answer(Reply::Errno(Errno::NOSPC))
    });
    let mut command = shell("mkdir /dir; exit 7");
    command.stderr(Stdio::piped()).env("LC_ALL", "C");
    let (child, supervisor) = start(command, registry);
    let output = child.wait_with_output().expect("waited for");
    assert_eq!(output.status.code(), Some(7));
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("No space left on device"), "{message}");
    let summary = supervisor.wait().expect("ended well");
    assert_eq!((summary.received, summary.panicked), (1, 0));
}

#[test]
fn the_exec_itself_can_be_trapped_and_its_arguments_read() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&seen);
    let registry = one("execve", move |request: &Request| {
        let [_, argv, ..] = request.data().args;
        let arguments = request.memory().strings(argv, 1 << 20)?;
        sink.lock().expect("whole").push(arguments);
        Ok(Decision::Pass(Grounds::NothingSensitive(
            "this test only looks",
        )))
    });
    let command = shell("exec sh -c : '' \"$(printf 'a\\377')\"");
    let (mut child, supervisor) = start(command, registry);
    assert!(child.wait().expect("waited for").success());
    supervisor.wait().expect("ended well");
    let seen = seen.lock().expect("whole");
    let last = seen.last().expect("an exec");
    assert_eq!(*last, [&b"sh"[..], b"-c", b":", b"", b"a\xff"]);
}

#[test]
fn a_call_can_be_the_end_of_its_process() {
    let registry = one("mkdir", |_: &Request| answer(Reply::Kill));
    let (mut child, supervisor) = start(shell("exec mkdir /dir"), registry);
    assert_eq!(child.wait().expect("waited for").signal(), Some(9));
    supervisor.wait().expect("ended well");
}

#[test]
fn a_caller_that_dies_while_it_waits_is_no_error() {
    let (send, receive) = channel();
    let (mut child, supervisor) = start(shell("exec mkdir /dir"), one("mkdir", hand_over(send)));
    let request = receive.recv().expect("a request");
    child.kill().expect("killed");
    child.wait().expect("reaped");
    assert_eq!(request.is_waiting(), Ok(false));
    let read = request.memory().read(request.data().args[0], &mut [0]);
    assert!(read.is_err(), "{read:?}");
    let delivery = request.answer(Reply::Value(0)).expect("no error");
    assert_eq!(delivery, Delivery::Gone);
    supervisor.wait().expect("ended well");
}

#[test]
fn what_fails_before_the_program_runs_is_told() {
    let registry = one("mkdir", |_: &Request| answer(Reply::Value(0)));
    let filter = registry.program().expect("loads");
    let absent = Command::new("/no/such/program");
    let error = spawn(absent, filter.clone(), |listener| {
        Supervisor::start(listener, registry)
    });
    let Err(Error::Spawn { program, source }) = error else {
        panic!("{error:?}");
    };
    assert_eq!(program, "/no/such/program");
    assert_eq!(source.kind(), io::ErrorKind::NotFound);

    let mut command = shell("echo ran");
    let (mut output, write) = io::pipe().expect("a pipe");
    command.stdout(write);
    let error = spawn(command, filter, |listener| {
        drop(listener);
        Err::<(), _>(Error::Panicked { name: "test" })
    });
    assert!(matches!(error, Err(Error::Panicked { name: "test" })));
    let mut text = String::new();
    output.read_to_string(&mut text).expect("read");
    assert_eq!(text, "", "the program did not run");
}

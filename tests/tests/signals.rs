//! Signals to nucleus during a trace, and its death.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use nucleus_tests::nucleus::{nucleus, path};
use nucleus_tests::require;
use nucleus_tests::scratch::{Scratch, TraceFile};
use nucleus_tests::terminal::Terminal;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{Pid, Signal, kill_process};

/// A hang is a failure, not a wait.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs a shell script under nucleus; its first line of output says that it is
/// ready.
fn start(scratch: &Scratch, command: &[&str], script: &str) -> (Child, BufReader<ChildStdout>) {
    let mut child = nucleus(command)
        .args(["--", "sh", "-c", script])
        .current_dir(scratch.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    (child, stdout)
}

fn send(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(child.id().cast_signed()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// The rest of the output: it ends when the last process that could write is gone.
fn rest(mut stdout: BufReader<ChildStdout>) -> String {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        sender.send(stdout.read_to_string(&mut text).map(|_| text))
    });
    let read = receiver.recv_timeout(PATIENCE);
    read.expect("the program is still there").unwrap()
}

/// The program gets the signal and decides; the trace is written, complete.
fn is_passed_on(name: &str, signal: Signal) {
    let scratch = Scratch::new();
    // A shell's child has the parent's handlers until it resets them, and would
    // swallow any other signal.
    let script = format!(
        "exec 3<&0; trap 'kill -9 $!; echo got {name}; exit 3' {name}; cat <&3 & echo ready; wait"
    );
    let (mut child, stdout) = start(&scratch, &["trace", "--host", "-o", "trace"], &script);
    send(&child, signal);
    assert_eq!(rest(stdout), format!("got {name}\n"));
    assert_eq!(child.wait().unwrap().code(), Some(3));
    let trace = TraceFile::read(&scratch.file("trace"));
    assert!(trace.is_complete(), "{}", trace.verdict);
    assert!(trace.names().contains("kill"), "{:?}", trace.names());
    assert_eq!(scratch.listing(), ["trace"]);
}

#[test]
fn sigint_is_passed_on() {
    require!(ptrace);
    is_passed_on("INT", Signal::INT);
}

#[test]
fn sigterm_is_passed_on() {
    require!(ptrace);
    is_passed_on("TERM", Signal::TERM);
}

/// Ctrl-C goes to nucleus and the program alike: that must not make two of it.
#[test]
fn control_c_reaches_the_program_once() {
    require!(ptrace);
    let scratch = Scratch::new();
    let script = "trap 'n=$((n + 1)); echo got $n' INT; n=0; echo ready; \
                  until read line; do :; done; echo end $n; exit 3";
    let mut command = nucleus(["trace", "--host", "-o", "trace", "--", "sh", "-c", script]);
    let (mut terminal, mut child) = Terminal::start(command.current_dir(scratch.path()));
    terminal.wait_for("ready");
    terminal.type_in(b"\x03");
    terminal.wait_for("got 1");
    terminal.type_in(b"\n");
    let shown = terminal.wait_for("end");
    assert!(!shown.contains("got 2"), "{shown}");
    assert_eq!(child.wait().unwrap().code(), Some(3));
    assert!(TraceFile::read(&scratch.file("trace")).is_complete());
}

/// A program that is stopped and continued by its shell goes on, traced.
#[test]
fn job_control_works() {
    require!(tool("bash"), ptrace);
    let scratch = Scratch::new();
    let mut command = Command::new("bash");
    command
        .args(["--norc", "--noprofile", "--noediting", "-i"])
        .env("PS1", "ask> ")
        .env("TERM", "dumb");
    let (mut terminal, mut child) = Terminal::start(command.current_dir(scratch.path()));
    // The program waits for a pipe, not for the terminal, which it and its shell
    // could both read from while one of them stops.
    let (fifo, mode) = (scratch.file("fifo"), Mode::RUSR | Mode::WUSR);
    mknodat(CWD, &fifo, FileType::Fifo, mode, 0).unwrap();
    let mut fifo = File::options().read(true).write(true).open(&fifo).unwrap();
    let nucleus = path().display();
    let script = "echo up; read line <fifo; echo got $line";
    let line = format!("{nucleus} trace --host -o trace -- sh -c '{script}'\n");
    terminal.wait_for("ask> ");
    terminal.type_in(line.as_bytes());
    terminal.wait_for("up\r\n");
    terminal.type_in(b"\x1a");
    terminal.wait_for("Stopped");
    terminal.wait_for("ask> ");
    terminal.type_in(b"fg\n");
    terminal.wait_for("trace --host");
    fifo.write_all(b"word\n").unwrap();
    terminal.wait_for("got word");
    terminal.wait_for("ask> ");
    terminal.type_in(b"exit $?\n");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(TraceFile::read(&scratch.file("trace")).is_complete());
}

/// A program that dies of the signal: 128 + its number, and a trace.
#[test]
fn a_deadly_signal_is_reported() {
    require!(ptrace);
    let scratch = Scratch::new();
    let command = ["trace", "--host", "-o", "trace"];
    let (mut child, stdout) = start(&scratch, &command, "echo ready; exec cat");
    send(&child, Signal::TERM);
    assert_eq!(rest(stdout), "");
    assert_eq!(child.wait().unwrap().code(), Some(128 + 15));
    assert!(TraceFile::read(&scratch.file("trace")).is_complete());
}

/// Nothing outlives nucleus, and no file is left half written.
#[test]
fn the_program_dies_with_nucleus() {
    require!(ptrace);
    let commands = [
        &["trace", "--host", "-o", "trace"][..],
        &[
            "run",
            "--host",
            "--seccomp-mode",
            "trace",
            "--seccomp-log",
            "trace",
        ],
        &["learn", "--host", "-o", "profile"],
    ];
    for command in commands {
        let scratch = Scratch::new();
        // One more process, in a session of its own where there is setsid.
        let script = "exec 3<&0; (setsid cat || cat) <&3 & echo ready; exec cat";
        let (mut child, stdout) = start(&scratch, command, script);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(rest(stdout), "", "{command:?}");
        assert!(scratch.listing().is_empty(), "{:?}", scratch.listing());
    }
}

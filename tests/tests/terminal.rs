//! `-t`: a terminal of the program's own, joined to the caller's.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Stdio};

use nucleus_tests::nucleus::{Said as _, nucleus};
use nucleus_tests::require;
use nucleus_tests::scratch::{Scratch, TraceFile};
use nucleus_tests::terminal::Terminal;
use rustix::process::{Pid, Signal, kill_process};

const NOBODY: u32 = 65534;

/// Runs a program in a sandbox with a terminal.
fn start(user: u32, options: &[&str], program: &[&str]) -> (Terminal, Child) {
    let mut command = nucleus(["run", "-t"]);
    command.args(options).arg("--").args(program);
    command.current_dir("/");
    if user != 0 {
        command.uid(user).gid(user);
    }
    Terminal::start(&mut command)
}

fn shell(script: &str) -> (Terminal, Child) {
    start(0, &[], &["sh", "-c", script])
}

/// Nothing of the program is left, and the terminal is as it was.
fn ends(terminal: &Terminal, child: &mut Child, code: i32) {
    assert_eq!(child.wait().unwrap().code(), Some(code));
    assert!(terminal.is_cooked());
}

#[test]
fn the_terminal_has_a_name_and_an_owner_in_the_sandbox() {
    require!(root, userns, tool("tty"));
    for user in [0, NOBODY] {
        let script = "tty; test -O /dev/pts/0 && echo mine; echo to all >/dev/tty; echo end $-";
        let (mut terminal, mut child) = start(user, &[], &["sh", "-c", script]);
        let shown = terminal.wait_for("end");
        assert_eq!(shown, "/dev/pts/0\r\nmine\r\nto all\r\n");
        ends(&terminal, &mut child, 0);
    }
}

#[test]
fn all_that_was_written_is_shown() {
    require!(userns);
    let script = "n=0; while [ $n -lt 20000 ]; do n=$((n + 1)); echo line $n; done; exit 3";
    let (mut terminal, mut child) = shell(script);
    let shown = terminal.wait_for("line 20000\r\n");
    assert_eq!(shown.lines().count(), 19_999);
    ends(&terminal, &mut child, 3);
}

#[test]
fn control_c_is_the_program_s() {
    require!(userns);
    let script = "trap 'echo got it' INT; echo ready; until read line; do :; done; echo $line";
    let (mut terminal, mut child) = shell(script);
    terminal.wait_for("ready");
    assert!(!terminal.is_cooked());
    terminal.type_in(b"\x03");
    terminal.wait_for("got it\r\n");
    terminal.type_in(b"word\n");
    // The terminal of the program echoes it, as any does.
    terminal.wait_for("word\r\nword\r\n");
    ends(&terminal, &mut child, 0);
}

#[test]
fn a_shell_controls_its_jobs() {
    require!(root, userns, tool("bash"));
    for user in [0, NOBODY] {
        let bash = ["bash", "--norc", "--noprofile", "--noediting", "-i"];
        let options = ["-e", "PS1=ask> ", "-e", "TERM=dumb"];
        let (mut terminal, mut child) = start(user, &options, &bash);
        terminal.wait_for("ask> ");
        terminal.type_in(b"sh -c 'echo u\"\"p; exec cat'\n");
        terminal.wait_for("up\r\n");
        terminal.type_in(b"\x1a");
        terminal.wait_for("Stopped");
        terminal.wait_for("ask> ");
        terminal.type_in(b"fg\n");
        terminal.wait_for("exec cat'\r\n");
        terminal.type_in(b"again\n");
        terminal.wait_for("again\r\nagain\r\n");
        terminal.type_in(b"\x03");
        terminal.wait_for("ask> ");
        terminal.type_in(b"exit 5\n");
        ends(&terminal, &mut child, 5);
    }
}

#[test]
fn the_size_is_that_of_the_window_and_follows_it() {
    require!(userns, tool("stty"));
    let script = "trap 'stty size' WINCH; echo ready; until read line; do :; done; stty size";
    let mut command = nucleus(["run", "-t", "--", "sh", "-c", script]);
    let (mut terminal, mut child) = Terminal::start(&mut command);
    terminal.wait_for("ready");
    terminal.resize(33, 77);
    terminal.wait_for("33 77\r\n");
    terminal.type_in(b"\n");
    terminal.wait_for("33 77\r\n");
    ends(&terminal, &mut child, 0);
}

/// A program that is ended by others leaves no raw terminal.
#[test]
fn the_terminal_is_as_before_whatever_ends_the_program() {
    require!(userns);
    let (mut terminal, mut child) = shell("echo ready; exec cat");
    terminal.wait_for("ready");
    let nucleus = Pid::from_raw(child.id().cast_signed()).unwrap();
    kill_process(nucleus, Signal::TERM).unwrap();
    ends(&terminal, &mut child, 128 + 15);

    let (terminal, mut child) = start(0, &["--timeout=1s"], &["cat"]);
    ends(&terminal, &mut child, 124);

    let (terminal, mut child) = start(0, &[], &["/nonexistent"]);
    ends(&terminal, &mut child, 127);
}

/// The program hears of a screen that is gone as from any terminal.
#[test]
fn a_reader_that_goes_away_hangs_up() {
    require!(userns, tool("head"), tool("bash"));
    let nucleus = nucleus_tests::nucleus::path().display();
    let script = format!(
        "set -o pipefail; {nucleus} run -t -- sh -c 'while :; do echo y; done' | head -n 1; exit $?"
    );
    let mut command = std::process::Command::new("bash");
    let (mut terminal, mut child) = Terminal::start(command.args(["-c", &script]));
    terminal.wait_for("y\r\n");
    ends(&terminal, &mut child, 128 + 1);
}

#[test]
fn a_run_is_traced_on_a_terminal() {
    require!(userns, ptrace);
    let scratch = Scratch::new();
    let mut command = nucleus(["trace", "-t", "-o", "trace", "--"]);
    command.args(["sh", "-c", "read line; echo got $line; exit 3"]);
    let (mut terminal, mut child) = Terminal::start(command.current_dir(scratch.path()));
    terminal.type_in(b"word\n");
    terminal.wait_for("got word\r\n");
    ends(&terminal, &mut child, 3);
    assert!(TraceFile::read(&scratch.file("trace")).is_complete());
}

#[test]
fn without_a_terminal_there_is_nothing_to_join() {
    let output = nucleus(["run", "-t", "--", "true"])
        .stdin(Stdio::null())
        .output()
        .unwrap()
        .code(125);
    let expected = "nucleus: -t needs a terminal to join the program's to, \
                    and standard input is none; leave -t out\n";
    assert_eq!(output.err(), expected);
}

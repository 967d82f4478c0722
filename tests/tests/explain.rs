//! Denials are explained as they happen, and turned into changes that work,
//! for root and anybody else.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::Write as _;
use std::process::Stdio;

use nucleus_tests::nucleus::{Said as _, nucleus};
use nucleus_tests::scratch::{Scratch, run};

/// A profile that forbids to make directories, and nothing else.
const NO_MKDIR: &str = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
    {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13}]}"#;

#[test]
fn a_denial_is_explained_with_its_arguments_and_its_program() {
    let scratch = Scratch::new();
    fs::write(scratch.file("profile"), NO_MKDIR).unwrap();
    // The maker is an orphan in a session of its own when it is denied.
    let script = "(setsid sh -c 'mkdir \"a b\"; mkdir \"a b\"' &)";
    let output = run(
        nucleus(["run", "--host", "--seccomp-profile", "profile", "--explain"])
            .args(["--", "sh", "-c", script]),
        scratch.path(),
    )
    .code(0);
    let said: Vec<_> = output
        .err()
        .lines()
        .filter(|line| line.starts_with("nucleus: "))
        .collect();
    let [first, again] = said.as_slice() else {
        panic!("{said:?}");
    };
    for part in [
        "\"a b\"",
        "0o777",
        "os error 13",
        "mkdir, process ",
        "profile allows",
    ] {
        assert!(first.contains(part), "{part}: {first}");
    }
    assert!(
        again.starts_with("nucleus: denied 2 times in all: mkdir"),
        "{again}"
    );
    assert!(!scratch.file("a b").exists());
}

#[test]
fn a_kill_stays_a_kill() {
    let scratch = Scratch::new();
    let profile = NO_MKDIR.replace("SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS");
    let profile = profile.replace(", \"errnoRet\": 13", "");
    fs::write(scratch.file("profile"), profile).unwrap();
    let output = run(
        nucleus(["run", "--host", "--seccomp-profile", "profile", "--explain"])
            .args(["--", "mkdir", "new"]),
        scratch.path(),
    )
    .code(137);
    assert!(
        output.err().contains("got kill_process"),
        "{}",
        output.err()
    );
    assert!(!scratch.file("new").exists());
}

#[test]
fn the_suggested_changes_make_the_run_pass() {
    let scratch = Scratch::new();
    fs::write(scratch.file("profile"), NO_MKDIR).unwrap();
    let mkdir = |words: &[&str]| {
        run(
            nucleus(["run", "--host", "--seccomp-profile", "profile"]).args(words),
            scratch.path(),
        )
    };
    let denied = mkdir(&["--explain", "--", "mkdir", "new"]).code(1);
    let call = if denied.err().contains("mkdirat(") {
        "mkdirat"
    } else {
        "mkdir"
    };
    let mut explain = nucleus(["explain", "--profile", "profile", "--apply"])
        .current_dir(scratch.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let event = format!("{{\"syscall\": \"{call}\", \"args\": [\"0x1000\", 511], \"pid\": 7}}\n");
    let mut stdin = explain.stdin.take().unwrap();
    stdin.write_all(event.as_bytes()).unwrap();
    drop(stdin);
    let output = explain.wait_with_output().unwrap().code(0);
    let wanted = format!("newly allowed: {call}");
    assert!(
        output.out().contains("decided by: rule 1"),
        "{}",
        output.out()
    );
    assert!(output.out().contains(&wanted), "{}", output.out());

    mkdir(&["--", "mkdir", "new"]).code(0);
    assert!(scratch.file("new").exists());
}

#[test]
fn what_is_no_denial_is_an_error_with_its_line() {
    let scratch = Scratch::new();
    fs::write(scratch.file("profile"), NO_MKDIR).unwrap();
    fs::write(scratch.file("denials"), "{\"syscall\": 39}\nnonsense\n").unwrap();
    let denials = fs::File::open(scratch.file("denials")).unwrap();
    let output = nucleus(["explain", "--profile", "profile", "--apply"])
        .current_dir(scratch.path())
        .stdin(denials)
        .output()
        .unwrap()
        .code(125);
    assert!(output.err().contains("line 2"), "{}", output.err());
    assert_eq!(
        fs::read_to_string(scratch.file("profile")).unwrap(),
        NO_MKDIR
    );
}

//! Denials are explained as they happen, and turned into changes that work,
//! for root and anybody else.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::Write as _;
use std::process::Stdio;

use nucleus_tests::nucleus::{Said as _, nucleus};
use nucleus_tests::require;
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

/// A signal stays the program's own to handle.
#[test]
fn a_trap_is_explained_and_handled() {
    require!(ptrace, tool("perl"));
    let scratch = Scratch::new();
    let profile = NO_MKDIR.replace("SCMP_ACT_ERRNO", "SCMP_ACT_TRAP");
    let profile = profile.replace(", \"errnoRet\": 13", "");
    fs::write(scratch.file("profile"), profile).unwrap();
    let script = "$SIG{SYS} = sub { print qq(handled\\n) }; mkdir q(a b); exit 3";
    let output = run(
        nucleus(["run", "--host", "--seccomp-profile", "profile", "--explain"])
            .args(["--", "perl", "-e", script]),
        scratch.path(),
    )
    .code(3);
    assert_eq!(output.out(), "handled\n");
    for part in ["mkdir(\"a b\", 0o777) got trap", "perl, process "] {
        assert!(output.err().contains(part), "{part}: {}", output.err());
    }
    assert!(!scratch.file("a b").exists());
}

#[test]
fn what_is_only_logged_is_no_denial_and_a_listener_is_asked_for() {
    let scratch = Scratch::new();
    let with = |action: &str| {
        let profile = NO_MKDIR.replace("SCMP_ACT_ERRNO", action);
        let profile = profile.replace(", \"errnoRet\": 13", "");
        fs::write(scratch.file("profile"), profile).unwrap();
        run(
            nucleus(["run", "--host", "--seccomp-profile", "profile", "--explain"])
                .args(["--", "mkdir", "new"]),
            scratch.path(),
        )
    };
    let output = with("SCMP_ACT_LOG").code(0);
    assert_eq!(output.err(), "");
    assert!(scratch.file("new").exists());
    let output = with("SCMP_ACT_NOTIFY").code(125);
    assert!(output.err().contains("SCMP_ACT_NOTIFY"), "{}", output.err());
}

/// The kernel's line, ausearch's with names for numbers, and the journal's; what
/// stands between them in a log is passed over, and what is alike said once.
#[test]
fn lines_of_every_log_are_explained() {
    let scratch = Scratch::new();
    fs::write(scratch.file("profile"), NO_MKDIR).unwrap();
    let fields = "auid=0 uid=0 gid=0 ses=1 pid=7 comm=\"x\" exe=\"/x\" sig=0 arch=c000003e syscall=83 compat=0 ip=0x7f code=0x50000";
    let named = "auid=root uid=root gid=root ses=1 pid=7 comm=x exe=/x sig=SIG0 arch=x86_64 syscall=mkdir compat=0 ip=0x7f code=errno ";
    let message = serde_json::json!({ "MESSAGE": format!("SECCOMP {fields}"), "_AUDIT_TYPE_NAME": "SECCOMP" });
    for line in [
        format!("[ 12.5] audit: type=1326 audit(1795304667.009:633): {fields}"),
        format!("type=SECCOMP msg=audit(1795304667.009:633): {fields}"),
        format!("----\ntype=SECCOMP msg=audit(11/21/26 23:44:27.003:627) : {named}"),
        format!("Nov 22 00:48:51 host audit[7]: SECCOMP {fields}"),
        format!(
            "Nov 22 00:48:51 host kernel: usb 1-1: new device\nNov 22 00:48:51 host kernel: audit: type=1326 audit(1795304667.009:633): {fields}"
        ),
        message.to_string(),
    ] {
        fs::write(scratch.file("log"), format!("{line}\n{line}\n")).unwrap();
        let output = nucleus(["explain", "--profile", "profile"])
            .current_dir(scratch.path())
            .stdin(fs::File::open(scratch.file("log")).unwrap())
            .output()
            .unwrap()
            .code(0);
        assert_eq!(
            output.out().matches("newly allowed: mkdir").count(),
            1,
            "{line}: {}",
            output.out()
        );
        assert!(output.out().contains("change: take the call out of rule 1"));
    }
}

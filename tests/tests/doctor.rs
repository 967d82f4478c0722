//! `nucleus doctor` gives the right answers where it is asked.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output, Stdio};

use nucleus_tests::nucleus::{nucleus, path};
use nucleus_tests::require;
use serde_json::Value;

/// Whether each thing works, by what a doctor printed.
fn answers(output: &Output) -> impl Fn(&str) -> bool + use<> {
    let findings: Value = serde_json::from_slice(&output.stdout).unwrap();
    move |what| {
        let found = findings.as_array().unwrap().iter();
        let mut found = found.filter(|finding| finding["what"] == what);
        found.next().unwrap()["works"].as_bool().unwrap()
    }
}

/// From 2 on only `CAP_SYS_PTRACE` helps.
fn yama_lets_anyone_trace() -> bool {
    let scope = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope");
    scope.map_or(true, |scope| scope.trim().parse::<u32>().unwrap() < 2)
}

fn ask(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap()
}

#[test]
fn as_root_and_as_nobody() {
    require!(root, userns, ptrace, landlock(1), audit);
    let output = ask(&mut nucleus(["doctor", "--json"]));
    let works = answers(&output);
    // Not the kernel's log: whether it takes one more record within these five
    // seconds depends on what else runs here.
    assert!(works("default sandbox") && works("ptrace") && works("audit records"));
    // By --userns host, which is what root has in its place.
    assert!(works("reduced sandbox"));
    assert_eq!(output.status.code(), Some(0));

    let output = ask(nucleus(["doctor", "--json"]).uid(65534).gid(65534));
    let works = answers(&output);
    assert!(works("default sandbox") && works("write grants"));
    assert_eq!(works("ptrace"), yama_lets_anyone_trace());
    assert!(!works("audit records"));
}

#[test]
fn in_a_sandbox() {
    require!(userns, landlock(1));
    let doctor = path().to_str().unwrap();
    let output = ask(&mut nucleus(["run", "--", doctor, "doctor", "--json"]));
    let works = answers(&output);
    assert!(!works("default sandbox") && !works("ptrace"));
    assert!(works("Landlock") && works("seccomp filters"));
    assert_eq!(output.status.code(), Some(1));

    let output = ask(&mut nucleus([
        "run",
        "--allow-nested",
        "--",
        doctor,
        "doctor",
        "--json",
    ]));
    assert!(answers(&output)("default sandbox"));
}

#[test]
fn with_no_namespaces_left() {
    require!(root, userns, tool("unshare"), tool("setpriv"));
    let script = format!(
        "echo 0 > /proc/sys/user/max_user_namespaces && exec {} doctor --json",
        path().display()
    );
    let mut command = Command::new("unshare");
    // As somebody who is root there alone, and so has no --userns host.
    let as_root = ["--user", "--map-root-user", "sh", "-c", &script];
    let output = ask(command.args(as_root).uid(65534).gid(65534));
    let works = answers(&output);
    assert!(!works("default sandbox"));
    assert!(works("reduced sandbox"));
    let findings: Value = serde_json::from_slice(&output.stdout).unwrap();
    let why = findings[0]["details"].as_str().unwrap();
    assert!(why.contains("user.max_user_namespaces"), "{why}");
}

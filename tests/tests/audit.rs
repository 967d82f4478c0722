//! The kernel's own records as a source, and `nucleus audit watch`.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Stdio};

use nucleus_tests::nucleus::{Said as _, nucleus, path};
use nucleus_tests::require;
use nucleus_tests::scratch::{Scratch, TraceFile, run};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// A profile that allows everything but `uname`, and logs.
fn without_uname(scratch: &Scratch) {
    let profile = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64"],
        "flags": ["SECCOMP_FILTER_FLAG_LOG"],
        "syscalls": [{ "names": ["uname"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13 }],
    });
    fs::write(scratch.file("profile"), profile.to_string()).unwrap();
}

const UNDER_PROFILE: [&str; 5] = ["run", "--host", "--seccomp-profile", "profile", "--"];

#[test]
fn audit_records_name_a_denial_with_the_profiles_errno() {
    require!(audit);
    let scratch = Scratch::new();
    without_uname(&scratch);
    let words = ["run", "--host", "--seccomp-log-denied", "--source", "audit"];
    let output = run(
        nucleus(words)
            .args(["--seccomp-profile", "profile", "--"])
            .args(["sh", "-c", "for i in 1 2 3; do uname; done; exit 5"]),
        scratch.path(),
    )
    .code(5);
    let denied = output
        .err()
        .lines()
        .find(|line| line.contains("denied: uname "));
    let denied = denied.unwrap_or_else(|| panic!("{}", output.err()));
    assert!(
        denied.contains("Permission denied (os error 13), 3 times"),
        "{denied}"
    );
}

/// Every denial as NDJSON, by either source, and the verdict at the end.
#[test]
fn events_go_to_the_descriptor_and_not_to_the_program() {
    require!(audit, ptrace);
    let scratch = Scratch::new();
    without_uname(&scratch);
    for source in ["ptrace", "audit"] {
        // The program must not have the descriptor.
        let script = "uname; uname; [ -e /proc/self/fd/7 ] && exit 9; exit 4";
        let line = format!(
            "exec {} run --host --events 7 --source {source} --seccomp-profile profile \
             -- sh -c '{script}' 7>events",
            path().display()
        );
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", &line]);
        run(&mut shell, scratch.path()).code(4);
        let text = fs::read_to_string(scratch.file("events")).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        let lines: Vec<Value> = lines.collect();
        let [first, second, verdict] = lines.as_slice() else {
            panic!("{source}: {text}");
        };
        for event in [first, second] {
            assert_eq!(event["name"], "uname", "{source}");
            assert_eq!(event["errno"], 13, "{source}");
            assert_eq!(event["comm"], "uname", "{source}");
            assert_eq!(event["target_pid"], first["target_pid"]);
            assert_eq!(event["args"].is_array(), source == "ptrace");
        }
        assert_ne!(first["pid"], second["pid"]);
        assert_eq!(verdict["verdict"], "complete", "{source}");
    }
}

#[test]
fn a_descriptor_that_is_not_open_is_an_error() {
    let scratch = Scratch::new();
    let words = ["run", "--host", "--events", "77", "--", "touch", "ran"];
    let output = run(nucleus(words), scratch.path()).code(125);
    assert!(output.err().contains("77"), "{}", output.err());
    assert!(scratch.listing().is_empty());
}

/// What a tracer sees is in the kernel's records too.
#[test]
fn a_trace_by_audit_records_is_complete() {
    require!(audit, ptrace);
    let scratch = Scratch::new();
    let names = |source: &str| -> BTreeSet<String> {
        run(
            nucleus(["trace", "--host", "-o", source, "--source", source, "--"])
                .args(["ls", "-l", "/usr"]),
            scratch.path(),
        )
        .code(0);
        let trace = TraceFile::read(&scratch.file(source));
        assert!(trace.is_complete(), "{}", trace.verdict);
        trace.names()
    };
    assert_eq!(names("audit"), names("ptrace"));
}

/// Starts to watch, and waits until a denial made for this is seen.
fn watch(scratch: &Scratch, words: &[&str]) -> (Child, Vec<Value>) {
    let mut child = nucleus(["audit", "watch", "--json"])
        .args(words)
        .current_dir(scratch.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut lines = Vec::new();
    // The first denials may come before it listens.
    let (sender, receiver) = std::sync::mpsc::channel();
    let id = Pid::from_raw(child.id().cast_signed()).unwrap();
    let reader = std::thread::spawn(move || {
        let mut line = String::new();
        while stdout.read_line(&mut line).unwrap() > 0 {
            let value: Value = serde_json::from_str(&line).unwrap();
            if value["comm"] == "uname" {
                // Nobody listens after the first.
                sender.send(()).ok();
            }
            lines.push(value);
            line.clear();
        }
        lines
    });
    loop {
        let status = nucleus(UNDER_PROFILE)
            .arg("uname")
            .current_dir(scratch.path())
            .output();
        assert_eq!(status.unwrap().status.code(), Some(1));
        if receiver.try_recv().is_ok() {
            break;
        }
    }
    kill_process(id, Signal::TERM).unwrap();
    (child, reader.join().unwrap())
}

#[test]
fn watching_all_shows_denials_and_ends_with_the_verdict() {
    require!(audit);
    let scratch = Scratch::new();
    without_uname(&scratch);
    let (mut child, lines) = watch(&scratch, &["--all"]);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let [denials @ .., verdict] = lines.as_slice() else {
        panic!("nothing was printed");
    };
    assert_eq!(verdict["verdict"], "complete", "{verdict}");
    let uname = denials.iter().find(|line| line["comm"] == "uname").unwrap();
    assert_eq!(uname["name"], "uname");
    assert_eq!(uname["action"], "errno");
    assert_eq!(uname["attributed"], true);
    assert!(uname["time"].is_f64() && uname["pid"].is_u64(), "{uname}");
    assert!(
        uname["exe"].as_str().unwrap().ends_with("/uname"),
        "{uname}"
    );
}

#[test]
fn watching_without_the_privilege_names_the_capability() {
    let scratch = Scratch::new();
    let mut command = nucleus(["audit", "watch", "--all", "--source", "audit"]);
    if rustix::process::geteuid().is_root() {
        command.uid(65534).gid(65534);
    }
    let output = run(&mut command, scratch.path()).code(125);
    assert!(output.err().contains("CAP_AUDIT_READ"), "{}", output.err());
}

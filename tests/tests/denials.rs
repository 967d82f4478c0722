//! A call that a profile lacks is named, for root and anybody else.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use nucleus_tests::nucleus::{Said as _, nucleus, path};
use nucleus_tests::require;
use nucleus_tests::scratch::{Scratch, TraceFile, run};
use serde_json::{Value, json};

/// The profile without one of the calls that it allows.
fn without(profile: &Value, call: &str) -> Value {
    let mut profile = profile.clone();
    let rules = profile["syscalls"].as_array_mut().unwrap();
    let mut taken = 0;
    for rule in &mut *rules {
        let names = rule["names"].as_array_mut().unwrap();
        let before = names.len();
        names.retain(|name| name != call);
        taken += before - names.len();
    }
    assert_eq!(taken, 1, "{call} is not in the profile once");
    rules.retain(|rule| rule["names"] != json!([]));
    profile
}

#[test]
fn any_call_that_is_taken_away_is_named() {
    require!(ptrace);
    let scratch = Scratch::new();
    let command = ["ls", "-l", "/usr"];
    run(
        nucleus(["learn", "--host", "-o", "profile", "--trace", "trace", "--"]).args(command),
        scratch.path(),
    )
    .code(0);
    let text = fs::read(scratch.file("profile")).unwrap();
    let profile: Value = serde_json::from_slice(&text).unwrap();
    let seen = TraceFile::read(&scratch.file("trace")).names();
    // What ls calls with any C library that we know, and more than ten with each.
    let calls = [
        "brk",
        "close",
        "execve",
        "fstat",
        "getdents64",
        "ioctl",
        "lseek",
        "mmap",
        "newfstatat",
        "openat",
        "pread64",
        "read",
        "statx",
        "write",
        "writev",
    ];
    let calls: Vec<_> = calls
        .into_iter()
        .filter(|call| seen.contains(*call))
        .collect();
    assert!(calls.len() >= 10, "{seen:?}");
    for call in calls {
        fs::write(scratch.file("poorer"), without(&profile, call).to_string()).unwrap();
        let output = run(
            nucleus(["run", "--host", "--seccomp-log-denied"])
                .args(["--seccomp-profile", "poorer", "--"])
                .args(command),
            scratch.path(),
        );
        // The launcher's own execve is denied before there is a program.
        let denied = match call {
            "execve" => "nucleus: the seccomp filter does not allow execve, ".to_owned(),
            _ => format!("nucleus: denied: {call} "),
        };
        let named = output.err().lines().any(|line| line.starts_with(&denied));
        assert!(named, "{call}: {}", output.err());
    }
}

/// A second run that needs more than the first is an error that names the calls,
/// all of them: what is missing first does not end the run.
#[test]
fn learning_fails_when_the_second_run_is_denied_something() {
    require!(ptrace);
    let scratch = Scratch::new();
    // The first run makes a file, the second finds it.
    let script = "if [ -e there ]; then cd / && umask 0; else : >there; fi";
    let output = run(
        nucleus(["learn", "--host", "-o", "profile", "--", "sh", "-c", script]),
        scratch.path(),
    )
    .code(125);
    for call in ["denied: chdir ", "denied: umask ", "did not: chdir, umask;"] {
        assert!(output.err().contains(call), "{}", output.err());
    }
    assert_eq!(scratch.listing(), ["there"]);
}

/// Where a container's filter forbids ptrace, the error says so.
#[test]
fn a_filter_that_forbids_ptrace_is_named() {
    require!(ptrace);
    let scratch = Scratch::new();
    let profile = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{ "names": ["ptrace"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1 }],
    });
    fs::write(scratch.file("container"), profile.to_string()).unwrap();
    let output = run(
        nucleus(["run", "--host", "--seccomp-profile", "container", "--"])
            .arg(path())
            .args(["trace", "--host", "-o", "trace", "--", "touch", "ran"]),
        scratch.path(),
    )
    .code(125);
    assert!(output.err().contains("ptrace"), "{}", output.err());
    assert!(output.err().contains("seccomp"), "{}", output.err());
    assert_eq!(scratch.listing(), ["container"]);
}

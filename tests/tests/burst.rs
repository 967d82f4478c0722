//! A burst of denials of children that live a few milliseconds: each is
//! reported, with its process, and none of anybody else's.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Output, Stdio};

use nucleus_tests::nucleus::{Said as _, nucleus, path};
use nucleus_tests::require;
use nucleus_tests::scratch::{Scratch, run};
use serde_json::{Value, json};

const CHILDREN: usize = 200;
const CALLS: usize = 10;

/// Prints the ids of 200 daemons, each in a session of its own, that make ten
/// denied calls; every tenth is killed for its last.
const BURST: &str = r#"
    use POSIX; $| = 1;
    for my $i (0 .. 199) {
        my $parent = fork;
        if (!$parent) {
            POSIX::setsid();
            if (!fork) {
                print "$$\n";
                syscall($getsid, 0) for 1 .. 9;
                syscall($i % 10 ? $getsid : $getpriority, 0, 0);
            }
            POSIX::_exit(0);
        }
        waitpid $parent, 0;
    }
"#;

fn script() -> String {
    let (getsid, getpriority) = (libc::SYS_getsid, libc::SYS_getpriority);
    format!("$getsid = {getsid}; $getpriority = {getpriority}; {BURST}")
}

fn profile(scratch: &Scratch) {
    let profile = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "flags": ["SECCOMP_FILTER_FLAG_LOG"],
        "syscalls": [
            { "names": ["getsid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13 },
            { "names": ["getpriority"], "action": "SCMP_ACT_KILL_PROCESS" },
        ],
    });
    fs::write(scratch.file("profile"), profile.to_string()).unwrap();
}

const UNDER_PROFILE: [&str; 4] = ["run", "--host", "--seccomp-profile", "profile"];

/// The same denials of somebody else, at the same time.
fn others(scratch: &Scratch) -> Child {
    nucleus(UNDER_PROFILE)
        .args(["--", "perl", "-e", &script()])
        .current_dir(scratch.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Runs the burst; what was reported, and the verdict.
fn burst(scratch: &Scratch, how: &[&str], unprivileged: bool) -> (Output, Vec<Value>, Value) {
    let mut command = Command::new("sh");
    command
        .args(["-c", "exec \"$@\" 7>&2", "sh"])
        .arg(path())
        .args(UNDER_PROFILE)
        .args(how)
        .args(["--events", "7", "--", "perl", "-e", &script()]);
    if unprivileged && rustix::process::geteuid().is_root() {
        command.uid(65534).gid(65534);
        let all = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(scratch.path(), all).unwrap();
    }
    let output = run(&mut command, scratch.path());
    let lines = output.err().lines().filter(|line| line.starts_with('{'));
    let mut events: Vec<Value> = lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let verdict = events.pop().unwrap_or_default();
    (output, events, verdict)
}

/// Every denial with the right process, and nothing else.
fn check_all(output: &Output, events: &[Value]) {
    let mut expected: BTreeMap<u64, usize> = BTreeMap::new();
    for pid in output.out().lines() {
        expected.insert(pid.parse().unwrap(), CALLS);
    }
    assert_eq!(expected.len(), CHILDREN);
    let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
    for event in events {
        *counts.entry(event["pid"].as_u64().unwrap()).or_default() += 1;
    }
    assert_eq!(counts, expected);
    let killed = events.iter().filter(|event| event["name"] == "getpriority");
    assert_eq!(killed.count(), CHILDREN / 10);
}

#[test]
fn audit_reports_every_denial_and_nobody_elses() {
    require!(audit, tool("perl"));
    let scratch = Scratch::new();
    profile(&scratch);
    let mut others = others(&scratch);
    let how = ["--seccomp-log-denied", "--source", "audit"];
    let (output, events, verdict) = burst(&scratch, &how, false);
    assert_eq!(verdict["verdict"], "complete", "{verdict}");
    check_all(&output.code(0), &events);
    assert!(others.wait().unwrap().success());
}

#[test]
fn explained_without_privilege_every_denial_is_reported() {
    require!(tool("perl"));
    let scratch = Scratch::new();
    profile(&scratch);
    let mut others = others(&scratch);
    let (output, events, verdict) = burst(&scratch, &["--explain"], true);
    assert_eq!(verdict["verdict"], "complete", "{verdict}");
    check_all(&output.code(0), &events);
    assert!(others.wait().unwrap().success());
}

#[test]
fn a_log_that_lost_records_is_never_called_complete() {
    require!(audit, root, tool("perl"));
    let scratch = Scratch::new();
    profile(&scratch);
    let how = ["--seccomp-log-denied", "--source", "kmsg"];
    let (output, events, verdict) = burst(&scratch, &how, false);
    if output.status.code() == Some(125) {
        // The rate limit is used up, or auditd takes the records.
        assert!(output.err().contains("/dev/kmsg"), "{}", output.err());
        return;
    }
    let all = events.len() == CHILDREN * CALLS;
    assert_eq!(verdict["verdict"] == "complete", all, "{verdict}");
    assert_eq!(verdict["lost"] == 0, all, "{verdict}");
}

/// In the sandbox's own PID namespace ids are others; what is reported is what
/// the one who asks can use.
#[test]
fn in_a_pid_namespace_the_outer_ids_are_reported() {
    require!(audit, userns, userland, ptrace, tool("perl"));
    let scratch = Scratch::new();
    profile(&scratch);
    let script = format!("print $$; syscall({}, 0)", libc::SYS_getsid);
    for how in [
        &["--seccomp-log-denied", "--source", "audit"][..],
        &["--seccomp-log-denied", "--source", "ptrace"],
        &["--explain"],
    ] {
        let mut command = Command::new("sh");
        command
            .args(["-c", "exec \"$@\" 7>&2", "sh"])
            .arg(path())
            .args(["run", "--seccomp-profile", "profile"])
            .args(how)
            .args(["--events", "7", "--", "perl", "-e", &script]);
        let output = run(&mut command, scratch.path()).code(0);
        let line = output.err().lines().find(|line| line.starts_with('{'));
        let event: Value = serde_json::from_str(line.unwrap()).unwrap();
        assert_eq!(event["name"], "getsid", "{how:?}");
        assert_eq!(event["pid"], event["target_pid"], "{how:?}");
        let inner: u64 = output.out().parse().unwrap();
        assert_ne!(event["pid"], inner, "{how:?}");
    }
}

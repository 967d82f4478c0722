//! `nucleus run` within limits, in either view.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what the helpers cannot do fails the test that asked for it"
)]

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nucleus_cgroup::{Controller, Host};
use nucleus_tests::nucleus::{Said, nucleus};
use nucleus_tests::require;
use nucleus_tests::scratch::Scratch;

const VIEWS: [&[&str]; 2] = [&[], &["--host"]];

fn run(view: &[&str], limits: &[&str], command: &[&str]) -> Output {
    nucleus(["run"])
        .args(view)
        .args(limits)
        .arg("--")
        .args(command)
        .output()
        .unwrap()
}

/// The cgroups of runs below this process's own.
fn groups() -> Vec<PathBuf> {
    let own = Host::detect().unwrap().own().unwrap();
    let names = own.children().unwrap().into_iter();
    names
        .filter(|name| name.as_encoded_bytes().starts_with(b"nucleus-run-"))
        .map(PathBuf::from)
        .collect()
}

/// A run whose script has said that it is ready, and its cgroup.
fn start(view: &[&str], limits: &[&str], script: &str) -> (Child, PathBuf) {
    let mut child = nucleus(["run"])
        .args(view)
        .args(limits)
        .args(["--", "sh", "-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n", "{view:?}");
    match &groups()[..] {
        [group] => (child, group.clone()),
        groups => panic!("{view:?} {groups:?}"),
    }
}

#[test]
fn the_memory_limit_kills_and_is_named() {
    require!(root, cgroup2("memory"));
    for view in VIEWS {
        let eat = ["dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1"];
        let output = run(view, &["--memory", "16M"], &eat);
        assert_eq!(output.status.code(), Some(137), "{view:?} {output:?}");
        let said = output.err();
        let expected = "nucleus: out of memory: 1 of its processes killed at --memory 16M\n";
        assert!(said.ends_with(expected), "{view:?} {said}");
        assert!(groups().is_empty(), "{view:?} {:?}", groups());
    }
}

/// What a program writes to its private folders is memory, too.
#[test]
fn the_memory_limit_holds_for_files() {
    require!(root, cgroup2("memory"));
    // The files stay when their writer is killed: in the end there is no room
    // for init, either.
    for fill in [
        "exec dd if=/dev/zero of=/tmp/file bs=1M count=64",
        "cat /dev/zero >/tmp/file; cat /dev/zero >/dev/shm/file; cat /dev/zero >~/file",
    ] {
        let output = run(&[], &["--memory", "16M"], &["sh", "-c", fill]);
        assert_eq!(output.status.code(), Some(137), "{output:?}");
        let said = output.err();
        let lines: Vec<_> = said
            .lines()
            .filter(|line| line.starts_with("nucleus: "))
            .collect();
        assert!(
            lines.len() == 1 && lines[0].starts_with("nucleus: out of memory: "),
            "{said}"
        );
        assert!(groups().is_empty(), "{:?}", groups());
    }
}

/// A program may take back what makes it the first to be killed, and no more.
#[test]
fn the_program_is_killed_before_init() {
    require!(root, cgroup2("memory"));
    let before = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    let before: i32 = before.trim().parse().unwrap();
    for view in VIEWS {
        let output = run(
            view,
            &["--memory", "64M"],
            &["cat", "/proc/self/oom_score_adj"],
        );
        let expected = format!("{}\n", (before + 500).min(1000));
        assert_eq!(output.code(0).out(), expected, "{view:?}");
        let free = run(view, &[], &["cat", "/proc/self/oom_score_adj"]);
        assert_eq!(free.code(0).out(), format!("{before}\n"), "{view:?}");
    }
    let lower = format!(
        "echo {} >/proc/self/oom_score_adj && exit 1; cat /proc/self/oom_score_adj",
        before - 1
    );
    let output = run(&[], &["--memory", "64M"], &["sh", "-c", &lower]);
    assert_eq!(
        output.code(0).out(),
        format!("{}\n", (before + 500).min(1000))
    );
}

/// The cgroup of the outer run is the parent of the inner one's, and its maker
/// holds it.
#[test]
fn a_limited_run_may_start_another() {
    require!(root, cgroup2("memory"));
    let inner = nucleus_tests::nucleus::path();
    let words = [
        inner.to_str().unwrap(),
        "run",
        "--host",
        "--memory",
        "32M",
        "--",
        "sh",
        "-c",
        "exit 6",
    ];
    let scratch = Scratch::new();
    let open = scratch.file("allow-all.json");
    std::fs::write(&open, r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#).unwrap();
    let open = ["--host", "--seccomp-profile", open.to_str().unwrap()];
    let output = run(&open, &["--memory", "256M"], &words);
    assert_eq!(output.status.code(), Some(6), "{output:?}");
    // The default filter hides the one call that can start a process in a cgroup.
    let output = run(&["--host"], &["--memory", "256M"], &words);
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    assert!(output.err().contains("clone3"), "{output:?}");
    assert!(groups().is_empty(), "{:?}", groups());
}

#[test]
fn the_task_limit_refuses_and_is_named() {
    require!(root, cgroup2("pids"));
    for view in VIEWS {
        let script = "for i in 1 2 3 4 5 6; do sleep 1 & done; wait";
        let output = run(view, &["--pids", "3"], &["sh", "-c", script]);
        assert!(!output.status.success(), "{view:?} {output:?}");
        let said = output.err();
        assert!(said.contains("refused at --pids 3: "), "{view:?} {said}");
        assert!(groups().is_empty(), "{view:?} {:?}", groups());
    }
}

#[test]
fn within_its_limits_a_program_runs_and_nothing_is_said() {
    require!(root, cgroup2("memory"), cgroup2("cpu"), cgroup2("cpuset"));
    for view in VIEWS {
        let limits = ["--memory=64M", "--pids=2", "--cpus=0.5", "--cpuset=0"];
        let script = "grep Cpus_allowed_list /proc/self/status & wait";
        let output = run(view, &limits, &["sh", "-c", script]);
        assert_eq!(output.status.code(), Some(0), "{view:?} {output:?}");
        assert_eq!(output.stdout, b"Cpus_allowed_list:\t0\n", "{view:?}");
        assert_eq!(output.err(), "", "{view:?}");
        assert!(groups().is_empty(), "{view:?} {:?}", groups());
    }
}

/// The kernel's files say what was asked for, while the program runs.
#[test]
fn each_limit_reaches_the_kernel() {
    require!(root, cgroup2("memory"), cgroup2("cpu"));
    for view in VIEWS {
        let limits = [
            "--memory=64M",
            "--memory-high=32M",
            "--swap=1M",
            "--oom-group",
            "--cpu-weight=50",
        ];
        let (mut child, group) = start(view, &limits, "echo ready; read line");
        let own = Host::detect().unwrap().own().unwrap();
        for (file, expected) in [
            ("memory.max", "67108864"),
            ("memory.high", "33554432"),
            ("memory.swap.max", "1048576"),
            ("memory.oom.group", "1"),
            ("cpu.weight", "50"),
        ] {
            let path = own.path().join(&group).join(file);
            let value = std::fs::read_to_string(&path).unwrap();
            assert_eq!(value.trim_end(), expected, "{view:?} {file}");
        }
        child.stdin.take().unwrap().write_all(b"go\n").unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
}

#[test]
fn a_nucleus_that_is_killed_leaves_no_limited_cgroup() {
    require!(root, cgroup2("pids"));
    for view in VIEWS {
        let (mut child, group) = start(view, &["--pids=9"], "echo ready; exec sleep 1000");
        child.kill().unwrap();
        child.wait().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while !groups().is_empty() {
            assert!(Instant::now() < deadline, "{view:?} left {group:?}");
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_user_limits_runs_below_a_delegated_cgroup() {
    const NOBODY: u32 = 65534;
    require!(root, cgroup2("pids"), userns);
    let own = Host::detect().unwrap().own().unwrap();
    own.enable(&BTreeSet::from([Controller::Pids])).unwrap();
    for (view, name) in VIEWS.into_iter().zip(["for-a-user-1", "for-a-user-2"]) {
        let delegated = own.create_child(OsStr::new(name)).unwrap();
        for file in ["", "cgroup.procs", "cgroup.subtree_control"] {
            let path = delegated.path().join(file);
            chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let script = "for i in 1 2 3 4 5 6; do sleep 1 & done; wait";
        let mut user = Command::new("sh")
            .args(["-c", "read go; exec \"$@\"", "sh"])
            .arg(nucleus_tests::nucleus::path())
            .arg("run")
            .args(view)
            .args(["--pids=3", "--", "sh", "-c", script])
            .uid(NOBODY)
            .gid(NOBODY)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        delegated.admit(user.id().cast_signed()).unwrap();
        user.stdin.take().unwrap().write_all(b"go\n").unwrap();
        let output = user.wait_with_output().unwrap();
        let said = output.err();
        assert!(said.contains("refused at --pids 3: "), "{view:?} {said}");
        std::fs::remove_dir(delegated.path().join("nucleus-self")).unwrap();
        std::fs::remove_dir(delegated.path()).unwrap();
    }
}

#[test]
fn limits_that_cannot_be_had_stop_the_run_on_a_hybrid_host() {
    if !Host::detect().unwrap().is_v1(Controller::Cpu) {
        nucleus_tests::require::say("controller cpu is not bound to cgroup v1");
        return;
    }
    for view in VIEWS {
        // The supervisor could count processes, but not CPU time.
        let output = run(view, &["--pids=10", "--cpus=0.5"], &["echo", "ran"]);
        assert_eq!(output.status.code(), Some(125), "{view:?}");
        let said = output.err();
        let expected = "nucleus: cannot limit the program: controller ";
        assert!(said.starts_with(expected), "{view:?} {said}");
        assert!(said.contains(" is bound to cgroup v1 on this host (mounted at "));
        assert_eq!(output.stdout, b"", "{view:?}");
    }
}

#[test]
fn an_illegal_limit_is_a_usage_error() {
    for (limit, expected) in [
        ("--memory=lots", "is not a size in bytes such as"),
        ("--memory=100", "memory.max is 100, which is not within"),
        (
            "--memory-high=100",
            "memory.high is 100, which is not within",
        ),
        ("--swap=some", "is not a size in bytes such as"),
        ("--cpu-weight=0", "cpu.weight is 0, which is not within"),
        ("--cpu-weight=half", "\"half\" is no whole number"),
        ("--oom-group", "--memory <SIZE>"),
        ("--cpus=0", "the quota of cpu.max in us is 0"),
        ("--pids=0", "0 is not in 1..="),
        ("--cpuset=3-1", "is not a list of CPUs such as"),
        (
            "--io-max=/dev/null:rbps=1",
            "/dev/null is not a block device",
        ),
    ] {
        let output = run(&["--host"], &[limit], &["true"]);
        assert_eq!(output.status.code(), Some(125), "{limit}");
        let said = output.err();
        assert!(said.contains(expected), "{limit}: {said}");
    }
}

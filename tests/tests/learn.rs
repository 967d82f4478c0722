//! The main job on real programs: trace, generate, enforce.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use nucleus_tests::nucleus::{Said as _, nucleus};
use nucleus_tests::require::{find, say, stride};
use nucleus_tests::scratch::{Scratch, TraceFile, run};
use nucleus_tests::{elf32, require, strace};

/// Runs under strace that a trace is compared with, and more of them when some
/// call is seen by nucleus only: it may be one that depends on the schedule.
const STRACE_RUNS: usize = 5;
const MORE_STRACE_RUNS: usize = 20;

/// How often each program is learned in a row.
fn repeat() -> usize {
    match std::env::var("NUCLEUS_TEST_REPEAT") {
        Ok(times) => times.parse().expect("a number in NUCLEUS_TEST_REPEAT"),
        Err(_) => 1,
    }
}

/// Whether a program is there that a test machine need not have; says so if not.
fn is_there(program: &str) -> bool {
    let there = find(program).is_some();
    if !there {
        say(&format!("{program} is not installed"));
    }
    there
}

/// What a program with threads calls only when two of them want the same at
/// the same time: too rare for strace to see in a few runs.
const ON_CONTENTION: [&str; 1] = ["sched_yield"];

/// Learns the command, compares its trace with what strace sees, and runs it
/// under its profile.
fn check(command: &[&str]) {
    check_in(&Scratch::new(), command);
}

fn check_in(scratch: &Scratch, command: &[&str]) {
    let directory = scratch.path();
    let bare = run(Command::new(command[0]).args(&command[1..]), directory).code(0);
    let mut seen = strace::runs(STRACE_RUNS, command, directory);
    let out = Scratch::new();
    let (trace, profile) = (out.file("trace"), out.file("profile.json"));

    for round in 1..=repeat() {
        let learned = run(
            nucleus(["learn", "--host", "-o"])
                .arg(&profile)
                .arg("--trace")
                .arg(&trace)
                .arg("--")
                .args(command),
            directory,
        )
        .code(0);
        let twice = [&bare.stdout[..], &bare.stdout[..]].concat();
        assert!(learned.stdout == twice, "round {round}: {}", learned.out());

        let trace = TraceFile::read(&trace);
        assert!(trace.is_complete(), "round {round}: {}", trace.verdict);
        let names = trace.names();
        let missed: BTreeSet<_> = seen.always.difference(&names).collect();
        assert!(missed.is_empty(), "round {round}: missed {missed:?}");
        if !names.is_subset(&seen.ever) {
            let more = strace::runs(MORE_STRACE_RUNS, command, directory);
            seen.ever.extend(more.ever);
        }
        seen.ever.extend(ON_CONTENTION.map(str::to_owned));
        let invented: BTreeSet<_> = names.difference(&seen.ever).collect();
        assert!(invented.is_empty(), "round {round}: invented {invented:?}");

        let enforced = run(
            nucleus(["run", "--host", "--seccomp-profile"])
                .arg(&profile)
                .arg("--")
                .args(command),
            directory,
        )
        .code(0);
        assert!(
            enforced.stdout == bare.stdout,
            "round {round}: {}",
            enforced.out()
        );
    }
}

#[test]
fn ls() {
    require!(tool("strace"), ptrace);
    check(&["ls", "-l", "/usr"]);
}

/// Where nothing depends on the schedule, every count is what strace counts.
#[test]
fn counts_are_exact() {
    require!(tool("strace"), ptrace);
    let scratch = Scratch::new();
    let command = ["ls", "-l", "/usr"];
    let trace = scratch.file("trace");
    run(
        nucleus(["trace", "--host", "-o"])
            .arg(&trace)
            .arg("--")
            .args(command),
        scratch.path(),
    )
    .code(0);
    let trace = TraceFile::read(&trace);
    let ours: strace::Counts = trace
        .names()
        .into_iter()
        .map(|name| {
            let count = trace.count(&name);
            (name, count)
        })
        .collect();
    assert_eq!(ours, strace::count(&command, scratch.path()));
    assert_eq!(
        trace.verdict["calls"].as_u64(),
        Some(ours.values().sum::<u64>())
    );
}

#[test]
fn shell_with_pipeline() {
    require!(tool("strace"), ptrace);
    let scratch = Scratch::new();
    fs::write(scratch.file("hostname"), "somewhere\n").unwrap();
    check_in(&scratch, &["sh", "-c", "ls | sort | uniq -c; cat hostname"]);
}

#[test]
fn bash_that_forks() {
    require!(tool("strace"), tool("bash"), ptrace);
    let script = format!("for i in $(seq {}); do /bin/true; done", 50 / stride());
    check(&["bash", "-c", &script]);
}

#[test]
fn git_log() {
    require!(tool("strace"), tool("git"), ptrace);
    let scratch = Scratch::new();
    let script = "git init -q . && git config user.name a && git config user.email a@b \
                  && for i in 1 2 3; do git commit -q --allow-empty -m $i; done";
    run(Command::new("sh").args(["-ec", script]), scratch.path()).code(0);
    check_in(&scratch, &["git", "--no-pager", "log"]);
}

#[test]
fn python_with_threads_and_a_subprocess() {
    require!(tool("strace"), tool("python3"), ptrace);
    // A wrapper script that picks a version would be most of what is traced.
    let python = if Path::new("/usr/bin/python3").exists() {
        Path::new("/usr/bin/python3").to_owned()
    } else {
        find("python3").unwrap()
    };
    let imports = "import json, ssl, sqlite3, subprocess, threading\n";
    let answer = Command::new(&python).args(["-c", imports]).output();
    if !answer.unwrap().status.success() {
        say("this python3 has no ssl or no sqlite3");
        return;
    }
    let script = "\
sums = []
work = lambda n: sums.append(sum(range(n * 10000)))
threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
[t.start() for t in threads]
[t.join() for t in threads]
print(json.dumps(sorted(sums)))
print(sqlite3.connect(':memory:').execute('select 6 * 7').fetchone())
print(subprocess.run(['sh', '-c', 'echo $((6 * 7))'], capture_output=True).stdout)
";
    let script = format!("{imports}{script}");
    check(&[python.to_str().unwrap(), "-c", &script]);
}

#[test]
fn perl() {
    require!(tool("strace"), tool("perl"), ptrace);
    let script = "print `echo hello`, join(' ', sort glob('/usr/*')), \"\\n\"";
    check(&["perl", "-e", script]);
}

#[test]
fn node() {
    require!(tool("strace"), ptrace);
    if !is_there("node") {
        return;
    }
    check(&["node", "-e", "console.log([3, 1, 2].sort().join())"]);
}

#[test]
fn cargo() {
    require!(tool("strace"), ptrace);
    if !is_there("cargo") {
        return;
    }
    let answer = Command::new("cargo").arg("--version").output().unwrap();
    if !answer.status.success() {
        say("cargo is not set up for this user");
        return;
    }
    check(&["cargo", "--version"]);
}

const HELLO: &str = "\
#include <stdio.h>
int main(void) { puts(\"hello\"); return 0; }
";

#[test]
fn dynamic_c_program() {
    require!(tool("strace"), ptrace);
    if !is_there("gcc") {
        return;
    }
    let scratch = Scratch::new();
    let program = scratch.compile("hello", HELLO, &[]);
    check_in(&scratch, &[program.to_str().unwrap()]);
}

#[test]
fn static_c_program() {
    require!(tool("strace"), ptrace);
    if !is_there("gcc") {
        return;
    }
    let scratch = Scratch::new();
    let program = scratch.compile("hello", HELLO, &["-static"]);
    check_in(&scratch, &[program.to_str().unwrap()]);
}

#[test]
fn rust_program_with_threads() {
    require!(tool("strace"), ptrace);
    check(&[env!("CARGO_BIN_EXE_threads")]);
}

/// A signal handler, a timer, a child in a session of its own.
#[test]
fn c_program_with_signals_and_sessions() {
    require!(tool("strace"), ptrace);
    if !is_there("gcc") {
        return;
    }
    let scratch = Scratch::new();
    let source = "\
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
static volatile sig_atomic_t rings;
static void ring(int signal) { (void)signal; rings++; }
int main(void) {
    struct itimerval timer = { { 0, 1000 }, { 0, 1000 } };
    signal(SIGALRM, ring);
    setitimer(ITIMER_REAL, &timer, NULL);
    while (rings < 5) pause();
    timer.it_value.tv_usec = 0;
    setitimer(ITIMER_REAL, &timer, NULL);
    pid_t child = fork();
    if (child == 0) { setsid(); getpriority(PRIO_PROCESS, 0); _exit(7); }
    int status;
    waitpid(child, &status, 0);
    printf(\"%d\\n\", WEXITSTATUS(status));
    return 0;
}
";
    let program = scratch.compile("signals", source, &[]);
    check_in(&scratch, &[program.to_str().unwrap()]);
}

/// Calls of another architecture are recorded under it, and the profile lists it.
#[test]
fn program_of_32_bits() {
    require!(tool("strace"), ptrace, ia32);
    let scratch = Scratch::new();
    let program = scratch.file("hello32");
    elf32::write_hello(&program).unwrap();
    let program = program.to_str().unwrap();
    check_in(&scratch, &[program]);

    run(
        nucleus(["trace", "--host", "-o", "trace", "--", program]),
        scratch.path(),
    )
    .code(0);
    let trace = TraceFile::read(&scratch.file("trace"));
    assert_eq!(trace.archs(), ["i386".into(), "x86_64".into()].into());
    run(
        nucleus(["seccomp", "generate", "trace", "-o", "profile"]),
        scratch.path(),
    )
    .code(0);
    let profile = fs::read(scratch.file("profile")).unwrap();
    let profile: serde_json::Value = serde_json::from_slice(&profile).unwrap();
    assert_eq!(
        profile["architectures"],
        serde_json::json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"])
    );
}

/// A hundred pipelines in one shell: no child gets away.
#[test]
fn a_hundred_pipelines() {
    require!(ptrace);
    let scratch = Scratch::new();
    let script = "i=0; while [ $i -lt 100 ]; do \
                  /bin/echo $i | /bin/cat | /bin/cat >/dev/null; i=$((i + 1)); done";
    for _ in 0..repeat() {
        run(
            nucleus(["trace", "--host", "-o", "trace", "--", "sh", "-c", script]),
            scratch.path(),
        )
        .code(0);
        let trace = TraceFile::read(&scratch.file("trace"));
        assert!(trace.is_complete(), "{}", trace.verdict);
        assert_eq!(trace.count("execve"), 301);
        assert_eq!(trace.count("exit_group"), 301);
    }
}

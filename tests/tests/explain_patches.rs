//! The change that is suggested for a denial makes exactly that run pass: for
//! programs and calls that profiles typically forbid, by root and anybody else.
#![cfg(target_arch = "x86_64")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::process::{Command, Output};

use nucleus_seccomp::{Action, Arch, KernelVersion, Policy, Profile, SeccompData, Syscall, Target};
use nucleus_tests::nucleus::{Said as _, path};
use nucleus_tests::require;
use nucleus_tests::scratch::{Scratch, run};
use serde_json::{Value, json};

/// EOWNERDEAD, which no call of these programs gets from the kernel.
const DENIED: u16 = 130;
/// A program that is denied one thing may get to the next only when it is not.
const MOST_ROUNDS: usize = 25;

/// A program, and the call that its profile lacks.
struct Case {
    call: &'static str,
    words: &'static [&'static str],
    /// The arguments by which the call is narrowed.
    narrow: &'static [usize],
}

const fn case(
    call: &'static str,
    words: &'static [&'static str],
    narrow: &'static [usize],
) -> Case {
    Case {
        call,
        words,
        narrow,
    }
}

/// How a profile comes not to allow the call.
#[derive(Debug, Clone, Copy)]
enum Base {
    /// It names all others.
    AllowList,
    /// It names this one, with this action.
    DenyList(&'static str),
}

fn profile(base: Base, call: &str) -> Value {
    let native = ["SCMP_ARCH_X86_64"];
    match base {
        Base::AllowList => {
            let names: Vec<_> = Syscall::all(Arch::X86_64)
                .filter_map(|known| known.name())
                .filter(|name| *name != call)
                .collect();
            json!({
                "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": DENIED,
                "architectures": native,
                "syscalls": [{ "names": names, "action": "SCMP_ACT_ALLOW" }],
            })
        }
        Base::DenyList(action) => {
            let mut rule = json!({ "names": [call], "action": action });
            if action == "SCMP_ACT_ERRNO" {
                rule["errnoRet"] = DENIED.into();
            }
            json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "architectures": native,
                "syscalls": [rule],
            })
        }
    }
}

/// One program in one directory.
struct Bench<'a> {
    scratch: Scratch,
    case: &'a Case,
}

impl Bench<'_> {
    /// Runs the program under the profile; what it was denied.
    fn watched(&self, how: &str) -> (Output, Vec<Value>) {
        let mut command = Command::new("sh");
        command
            .args(["-c", "exec \"$@\" 7>events", "sh"])
            .arg(path())
            .args(["run", "--host", "--seccomp-profile", "profile", how])
            .args(["--events", "7", "--"])
            .args(self.case.words);
        let output = run(&mut command, self.scratch.path());
        let text = fs::read_to_string(self.scratch.file("events")).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        let mut events: Vec<Value> = lines.collect();
        let verdict = events.pop().unwrap();
        assert_eq!(verdict["verdict"], "complete", "{verdict}");
        (output, events)
    }

    fn explain(&self) -> Output {
        let mut command = Command::new(path());
        command
            .args(["explain", "--profile", "profile", "--apply"])
            .stdin(File::open(self.scratch.file("events")).unwrap());
        run(&mut command, self.scratch.path()).code(0)
    }

    fn policy(&self) -> Policy {
        let text = fs::read(self.scratch.file("profile")).unwrap();
        let target = Target::new(Arch::X86_64, KernelVersion::running().unwrap());
        Profile::from_json(&text).unwrap().resolve(&target).unwrap()
    }
}

fn call_of(event: &Value) -> SeccompData {
    let hex = |value: &Value| {
        let digits = value.as_str().unwrap().strip_prefix("0x").unwrap();
        u64::from_str_radix(digits, 16).unwrap()
    };
    let args: Vec<_> = event["args"].as_array().unwrap().iter().map(hex).collect();
    SeccompData {
        nr: event["syscall"].as_u64().unwrap().try_into().unwrap(),
        arch: event["audit_arch"].as_u64().unwrap().try_into().unwrap(),
        instruction_pointer: 0,
        args: args.try_into().unwrap(),
    }
}

/// Denied, explained, patched, until nothing is denied any more: then the
/// program ends as it does without a filter, and nothing else may pass.
fn check(case: &Case, base: Base, how: &str) {
    let what = format!("{:?} without {}, {base:?}, {how}", case.words, case.call);
    let bench = Bench {
        scratch: Scratch::new(),
        case,
    };
    let free = Command::new(case.words[0])
        .args(&case.words[1..])
        .current_dir(bench.scratch.path())
        .output()
        .unwrap();
    let json = profile(base, case.call).to_string();
    fs::write(bench.scratch.file("profile"), json).unwrap();
    let before = bench.policy();
    let (mut made, mut rounds) = (Vec::new(), 0);
    let last = loop {
        let (output, events) = bench.watched(how);
        if events.is_empty() {
            break output;
        }
        assert!(rounds < MOST_ROUNDS, "{what}: {}", output.err());
        for event in &events {
            assert_eq!(event["name"], case.call, "{what}");
        }
        rounds += 1;
        made.extend(events.iter().map(call_of));
        let said = bench.explain();
        let newly = format!("newly allowed: {}", case.call);
        assert!(said.out().contains(&newly), "{what}: {}", said.out());
    };
    assert!(!made.is_empty(), "{what}: nothing was denied");
    assert_eq!(
        last.status.code(),
        free.status.code(),
        "{what}: {}",
        last.err()
    );

    let after = bench.policy();
    let changed: Vec<_> = after
        .arches()
        .flat_map(Syscall::all)
        .filter(|&call| before.verdict(call) != after.verdict(call))
        .map(|call| call.to_string())
        .collect();
    assert_eq!(changed, [case.call], "{what}");
    // A profile that allows by default can except one set of arguments only.
    let by_args: BTreeSet<Vec<u64>> = made
        .iter()
        .map(|data| case.narrow.iter().map(|&index| data.args[index]).collect())
        .collect();
    let narrowed = by_args.len() == 1 || matches!(base, Base::AllowList);
    for data in made {
        assert_eq!(after.decide(&data), Action::Allow, "{what}");
        for &index in case.narrow {
            let mut other = data;
            // A value that is no flag and no number of anything.
            other.args[index] ^= 0x2bad_0000;
            if narrowed {
                assert_eq!(after.decide(&other), before.decide(&other), "{what}");
                assert_ne!(after.decide(&other), Action::Allow, "{what}");
            }
        }
    }
}

fn check_all(cases: &[Case]) {
    require!(userland, ptrace);
    for case in cases {
        if nucleus_tests::require::find(case.words[0]).is_none() {
            nucleus_tests::require::say(&format!("{} is not installed", case.words[0]));
            continue;
        }
        check(case, Base::AllowList, "--seccomp-log-denied");
        check(case, Base::DenyList("SCMP_ACT_ERRNO"), "--explain");
    }
}

#[test]
fn namespaces() {
    check_all(&[
        case("unshare", &["unshare", "--user", "true"], &[0]),
        case(
            "setns",
            &["nsenter", "--net=/proc/self/ns/net", "true"],
            &[1],
        ),
        // As a browser starts its zygote.
        case(
            "clone",
            &["perl", "-e", "syscall(56, 0x70000011, 0, 0, 0, 0); exit 0"],
            &[0],
        ),
        case(
            "clone",
            &["perl", "-e", "syscall(56, 0x10000011, 0, 0, 0, 0); exit 0"],
            &[0],
        ),
        case(
            "clone3",
            &["perl", "-e", "$! = 0; syscall(435, 0, 0); exit $!"],
            &[],
        ),
        case(
            "chroot",
            &["perl", "-e", "$! = 0; chroot q(/); exit $!"],
            &[],
        ),
    ]);
}

#[test]
fn mounts_and_the_kernel() {
    check_all(&[
        case(
            "mount",
            &["perl", "-e", "$! = 0; syscall(165, 0, 0, 0, 0, 0); exit $!"],
            &[3],
        ),
        case(
            "umount2",
            &["perl", "-e", "$! = 0; syscall(166, 0, 8); exit $!"],
            &[1],
        ),
        case(
            "bpf",
            &["perl", "-e", "$! = 0; syscall(321, 0, 0, 0); exit $!"],
            &[0],
        ),
        case(
            "perf_event_open",
            &["perl", "-e", "$! = 0; syscall(298, 0, 0, 0, 0, 0); exit $!"],
            &[],
        ),
        case(
            "keyctl",
            &[
                "perl",
                "-e",
                "$! = 0; syscall(250, 0, 0, 0, 0, 0); exit $! == 130",
            ],
            &[0],
        ),
        case(
            "add_key",
            &["perl", "-e", "$! = 0; syscall(248, 0, 0, 0, 0, 0); exit $!"],
            &[],
        ),
        case(
            "io_uring_setup",
            &["perl", "-e", "$! = 0; syscall(425, 1, 0); exit $!"],
            &[],
        ),
    ]);
}

#[test]
fn flags_and_families() {
    check_all(&[
        case(
            "socket",
            &["perl", "-e", "$! = 0; syscall(41, 16, 3, 15); exit $!"],
            &[0, 1, 2],
        ),
        case(
            "socket",
            &["perl", "-e", "$! = 0; syscall(41, 40, 1, 0); exit $!"],
            &[0, 1, 2],
        ),
        case(
            "ioctl",
            &["perl", "-e", "$! = 0; syscall(16, 99, 0x5412, 0); exit $!"],
            &[1],
        ),
        case(
            "prctl",
            &[
                "perl",
                "-e",
                "$! = 0; syscall(157, 36, 1, 0, 0, 0); exit $!",
            ],
            &[0],
        ),
        case("personality", &["setarch", "-R", "true"], &[0]),
        case(
            "memfd_create",
            &[
                "perl",
                "-e",
                "$! = 0; my $name = q(x); syscall(319, $name, 1); exit $!",
            ],
            &[1],
        ),
        case(
            "userfaultfd",
            &["perl", "-e", "$! = 0; syscall(323, 1); exit $!"],
            &[0],
        ),
    ]);
}

#[test]
fn programs() {
    check_all(&[
        case("rename", &["git", "init", "-q", "repository"], &[]),
        case("epoll_create1", &["node", "-e", "0"], &[]),
        case(
            "getrandom",
            &["python3", "-c", "import ssl; ssl.create_default_context()"],
            &[],
        ),
        case(
            "pwrite64",
            &[
                "python3",
                "-c",
                "import sqlite3 as s; c = s.connect('t.db'); c.execute('create table if not exists t(a)'); c.execute('insert into t values(1)'); c.commit()",
            ],
            &[],
        ),
        case("mkdir", &["mkdir", "-p", "new"], &[]),
    ]);
}

/// A tracer cannot be traced, but it can be explained.
#[test]
fn strace_under_a_profile_without_ptrace() {
    require!(userland, ptrace, tool("strace"));
    let strace = case("ptrace", &["strace", "-o", "/dev/null", "true"], &[0]);
    check(&strace, Base::DenyList("SCMP_ACT_ERRNO"), "--explain");
    check(&strace, Base::AllowList, "--explain");
}

#[test]
fn signals_and_kills() {
    require!(userland, ptrace);
    let mkdir = case("mkdir", &["mkdir", "-p", "new"], &[]);
    for action in [
        "SCMP_ACT_TRAP",
        "SCMP_ACT_KILL_PROCESS",
        "SCMP_ACT_KILL_THREAD",
    ] {
        check(&mkdir, Base::DenyList(action), "--explain");
    }
    let unshare = case("unshare", &["unshare", "--user", "true"], &[0]);
    check(&unshare, Base::DenyList("SCMP_ACT_TRAP"), "--explain");
}

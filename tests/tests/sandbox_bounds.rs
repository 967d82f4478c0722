//! What a program in the default sandbox can use up, and what it can see of
//! nucleus.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use nucleus_tests::nucleus::{Said as _, path};
use nucleus_tests::scratch::Scratch;
use nucleus_tests::{elf32, require};

const NOBODY: u32 = 65534;

/// Runs a program in a sandbox that shows the probe; returns what it printed.
fn run(user: u32, options: &[&str], program: &[&str]) -> String {
    let scratch = Scratch::new();
    fs::set_permissions(scratch.path(), Permissions::from_mode(0o755)).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_sandbox-probe"), scratch.file("probe")).unwrap();
    let mut command = Command::new(path());
    command
        .arg("run")
        .args(options)
        .arg("--")
        .args(program)
        .current_dir(scratch.path())
        .stdin(Stdio::null());
    if user != 0 {
        command.uid(user).gid(user);
    }
    command.output().unwrap().code(0).out().to_owned()
}

/// Two numbers of the probe.
fn numbers(text: &str) -> (u64, u64) {
    let (first, second) = text.trim_end().split_once(' ').unwrap();
    (first.parse().unwrap(), second.parse().unwrap())
}

#[test]
fn the_private_folders_hold_half_of_the_memory() {
    require!(root, userns);
    let system = rustix::system::sysinfo();
    let memory = u64::from(system.mem_unit) * system.totalram;
    for user in [0, NOBODY] {
        let script = "for folder in /tmp \"$HOME\" /dev/shm; do ./probe room \"$folder\"; done";
        let shown = run(user, &[], &["sh", "-c", script]);
        let rooms: Vec<_> = shown.lines().map(numbers).collect();
        assert_eq!(rooms.len(), 3);
        // Together: they are folders of one file system, whose root has a little
        // besides.
        let (bytes, files) = rooms[0];
        assert!(
            rooms.iter().all(|room| *room == (bytes, files)),
            "{rooms:?}"
        );
        let half = memory / 2 + (1 << 20);
        assert!((memory / 3..=half).contains(&bytes), "{rooms:?}");
        assert!((memory >> 15..=half >> 13).contains(&files), "{rooms:?}");
    }
}

#[test]
fn a_full_folder_is_full() {
    require!(root, userns);
    for user in [0, NOBODY] {
        let options = ["--tmpfs", "/small:1M"];
        let shown = run(user, &options, &["./probe", "fill", "/small/file"]);
        let full = (1 << 20, libc::ENOSPC.unsigned_abs().into());
        assert_eq!(numbers(&shown), full);
    }
}

/// All of it ends with the program: the output would not end otherwise.
#[test]
fn a_fork_bomb_ends_at_the_limit() {
    require!(root, userns);
    for user in [0, NOBODY] {
        let shown = run(user, &["--rlimit", "nproc=100"], &["./probe", "fork-bomb"]);
        let (made, errno) = numbers(&shown);
        assert!((90..100).contains(&made), "{made}");
        assert_eq!(errno, u64::from(libc::EAGAIN.unsigned_abs()));
    }
}

#[test]
fn there_is_a_limit_of_tasks_by_default() {
    require!(root, userns);
    for user in [0, NOBODY] {
        let shown = run(user, &[], &["grep", "Max processes", "/proc/self/limits"]);
        let limits: Vec<_> = shown.split_whitespace().collect();
        assert_eq!(limits[2..4], ["4096", "4096"], "{shown}");
    }
}

#[test]
fn a_secret_in_the_command_line_of_nucleus_is_not_in_the_sandbox() {
    require!(root, userns);
    for user in [0, NOBODY] {
        let words = ["sh", "-c", "cat /proc/[0-9]*/cmdline; echo; echo $WORD"];
        let shown = run(user, &["-e", "WORD=of-the-caller"], &words);
        assert_eq!(shown.matches("of-the-caller").count(), 1, "{shown:?}");
        assert!(shown.ends_with("\nof-the-caller\n"), "{shown:?}");
        assert!(!shown.contains("WORD=of"), "{shown:?}");
    }
}

#[test]
fn programs_of_32_bits_run_where_that_is_allowed() {
    require!(root, userns, ia32);
    let scratch = Scratch::new();
    fs::set_permissions(scratch.path(), Permissions::from_mode(0o755)).unwrap();
    elf32::write_hello(&scratch.file("hello32")).unwrap();
    for user in [0, NOBODY] {
        let run = |options: &[&str]| {
            Command::new(path())
                .arg("run")
                .args(options)
                .args(["--", "./hello32"])
                .current_dir(scratch.path())
                .uid(user)
                .gid(user)
                .output()
                .unwrap()
        };
        let killed = run(&[]).code(128 + libc::SIGSYS);
        assert_eq!(killed.out(), "");
        assert!(
            killed.err().contains("--allow-arch x86"),
            "{}",
            killed.err()
        );
        let allowed = run(&["--allow-arch", "x86"]).code(0);
        assert_eq!(allowed.stdout, elf32::OUTPUT);
    }
}

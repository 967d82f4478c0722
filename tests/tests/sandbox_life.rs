//! Sandboxes that are many, or killed, leave nothing behind.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::hash::{BuildHasher as _, RandomState};
use std::io::Read as _;
use std::process::Stdio;
use std::time::Duration;

use nucleus_tests::nucleus::{Said as _, nucleus};
use nucleus_tests::require;
use nucleus_tests::scratch::Scratch;

/// Every process of the sandbox holds the write end of the pipe, from the
/// clone of init on: its end of file says that all of them are gone.
#[test]
fn nothing_is_left_of_a_killed_nucleus() {
    require!(userns);
    for kill in 0..30 {
        let (mut read, write) = std::io::pipe().unwrap();
        let mut run = nucleus(["run", "--", "sh", "-c"])
            .arg("setsid sleep 1000 & (sleep 1000 & exit 0); sleep 1000")
            .stdin(Stdio::null())
            .stdout(write)
            .spawn()
            .unwrap();
        // Not to wait for anything, but to hit another moment of the start.
        std::thread::sleep(Duration::from_micros(kill * 1300));
        run.kill().unwrap();
        run.wait().unwrap();
        let mut rest = Vec::new();
        read.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"");
    }
}

/// Folders, files and mounts neither: of sandboxes that make some of their own,
/// killed at random moments of the start and of the run.
#[test]
fn no_file_is_left_of_a_killed_nucleus() {
    require!(userns);
    let scratch = Scratch::new();
    for folder in ["workspace", "temporary"] {
        std::fs::create_dir(scratch.file(folder)).unwrap();
    }
    std::fs::write(scratch.file("token"), "secret").unwrap();
    let before = scratch.listing();
    for round in 0..60 {
        // Half of them in the start itself.
        let span = if round % 2 == 0 { 20_000 } else { 120_000 };
        let random = RandomState::new().hash_one(std::process::id());
        let moment = Duration::from_micros(random % span);
        let (mut read, write) = std::io::pipe().unwrap();
        let mut run = nucleus([
            "run",
            "--workspace",
            "workspace:cow",
            "--on-exit",
            "discard",
        ])
        .args(["--secret", "token:/run/token", "--tmpfs", "/scratch", "--"])
        .args([
            "sh",
            "-c",
            "echo x >new; echo x >/tmp/new; setsid sleep 1000 & sleep 1000",
        ])
        .current_dir(scratch.path())
        .env("TMPDIR", scratch.file("temporary"))
        .stdin(Stdio::null())
        .stdout(write)
        .spawn()
        .unwrap();
        std::thread::sleep(moment);
        run.kill().unwrap();
        run.wait().unwrap();
        let mut rest = Vec::new();
        read.read_to_end(&mut rest).unwrap();
        assert_eq!(scratch.listing(), before, "after {moment:?}");
        for folder in ["workspace", "temporary"] {
            let left = std::fs::read_dir(scratch.file(folder)).unwrap();
            assert_eq!(left.count(), 0, "{folder} after {moment:?}");
        }
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(" - tmpfs sandbox "), "{mounts}");
}

#[test]
fn many_sandboxes_start_at_once() {
    require!(userns);
    // In a gigabyte the kernel kills some of two hundred debug builds.
    let machine = rustix::system::sysinfo();
    let room = u64::from(machine.mem_unit) * machine.totalram;
    let count = if room < 4 << 30 { 20 } else { 200 };
    let running: Vec<_> = (0..count)
        .map(|number: u32| {
            nucleus(["run", "--", "sh", "-c", "echo $0"])
                .arg(number.to_string())
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for (number, run) in running.into_iter().enumerate() {
        let output = run.wait_with_output().unwrap().code(0);
        assert_eq!(output.out(), format!("{number}\n"));
    }
    // The source of every file system that a sandbox makes has this name.
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(" - tmpfs sandbox "), "{mounts}");
}

#[test]
fn the_program_s_end_is_the_end_of_what_it_left() {
    require!(userns);
    let output = nucleus(["run", "--", "sh", "-c", "setsid sleep 1000 & exit 9"])
        .stdin(Stdio::null())
        .output()
        .unwrap()
        .code(9);
    assert_eq!(output.err(), "");
}

//! Standard streams that are closed, or that nobody reads.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::{Command, Stdio};

use nucleus_tests::nucleus::{self, Said as _, nucleus};
use nucleus_tests::require;

/// Ends with a bit for each stream that is `/dev/null`.
const WHICH_ARE_NULL: &str = "
    null=0
    for n in 2 1 0; do
        null=$((null * 2))
        [ \"$(readlink /proc/$$/fd/$n)\" != /dev/null ] || null=$((null + 1))
    done
    exit $null";

/// Nothing that nucleus opens becomes a standard stream, of it or of the program.
#[test]
fn a_closed_stream_is_dev_null() {
    require!(userns);
    for view in [&[][..], &["--host"]] {
        for closed in 0..8 {
            let closings = ["<&-", ">&-", "2>&-"].iter().enumerate();
            let closings: String = closings
                .filter(|(stream, _closing)| closed & (1 << stream) != 0)
                .map(|(_stream, closing)| format!("{closing} "))
                .collect();
            Command::new("/bin/sh")
                .args(["-c", &format!("exec \"$@\" {closings}"), "sh"])
                .arg(nucleus::path())
                .arg("run")
                .args(view)
                .args(["--", "sh", "-c", WHICH_ARE_NULL])
                .stdin(Stdio::piped())
                .output()
                .unwrap()
                .code(closed);
        }
    }
}

#[test]
fn a_pipe_that_nobody_reads_is_an_error_of_nucleus() {
    require!(userns);
    let (_, unread) = std::io::pipe().unwrap();
    let said = nucleus(["run", "--print-plan", "--", "true"])
        .stdout(unread)
        .output()
        .unwrap()
        .code(125);
    assert_eq!(
        said.err(),
        "nucleus: cannot write the plan to standard output: Broken pipe (os error 32)\n"
    );
    // And if that cannot be said either, it is the same code.
    let (_, unread) = std::io::pipe().unwrap();
    nucleus(["run", "--", "/absent"])
        .stderr(unread)
        .output()
        .unwrap()
        .code(127);
}

#[test]
fn a_pipe_that_nobody_reads_ends_the_program() {
    require!(userns);
    let (_, unread) = std::io::pipe().unwrap();
    nucleus(["run", "--", "yes"])
        .stdout(unread)
        .output()
        .unwrap()
        .code(128 + 13);
}

/// What is in the buffer of standard output is written before nucleus ends.
#[test]
fn nothing_that_was_written_is_lost() {
    let list = nucleus(["seccomp", "list"]).output().unwrap().code(0);
    assert!(list.stdout.len() > 10_000, "{}", list.stdout.len());
    assert!(list.stdout.ends_with(b"\n"));
    let version = nucleus(["--version"]).output().unwrap().code(0);
    assert!(version.out().starts_with("nucleus "), "{}", version.out());
}

//! `--timeout`: the program ends in time, all of it, with exit code 124.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Output;

use nucleus_tests::nucleus::{Said as _, nucleus};
use nucleus_tests::require;
use nucleus_tests::scratch::{Scratch, TraceFile};

/// The output ends only when the last process that could write is gone.
fn run(options: &[&str], script: &str) -> Output {
    nucleus(["run"])
        .args(options)
        .args(["--", "sh", "-c", script])
        .output()
        .unwrap()
}

/// In either view.
fn check(options: &[&str], script: &str, code: i32, said: &str) {
    for view in [&["--host"][..], &[]] {
        let output = run(&[view, options].concat(), script).code(code);
        assert_eq!(output.err(), said, "{view:?} {options:?} {script}");
    }
}

#[test]
fn a_program_is_asked_to_end() {
    require!(userns);
    check(
        &["--timeout", "0.2s"],
        "exec sleep 1000",
        124,
        "nucleus: timed out after 200ms: ended by SIGTERM\n",
    );
}

#[test]
fn how_it_ends_then_does_not_matter() {
    require!(userns);
    check(
        &["--timeout", "200ms"],
        "trap 'exit 3' TERM; sleep 1000 & wait",
        124,
        "nucleus: timed out after 200ms: ended by SIGTERM\n",
    );
}

#[test]
fn a_program_that_ignores_that_is_killed() {
    require!(userns);
    check(
        &["--timeout", "2s", "--kill-after", "100ms"],
        "trap '' TERM; sleep 1000 & sleep 1000",
        124,
        "nucleus: timed out after 2s: killed, 100ms after SIGTERM\n",
    );
    check(
        &["--timeout", "200ms", "--kill-after", "0"],
        "trap 'exit 3' TERM; sleep 1000 & wait",
        124,
        "nucleus: timed out after 200ms: killed\n",
    );
}

/// Else it would not see the signal.
#[test]
fn a_program_that_stands_still_is_made_to_go_on() {
    require!(userns);
    check(
        &["--timeout", "200ms"],
        "kill -STOP $$; sleep 1000",
        124,
        "nucleus: timed out after 200ms: ended by SIGTERM\n",
    );
}

#[test]
fn what_ends_in_time_ends_as_always() {
    require!(userns);
    check(&["--timeout", "1h"], "exit 3", 3, "");
    check(&["--timeout", "1h"], "kill -TERM $$", 143, "");
}

#[test]
fn reports_of_denied_calls_are_written_as_always() {
    require!(userns, ptrace);
    let script = "unshare --mount true; exec sleep 1000";
    for (report, expected) in [
        ("--seccomp-log-denied", "nucleus: denied: unshare by "),
        ("--explain", "nucleus: denied: unshare(CLONE_NEWNS) "),
    ] {
        require!(tool("unshare"));
        let output = run(&["--timeout=3s", report], script).code(124);
        let said = output.err();
        assert!(said.contains("nucleus: timed out after 3s: "), "{said}");
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn a_trace_is_written_with_its_verdict() {
    require!(ptrace);
    let scratch = Scratch::new();
    let options = ["--host", "--timeout=1s", "-o", "trace"];
    let output = nucleus(["trace"])
        .args(options)
        .args(["--", "sh", "-c", "trap 'exit 0' TERM; sleep 1000 & wait"])
        .current_dir(scratch.path())
        .output()
        .unwrap()
        .code(124);
    assert_eq!(
        output.err(),
        "nucleus: timed out after 1s: ended by SIGTERM\n"
    );
    let trace = TraceFile::read(&scratch.file("trace"));
    assert!(trace.is_complete(), "{}", trace.verdict);
    assert!(trace.names().contains("execve"), "{:?}", trace.names());
}

/// A server never ends by itself.
#[test]
fn a_profile_is_learnt_of_a_program_that_is_ended() {
    require!(ptrace);
    let scratch = Scratch::new();
    let output = nucleus(["learn", "--host", "--timeout=3s", "-o", "profile"])
        .args(["--", "sleep", "1000"])
        .current_dir(scratch.path())
        .output()
        .unwrap()
        .code(124);
    let said = output.err();
    assert!(
        said.contains("nothing denied, time-out as before"),
        "{said}"
    );
    assert_eq!(scratch.listing(), ["profile"]);
}

#[test]
fn times_that_mean_nothing_are_usage_errors() {
    for (options, expected) in [
        (&["--timeout=0"][..], "in no time"),
        (&["--timeout=soon"], "\"soon\" is no time; write seconds"),
        (&["--kill-after=1s"], "--timeout <TIME>"),
    ] {
        let said = run(options, "true").code(125);
        assert!(said.err().contains(expected), "{options:?}: {}", said.err());
    }
}

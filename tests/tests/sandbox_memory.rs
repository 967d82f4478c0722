//! The memory of nucleus's own processes, before the program executes, is
//! nobody else's: they have privileges that the program will not have.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use nucleus_tests::nucleus::{Said as _, nucleus};
use nucleus_tests::require;

/// Where root gives the program an id that somebody else on the host has, too.
#[test]
fn another_process_of_the_program_s_user_cannot_open_it() {
    require!(userns, root);
    // No other test's: those may have processes of nucleus that are their own.
    let user = 60_123;
    let mut thief = Command::new(env!("CARGO_BIN_EXE_memory-thief"))
        .uid(user)
        .gid(user)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(thief.stdout.take().unwrap()).lines();
    assert_eq!(said.next().unwrap().unwrap(), "ready");
    // Alone, before a tracer and before a supervisor that takes a listener: the
    // last two have the program wait.
    let watched = [&[][..], &["--explain"], &["--net-allow", "192.0.2.1"]];
    for _ in 0..10 {
        for (ids, watched) in ["host", "keep-id"]
            .into_iter()
            .flat_map(|ids| watched.map(|watched| (ids, watched)))
        {
            let common = ["run", "--userns", ids, "--user", "60123", "--workdir", "/"];
            let words = [&common, watched, &["--", "true"]].concat();
            nucleus(words).output().unwrap().code(0);
        }
    }
    drop(thief.stdin.take());
    assert_eq!(said.next().unwrap().unwrap(), "0");
    assert!(thief.wait().unwrap().success());
}

//! Threads that change what is executed while it is judged: the denied program
//! never runs. `NUCLEUS_TEST_TRIES` says how often each is tried.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::process::Command;

use nucleus_tests::elf64::{self, Exits};
use nucleus_tests::nucleus::{Said as _, path};
use nucleus_tests::require;
use nucleus_tests::require::tries;
use nucleus_tests::scratch::Scratch;

/// How the tries of a race ended; `None`, aloud, where there is no program to
/// race with. The two programs' names differ by a byte.
fn race(kind: &str, exits: Exits, rule: &[&str], most: u64) -> Option<BTreeMap<String, u64>> {
    let place = Scratch::new();
    let file = |name: &str| place.file(name).display().to_string();
    elf64::write(&place.file("pass"), exits).unwrap();
    if elf64::write(&place.file("pasz"), Exits::With(77))
        .unwrap()
        .is_none()
    {
        nucleus_tests::require::say("no program for this machine");
        return None;
    }
    std::fs::copy(env!("CARGO_BIN_EXE_exec-race"), place.file("race-it")).unwrap();
    let rule: Vec<_> = rule
        .iter()
        .map(|word| word.replace("HERE", &file("")))
        .collect();
    let output = Command::new(path())
        .current_dir(place.path())
        .args(["run", "--host", "--exec-deny"])
        .args(rule)
        .args(["--", "./race-it", kind, &tries(most).to_string()])
        .args([file("pass"), file("pasz")])
        .output()
        .unwrap()
        .code(0);
    let lines = output.out().lines();
    let ends = lines.map(|line| {
        let (name, count) = line.split_once(": ").unwrap();
        (name.to_owned(), count.parse().unwrap())
    });
    let ends: BTreeMap<String, u64> = ends.collect();
    nucleus_tests::require::remark(&format!("{kind}: {ends:?}"));
    Some(ends)
}

fn check(ends: &BTreeMap<String, u64>) {
    assert_eq!((ends["through"], ends["odd"]), (0, 0), "{ends:?}");
    // Both judgements were reached, so that the race was one.
    assert!(
        ends["ran"] > 0 && ends["refused"] + ends["killed"] > 0,
        "{ends:?}"
    );
}

#[test]
fn a_path_that_is_rewritten_while_it_is_judged_wins_nothing() {
    require!(ptrace);
    if let Some(ends) = race("path", Exits::With(0), &["HEREpasz"], 400) {
        check(&ends);
    }
}

#[test]
fn a_link_that_is_swapped_while_it_is_judged_wins_nothing() {
    require!(ptrace);
    if let Some(ends) = race("link", Exits::With(0), &["HEREpasz"], 400) {
        check(&ends);
    }
}

#[test]
fn an_argument_that_is_rewritten_while_it_is_judged_wins_nothing() {
    require!(ptrace);
    if let Some(ends) = race("argument", Exits::WithItsArgument, &["HEREpass q"], 400) {
        check(&ends);
    }
}

#[test]
fn a_child_that_is_forked_during_an_exec_is_judged_as_well() {
    require!(ptrace);
    if let Some(ends) = race("fork", Exits::With(0), &["HEREpasz"], 200) {
        check(&ends);
    }
}

//! `--policy FILE` and `nucleus policy check FILE`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::process::{Command, Output};

use nucleus_tests::nucleus::{Said as _, path};
use nucleus_tests::require;
use nucleus_tests::scratch::Scratch;
use serde_json::Value;

fn nucleus(place: &Scratch, words: &[&str]) -> Output {
    let mut command = Command::new(path());
    command.args(words).current_dir(place.path());
    command.output().unwrap()
}

fn with(text: &str) -> Scratch {
    let place = Scratch::new();
    fs::write(place.file("p.toml"), text).unwrap();
    place
}

const ALL: &str = r#"
[network]
allow = ["a.test:443"]
deny = ["10.0.0.0/8"]
[exec]
allow = []
[paths]
deny = ["/home"]
[limits]
pids = 20
[program]
command = ["./policy"]
asks = ["exec"]
"#;

#[test]
fn a_check_says_what_each_rule_means_and_who_enforces_it() {
    let output = nucleus(&with(ALL), &["policy", "check", "p.toml"]).code(0);
    let expected = "\
network: sockets of TCP, UDP, unix and routing netlink alone: enforced by the kernel, by the filter
network: no way out but through the supervisor: enforced by the kernel
network: talk to a.test:443: enforced by the supervisor, as the listener of the filter
network: never talk to 10.0.0.0/8: enforced by the supervisor, as the listener of the filter
network: talk to nobody else: enforced by the supervisor, as the listener of the filter
network: listen at no port: enforced by the supervisor, as the listener of the filter
exec: execute nothing else but the program that the sandbox is made for: enforced by the supervisor, as the tracer
paths: deny /home and what is below it: enforced by the supervisor, as the listener of the filter
limits: at most 20 processes at a time: enforced by the kernel in a cgroup; where that is not to be had, the supervisor, as the tracer
program: ./policy may take more away while the program runs (version 1 of the protocol): enforced by the supervisor, as the tracer
program: what ./policy says of each program to execute that the rules allow: enforced by the supervisor, as the tracer
";
    assert_eq!(output.out(), expected);
    let output = nucleus(&with(ALL), &["policy", "check", "--json", "p.toml"]).code(0);
    let json: Value = serde_json::from_str(output.out()).unwrap();
    let rules = json["rules"].as_array().unwrap();
    assert_eq!(rules.len(), expected.lines().count());
    assert_eq!(rules[2]["rule"], "talk to a.test:443");
    assert_eq!(rules[2]["enforced_by"], "supervisor");
    assert_eq!(rules[2]["as"], "listener");
    assert_eq!(rules[8]["as"], "cgroup");
    assert_eq!(rules[8]["without_cgroup"], "tracer");
}

#[test]
fn what_is_wrong_is_said_before_anything_runs() {
    let place = with("[exec]\ndeny = [\"curl\",\n\"bin/git\"]\n");
    let run = ["run", "--policy", "p.toml", "--", "touch", "ran"];
    for words in [&run[..], &["policy", "check", "p.toml"]] {
        let output = nucleus(&place, words).code(125);
        let expected = "nucleus: cannot use the policy p.toml: line 3, column 1: \"bin/git\" is \
                        neither a name nor an absolute path; write it with its folders from / on\n";
        assert_eq!(output.err(), expected);
    }
    let missing = ["run", "--policy", "none.toml", "--", "true"];
    let output = nucleus(&place, &missing).code(125);
    assert!(output.err().contains("cannot read the policy none.toml"));
}

#[test]
fn the_file_and_the_options_add_up_and_a_denial_of_either_wins() {
    require!(ptrace, userland);
    let place = with("[exec]\nallow = [\"cat\"]\ndeny = [\"env\"]\n");
    let script = "cat /dev/null && echo cat; env >/dev/null && echo env; \
                  id >/dev/null && echo id; ls / >/dev/null && echo ls";
    let run = |options: &[&str]| {
        let words = ["run", "--host", "--policy", "p.toml"];
        let words = [&words[..], options, &["--", "sh", "-c", script]].concat();
        nucleus(&place, &words)
    };
    assert_eq!(run(&[]).out(), "cat\n");
    let more = ["--exec-allow", "id", "--exec-allow", "env"];
    assert_eq!(run(&more).out(), "cat\nid\n");
    assert_eq!(run(&["--exec-deny", "cat"]).out(), "");
}

#[test]
fn an_empty_list_allows_nothing() {
    require!(ptrace, userland);
    let place = with("[exec]\nallow = []\n");
    let words = ["run", "--host", "--policy", "p.toml", "--", "sh", "-c"];
    let words = [&words[..], &["cat /dev/null || echo denied"]].concat();
    let output = nucleus(&place, &words).code(0);
    assert_eq!(output.out(), "denied\n", "{}", output.err());
}

#[test]
fn of_two_limits_the_smaller_one_counts() {
    require!(ptrace, userns);
    let place = with("[limits]\npids = 20\nmemory = \"1G\"\n");
    let words = [
        "run", "--policy", "p.toml", "--pids", "30", "--memory", "512M",
    ];
    let words = [&words[..], &["--verbose", "--", "true"]].concat();
    let output = nucleus(&place, &words).code(0);
    if !output.err().contains("is enforced by the supervisor") {
        // A cgroup has them, and other tests look into those.
        return;
    }
    assert!(
        output.err().contains("--pids 20: enforced by the"),
        "{}",
        output.err()
    );
    assert!(
        output.err().contains("--memory 512M: enforced by the"),
        "{}",
        output.err()
    );
}

#[test]
fn a_network_of_the_file_does_not_go_with_the_host_s() {
    let place = with("[network]\nallow = [\"*\"]\n");
    let words = [
        "run",
        "--policy",
        "p.toml",
        "--network",
        "host",
        "--",
        "true",
    ];
    let output = nucleus(&place, &words).code(125);
    assert!(output.err().contains("leave one out"), "{}", output.err());
}

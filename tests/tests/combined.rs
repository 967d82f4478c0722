//! Rules that a supervisor enforces go with explaining, recording and learning,
//! for root and anybody else.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::process::Output;

use nucleus_tests::nucleus::Said as _;
use nucleus_tests::place::{Place, users};
use nucleus_tests::require;

/// A profile that forbids to make directories, and nothing else.
const NO_MKDIR: &str = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
    {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13}]}"#;

/// Something for the profile, the listener, and the guard to deny each.
const SCRIPT: &str = "mkdir new; exec 2>/dev/null; echo >/dev/tcp/192.0.2.1/443; /usr/bin/id; :";

const RULES: [&str; 4] = [
    "--net-allow",
    "198.51.100.7:443",
    "--exec-deny",
    "/usr/bin/id",
];

/// A folder of this user's own with a profile.
fn place(user: Option<u32>) -> Place {
    let place = Place::new().of(user);
    place.write("profile", NO_MKDIR);
    chown(place.path(), user, user).unwrap();
    place
}

/// In the host's view, under the profile and the rules.
fn run(place: &Place, options: &[&str], script: &str) -> Output {
    let words = [
        &["run", "--host", "--seccomp-profile", "profile"],
        &RULES[..],
        options,
        &["--", "bash", "-c", script],
    ];
    place.nucleus(&words.concat())
}

/// What nucleus said.
fn said(output: &Output) -> Vec<&str> {
    let lines = output.err().lines();
    lines
        .filter_map(|it| it.strip_prefix("nucleus: "))
        .collect()
}

#[track_caller]
fn assert_said(output: &Output, starts: &[&str], ends: &[&str]) {
    let said = said(output);
    assert_eq!(said.len(), starts.len(), "{said:#?}");
    for ((line, start), end) in said.iter().zip(starts).zip(ends) {
        assert!(line.starts_with(start), "{line}");
        assert!(line.ends_with(end), "{line}");
    }
}

#[test]
fn denials_of_the_profile_and_of_rules_are_explained_as_they_happen() {
    require!(ptrace, tool("bash"), tool("id"));
    for user in users() {
        let place = place(user);
        let output = run(&place, &["--explain"], SCRIPT).code(0);
        assert_said(
            &output,
            &[
                "denied: mkdir(\"new\", 0o777) got ",
                "denied: connect to 192.0.2.1:443 by /",
                "denied: execute /usr/bin/id by /",
            ],
            &[
                "to the names that profile allows",
                "): no rule allows it; to allow it, add --net-allow 192.0.2.1:443",
                "to allow it, leave out --exec-deny '/usr/bin/id'",
            ],
        );
        assert!(!place.path().join("new").exists());
    }
}

#[test]
fn denials_are_listed_at_the_end() {
    require!(ptrace, tool("bash"), tool("id"));
    for user in users() {
        let place = place(user);
        let twice = "for i in 1 2; do /usr/bin/id 2>/dev/null; done; :";
        let output = run(&place, &["--seccomp-log-denied"], twice).code(0);
        assert_said(
            &output,
            &["denied: execute /usr/bin/id by "],
            &["2 times: --exec-deny '/usr/bin/id' denies it; \
               to allow it, leave out --exec-deny '/usr/bin/id'"],
        );
    }
}

#[test]
fn denials_are_events_with_their_rule() {
    require!(ptrace, tool("bash"), tool("id"));
    for user in users() {
        let place = place(user);
        let command = format!(
            "./nucleus run --host --seccomp-profile profile {} --events 3 -- bash -c '{SCRIPT}' 3>events",
            RULES.join(" ")
        );
        let output = place.command("sh").args(["-c", &command]).output();
        output.unwrap().code(0);
        let events = fs::read_to_string(place.path().join("events")).unwrap();
        let events: Vec<serde_json::Value> = events
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let seen: Vec<_> = events
            .iter()
            .map(|event| (event["name"].as_str(), event["rule"]["remedy"].as_str()))
            .collect();
        let [(Some("mkdir" | "mkdirat"), None), rest @ ..] = seen.as_slice() else {
            panic!("{seen:?}");
        };
        let expected = [
            (Some("connect"), Some("add --net-allow 192.0.2.1:443")),
            (Some("execve"), Some("leave out --exec-deny '/usr/bin/id'")),
            (None, None),
        ];
        // A shell may try again.
        let mut rest = rest.to_vec();
        rest.dedup();
        assert_eq!(rest, expected);
        assert_eq!(events.last().unwrap()["verdict"], "complete");
    }
}

#[test]
fn a_trace_holds_the_calls_that_rules_answer() {
    require!(ptrace, tool("bash"), tool("id"));
    for user in users() {
        let place = place(user);
        let words = [
            &["trace", "--host", "-o", "trace"],
            &RULES[..],
            &["--", "bash", "-c", SCRIPT],
        ];
        place.nucleus(&words.concat()).code(0);
        let trace = fs::read_to_string(place.path().join("trace")).unwrap();
        for name in ["connect", "execve", "mkdir", "clone"] {
            let field = format!("\"name\":\"{name}\"");
            assert!(trace.contains(&field), "{name}: {trace}");
        }
        assert!(trace.contains("\"verdict\":\"complete\""), "{trace}");
        for name in ["seccomp", "prctl"] {
            let field = format!("\"name\":\"{name}\"");
            assert!(!trace.contains(&field), "of nucleus itself: {name}");
        }
    }
}

#[test]
fn a_profile_that_was_learned_under_rules_is_enough_under_them() {
    require!(ptrace, tool("bash"), tool("ls"));
    let script = "echo >/dev/tcp/192.0.2.1/443; ls >/dev/null; :";
    for user in users() {
        let place = place(user);
        let learn = [
            &["learn", "--host", "-o", "learned"],
            &RULES[..],
            &["--", "bash", "-c", script],
        ];
        let output = place.nucleus(&learn.concat()).code(0);
        assert!(
            output
                .err()
                .contains("second run under the profile: nothing denied"),
            "{}",
            output.err()
        );
        let learned = place.path().join("learned");
        fs::set_permissions(&learned, fs::Permissions::from_mode(0o644)).unwrap();
        let again = [
            &["run", "--host", "--explain", "--seccomp-profile", "learned"],
            &RULES[..],
            &["--", "bash", "-c", script],
        ];
        let output = place.nucleus(&again.concat()).code(0);
        assert_said(
            &output,
            &["denied: connect to 192.0.2.1:443 by "],
            &["add --net-allow 192.0.2.1:443"],
        );
    }
}

#[test]
fn a_rehearsal_lets_nothing_pass_the_rules() {
    require!(ptrace, tool("bash"), tool("ls"));
    // The second run asks for what the first did not: nobody would judge it.
    let script = "if [ -e first ]; then bash -c \"echo >/dev/tcp/127.0.0.1/$0\"; \
                  else : >first; fi; :";
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    for user in users() {
        let place = place(user);
        let words = [
            &["learn", "--host", "-o", "learned"],
            &RULES[..],
            &["--", "sh", "-c", script, &port],
        ];
        let output = place.nucleus(&words.concat()).code(125);
        let said = output.err();
        assert!(said.contains("denied: connect "), "{said}");
        assert!(listener.accept().is_err(), "it was reached");
    }
}

#[test]
fn limits_without_a_cgroup_are_explained() {
    require!(ptrace, tool("dash"));
    for user in users() {
        let place = place(user);
        let words = ["run", "--host", "--pids", "2", "--explain", "--"];
        // Other shells try again for half a minute.
        let script = "(:; (:; :); :); :";
        let output = place.nucleus(&[&words[..], &["dash", "-c", script]].concat());
        if !output.err().contains("is enforced by the supervisor") {
            require::say("this user has cgroups of its own");
            continue;
        }
        let said = said(&output);
        let of_limit = |line: &&&str| line.starts_with("denied: make a process by ");
        let line = said.iter().find(of_limit).unwrap();
        assert!(line.ends_with("to allow it, raise --pids 2"), "{line}");
    }
}

#[test]
fn what_cannot_go_together_says_what_to_do() {
    let place = place(None);
    let words = [
        &["trace", "--host", "--source", "kmsg", "-o", "trace"],
        &RULES[..],
        &["--", "true"],
    ];
    let output = place.nucleus(&words.concat()).code(125);
    assert!(
        output
            .err()
            .contains("record with --source ptrace, or leave out the rules"),
        "{}",
        output.err()
    );
}

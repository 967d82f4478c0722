//! Profiles on the command line: compile, list, diff, merge, lint, export.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::process::Output;

use nucleus_tests::nucleus::{Said as _, nucleus};
use nucleus_tests::scratch::{Scratch, run};
use serde_json::Value;

const PROFILE: &str = r#"{
    "defaultAction": "SCMP_ACT_ERRNO",
    "syscalls": [
        {"names": ["read", "write", "execve", "exit_group"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["socket"], "action": "SCMP_ACT_ALLOW",
         "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]}
    ]
}"#;

/// Runs `nucleus seccomp` in a directory with a profile, in the words
/// `--arch x86_64 --kernel 6.1`, so that the machine makes no difference.
fn seccomp(words: &[&str], profile: &str) -> (Output, Scratch) {
    let scratch = Scratch::new();
    fs::write(scratch.file("profile.json"), profile).unwrap();
    let target = ["--arch", "x86_64", "--kernel", "6.1"];
    let words = ["seccomp"].iter().chain(words).chain(&target);
    let output = run(nucleus(words), scratch.path());
    (output, scratch)
}

#[test]
fn what_is_compiled_verifies() {
    let (output, scratch) = seccomp(&["compile", "profile.json", "-o", "filter.bpf"], PROFILE);
    let output = output.code(0);
    assert_eq!((output.out(), output.err()), ("", ""));
    let words = [
        "seccomp",
        "verify",
        "profile.json",
        "--against",
        "filter.bpf",
    ];
    run(
        nucleus(words.iter().chain(&["--arch", "x86_64"])),
        scratch.path(),
    )
    .code(0);

    let (output, _) = seccomp(&["compile", "profile.json", "--format", "asm"], PROFILE);
    assert!(output.code(0).out().contains("; socket"));
    let (output, _) = seccomp(&["compile", "@default", "--json"], PROFILE);
    let json: Value = serde_json::from_str(output.code(0).out()).unwrap();
    assert!(json["filters"][0].is_object());
}

#[test]
fn calls_that_a_trace_has_often_come_first() {
    let (output, scratch) = seccomp(&["compile", "profile.json", "-o", "plain.bpf"], PROFILE);
    output.code(0);
    fs::write(
        scratch.file("hot.trace"),
        concat!(
            r#"{"syscall":41,"name":"socket","count":1000000,"arch":"x86_64"}"#,
            "\n",
            r#"{"verdict":"complete","calls":1000000,"arch":"x86_64"}"#,
            "\n"
        ),
    )
    .unwrap();
    let executed = |filter: &str| {
        let words = [
            "seccomp", "simulate", filter, "--json", "socket", "1", "--arch", "x86_64",
        ];
        let output = run(nucleus(words), scratch.path()).code(0);
        let json: Value = serde_json::from_str(output.out()).unwrap();
        assert_eq!(json["action"], "SCMP_ACT_ALLOW");
        json["executed"].as_u64().unwrap()
    };
    let words = [
        "seccomp",
        "compile",
        "profile.json",
        "--hot",
        "hot.trace",
        "-o",
        "hot.bpf",
    ];
    run(
        nucleus(words.iter().chain(&["--arch", "x86_64"])),
        scratch.path(),
    )
    .code(0);
    assert!(executed("hot.bpf") < executed("plain.bpf"));
}

#[test]
fn bad_profiles_are_refused_with_the_place_and_what_would_be_right() {
    for (from, to, message) in [
        (
            "defaultAction",
            "defaultActoin",
            "profile.json: line 2, column 19: unknown field `defaultActoin`, expected one of",
        ),
        (
            "\"SCMP_ACT_ALLOW\"}",
            "\"SCMP_ACT_ALLOWED\"}",
            "unknown action \"SCMP_ACT_ALLOWED\"; did you mean \"SCMP_ACT_ALLOW\"?",
        ),
        (
            "SCMP_CMP_EQ",
            "SCMP_CMP_EQUAL",
            "profile.json: line 6, column 66: unknown operator \"SCMP_CMP_EQUAL\"",
        ),
        (
            "\"index\": 0",
            "\"index\": 6",
            "argument 6; a call has arguments 0 to 5",
        ),
        (
            "\"value\": 1",
            "\"value\": -1",
            "invalid value: integer `-1`, expected u64",
        ),
        ("]\n}", "]\n", "EOF while parsing an object"),
    ] {
        let profile = PROFILE.replacen(from, to, 1);
        assert_ne!(profile, PROFILE, "{from}");
        let (output, scratch) = seccomp(&["compile", "profile.json", "-o", "filter"], &profile);
        let output = output.code(125);
        assert!(output.err().contains(message), "{}", output.err());
        assert!(
            output.err().contains("profile.json: line "),
            "{}",
            output.err()
        );
        assert_eq!(output.err().lines().count(), 1, "{}", output.err());
        assert_eq!(scratch.listing(), ["profile.json"]);
    }
}

#[test]
fn unknown_calls_are_notes_and_with_strict_errors() {
    let profile = PROFILE.replace("\"write\"", "\"wriet\"");
    let message =
        "profile.json: line 4, column 28: unknown system call \"wriet\"; did you mean \"write\"?";
    let (output, _) = seccomp(&["compile", "profile.json", "--format", "asm"], &profile);
    let output = output.code(0);
    assert!(output.err().contains(message), "{}", output.err());
    let (output, _) = seccomp(&["compile", "profile.json", "--strict"], &profile);
    let output = output.code(125);
    assert!(output.err().contains(message), "{}", output.err());
    assert_eq!(output.out(), "");
}

#[test]
fn diff_shows_calls_and_arguments() {
    let other = PROFILE
        .replace("\"write\", ", "")
        .replace("\"value\": 1", "\"value\": 2");
    let (output, scratch) = seccomp(&["diff", "profile.json", "profile.json"], PROFILE);
    assert_eq!(output.code(0).out(), "");
    fs::write(scratch.file("other.json"), other).unwrap();
    let words = [
        "seccomp",
        "diff",
        "profile.json",
        "other.json",
        "--arch",
        "x86_64",
    ];
    let output = run(nucleus(words), scratch.path()).code(1);
    let expected = "\
--- profile.json
+++ other.json
@@ x86_64 @@
-write: allow
-socket: allow if arg0 == 0x1
+socket: allow if arg0 == 0x2
";
    assert_eq!(output.out(), expected);
    let output = run(nucleus(words.iter().chain(&["--json"])), scratch.path()).code(1);
    let json: Value = serde_json::from_str(output.out()).unwrap();
    assert_eq!(json["arches"][0]["changes"][0]["about"], "write");
}

#[test]
fn merged_profiles_contain_or_are_contained() {
    let (output, scratch) = seccomp(
        &["merge", "profile.json", "@default", "-o", "union.json"],
        &PROFILE.replace("\"write\"", "\"mount\""),
    );
    output.code(125);
    // The default tests socket in its own way; without that, they merge.
    let plain = r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
        {"names": ["read", "mount"], "action": "SCMP_ACT_ALLOW"}]}"#;
    fs::write(scratch.file("plain.json"), plain).unwrap();
    let check = |words: &[&str], code| {
        let words = ["seccomp"].iter().chain(words).chain(&["--arch", "x86_64"]);
        run(nucleus(words), scratch.path()).code(code);
    };
    check(&["merge", "plain.json", "@default", "-o", "union.json"], 0);
    check(&["subset", "plain.json", "union.json"], 0);
    check(&["subset", "@default", "union.json"], 0);
    check(&["subset", "union.json", "@default"], 1);
    check(
        &[
            "merge",
            "plain.json",
            "@default",
            "--mode",
            "intersection",
            "-o",
            "both.json",
        ],
        0,
    );
    check(&["subset", "both.json", "plain.json"], 0);
    check(&["subset", "both.json", "@default"], 0);
    let union = fs::read_to_string(scratch.file("union.json")).unwrap();
    assert!(union.contains("from plain.json, @default"), "{union}");

    let words = ["seccomp", "merge", "plain.json", "@nested", "--json"];
    let output = run(nucleus(words), scratch.path()).code(0);
    let json: Value = serde_json::from_str(output.out()).unwrap();
    assert_eq!(json["profiles"][1], "@nested");
    assert_eq!(json["profile"]["defaultAction"], "SCMP_ACT_ERRNO");
}

#[test]
fn lint_finds_and_says_so_in_its_code() {
    let (output, _) = seccomp(&["lint", "@default"], PROFILE);
    assert_eq!(output.code(0).out(), "");
    let open = PROFILE.replace("\"write\"", "\"io_uring_setup\"");
    let (output, _) = seccomp(&["lint", "profile.json", "--json"], &open);
    let json: Value = serde_json::from_str(output.code(1).out()).unwrap();
    assert_eq!(json["findings"][0]["id"], "io-uring");
    let (output, _) = seccomp(&["lint", "profile.json", "--ignore", "io-uring"], &open);
    output.code(0);
}

#[test]
fn exports_say_what_they_cannot() {
    let (output, _) = seccomp(&["export", "profile.json", "--to", "systemd"], PROFILE);
    let output = output.code(0);
    let expected = "\
SystemCallArchitectures=native
SystemCallFilter=read write execve exit_group
SystemCallErrorNumber=EPERM
";
    assert_eq!(output.out(), expected);
    assert!(
        output.err().contains("refused altogether: socket"),
        "{}",
        output.err()
    );

    let (output, _) = seccomp(&["export", "profile.json", "--to", "kubernetes"], PROFILE);
    let object: Value = serde_json::from_str(output.code(0).out()).unwrap();
    assert_eq!(object["kind"], "SeccompProfile");
    assert_eq!(object["metadata"]["name"], "profile");

    let words = ["export", "profile.json", "--to", "systemd", "--json"];
    let (output, _) = seccomp(&words, PROFILE);
    let json: Value = serde_json::from_str(output.code(0).out()).unwrap();
    assert_eq!(json["text"], expected);
    assert_eq!(json["narrowed"][0], "socket");

    let (raw, _) = seccomp(&["export", "profile.json", "--to", "bubblewrap"], PROFILE);
    let (compiled, _) = seccomp(&["compile", "profile.json"], PROFILE);
    assert_eq!(raw.code(0).stdout, compiled.code(0).stdout);
}

#[test]
fn list_knows_numbers_groups_and_kernels() {
    let list = |words: &[&str]| {
        let scratch = Scratch::new();
        run(
            nucleus(["seccomp", "list"].iter().chain(words)),
            scratch.path(),
        )
    };
    let output = list(&["--arch", "x86_64", "openat2", "257", "--json"]).code(0);
    let json: Value = serde_json::from_str(output.out()).unwrap();
    let openat2 = &json["calls"][1];
    assert_eq!(openat2["number"], 437);
    assert_eq!(openat2["group"], "@file-system");
    assert_eq!(openat2["since"], "5.6");
    assert_eq!(json["calls"][0]["name"], "openat");

    let output = list(&["--arch", "aarch64", "@swap"]).code(0);
    assert_eq!(output.out().lines().count(), 2);
    let output = list(&["--groups"]).code(0);
    assert!(output.out().contains("@basic-io"));
    let output = list(&["--arch", "x86_64", "opneat"]).code(125);
    assert!(
        output
            .err()
            .contains("x86_64 has no system call \"opneat\"; did you mean openat?"),
        "{}",
        output.err()
    );
}

//! What cannot work is an error that says so, before anything is done.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use nucleus_tests::nucleus::{Said as _, nucleus};
use nucleus_tests::require;
use nucleus_tests::scratch::{Scratch, run};

/// Traces a program: the exit code, what standard error says, and no file left.
fn refused(program: &str, code: i32, word: &str) {
    let scratch = Scratch::new();
    let output = run(
        nucleus(["trace", "--host", "-o", "trace", "--", program]),
        scratch.path(),
    )
    .code(code);
    assert!(output.err().contains(word), "{}", output.err());
    assert_eq!(output.err().lines().count(), 1, "{}", output.err());
    assert!(scratch.listing().is_empty(), "{:?}", scratch.listing());
}

#[test]
fn a_missing_program_is_127() {
    require!(ptrace);
    refused("no-such-program", 127, "no-such-program");
    refused("/no/such/program", 127, "/no/such/program");
}

#[test]
fn what_is_not_executable_is_126() {
    require!(ptrace);
    let scratch = Scratch::new();
    let file = scratch.file("data");
    fs::write(&file, "\0data").unwrap();
    refused(file.to_str().unwrap(), 126, "data");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    refused(file.to_str().unwrap(), 126, "data");
    let directory = scratch.path().to_str().unwrap();
    refused(directory, 126, directory);
}

/// The program must not have run when the output cannot be written.
#[test]
fn an_output_that_cannot_be_written_is_125() {
    let check = |output: &str, word: &str| {
        for command in ["trace", "learn"] {
            let scratch = Scratch::new();
            fs::create_dir(scratch.file("directory")).unwrap();
            symlink("elsewhere", scratch.file("link")).unwrap();
            let said = run(
                nucleus([command, "--host", "-o", output, "--", "touch", "ran"]),
                scratch.path(),
            )
            .code(125);
            assert!(said.err().contains(word), "{command}: {}", said.err());
            assert_eq!(
                scratch.listing(),
                ["directory", "link"],
                "{command} {output}"
            );
        }
    };
    check("missing/file", "No such file or directory");
    check("/sys/kernel/nucleus", "/sys/kernel/nucleus");
    check("directory", "a directory");
    check("link", "a symbolic link");
    check("/dev/null", "a device");
}

#[test]
fn a_bad_trace_makes_no_profile() {
    const CALL: &str = r#"{"syscall":1,"name":"write","count":3,"arch":"x86_64"}"#;
    fn check(trace: impl AsRef<[u8]>, words: &[&str]) {
        let scratch = Scratch::new();
        fs::write(scratch.file("trace"), trace).unwrap();
        let said = run(
            nucleus(["seccomp", "generate", "trace", "-o", "profile"]),
            scratch.path(),
        )
        .code(125);
        for word in words {
            assert!(said.err().contains(word), "{}", said.err());
        }
        assert!(said.stdout.is_empty(), "{}", said.out());
        assert_eq!(scratch.listing(), ["trace"]);
    }
    check("", &["\"trace\"", "is empty"]);
    check("\u{fffd}", &["\"trace\"", "line 1"]);
    check(b"\xff\xfe\0", &["\"trace\"", "line 1", "not UTF-8"]);
    check("USER PID %CPU\n", &["line 1 is not a line of a trace"]);
    check(
        format!("{CALL}\n{}", &CALL[..20]),
        &["line 2 ends in its middle"],
    );
    check(
        format!("{CALL}\n"),
        &["incomplete", "no verdict", "--allow-incomplete"],
    );
    check(
        "{\"syscall\":64,\"name\":\"write\",\"count\":3,\"arch\":\"aarch64\"}\n\
         {\"verdict\":\"complete\",\"calls\":3,\"arch\":\"aarch64\"}\n",
        &["recorded on aarch64", "--arch aarch64"],
    );
    check(
        format!(
            "{CALL}\n{{\"verdict\":\"incomplete\",\"calls\":3,\"lost\":7,\
             \"why\":[\"the buffer ran over\"]}}\n"
        ),
        &["incomplete", "the buffer ran over"],
    );
}

#[test]
fn a_missing_trace_makes_no_profile() {
    let scratch = Scratch::new();
    let said = run(
        nucleus(["seccomp", "generate", "missing", "-o", "profile"]),
        scratch.path(),
    )
    .code(125);
    assert!(said.err().contains("\"missing\""), "{}", said.err());
    assert!(scratch.listing().is_empty());
}

#[test]
fn an_incomplete_trace_is_taken_when_allowed() {
    let scratch = Scratch::new();
    fs::write(
        scratch.file("trace"),
        "{\"syscall\":1,\"name\":\"write\",\"count\":3,\"arch\":\"x86_64\"}\n",
    )
    .unwrap();
    run(
        nucleus(["seccomp", "generate", "--allow-incomplete"]).args(["trace", "-o", "profile"]),
        scratch.path(),
    )
    .code(0);
    let profile = fs::read(scratch.file("profile")).unwrap();
    let profile: serde_json::Value = serde_json::from_slice(&profile).unwrap();
    assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
}

/// What a sandbox cannot be made of is said before the program starts, with
/// what to do about it.
#[test]
fn options_of_the_sandbox_that_mean_nothing() {
    require!(userns);
    for (options, word) in [
        (&["--bogus"][..], "unexpected argument '--bogus'"),
        (
            &["--workdir", "/nonexistent"],
            "sees no folder \"/nonexistent\"",
        ),
        (&["--rlimit", "nofile=99999999999"], "ulimit -H"),
        (&["--hostname", "a b"], "\"a b\" is no host name"),
        (&["-e", "=value"], "a variable is written NAME"),
        (&["--tmpfs", "relative"], "must be an absolute path"),
    ] {
        let mut command = nucleus(["run"]);
        let output = command.args(options).args(["--", "echo", "ran"]).output();
        let output = output.unwrap().code(125);
        assert!(output.err().contains(word), "{options:?} {}", output.err());
        assert_eq!(output.out(), "", "{options:?}");
    }
}

/// Options stand before the program; what stands behind it is its own.
#[test]
fn a_program_gets_its_options_without_dashes_before_it() {
    require!(userns);
    let output = nucleus(["run", "echo", "--host", "-x"]).output().unwrap();
    assert_eq!(output.code(0).out(), "--host -x\n");
}

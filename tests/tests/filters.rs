//! Filters on the command line: disasm, simulate, verify, equal, subset, difftest.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::Write as _;
use std::process::{Output, Stdio};

use nucleus_seccomp::difftest::Libseccomp;
use nucleus_seccomp::{Endian, Program};
use nucleus_tests::nucleus::{Said as _, nucleus};
use nucleus_tests::scratch::{Scratch, run};
use serde_json::{Value, json};

const PROFILE: &str = r#"{
    "defaultAction": "SCMP_ACT_ERRNO",
    "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
    "syscalls": [
        {"names": ["read", "write", "openat"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["ptrace"], "action": "SCMP_ACT_KILL_PROCESS"},
        {"names": ["personality"], "action": "SCMP_ACT_ALLOW",
         "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]}
    ]
}"#;

const LISTING: &str = "\
ld [arch]
jeq #x86_64, 2, 5
ld [nr]
jeq #41, 5, 4 ; socket
ret allow
ret errno(1)
";

/// A directory with a profile and a filter, and a run of nucleus in it.
fn seccomp(words: &[&str], input: &str) -> (Output, Scratch) {
    let scratch = Scratch::new();
    fs::write(scratch.file("profile.json"), PROFILE).unwrap();
    let program: Program = LISTING.parse().unwrap();
    fs::write(scratch.file("filter.bpf"), program.to_bytes(Endian::Little)).unwrap();
    fs::write(scratch.file("big.bpf"), program.to_bytes(Endian::Big)).unwrap();
    fs::write(scratch.file("filter.txt"), LISTING).unwrap();
    let mut child = nucleus(["seccomp"].iter().chain(words))
        .current_dir(scratch.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    (child.wait_with_output().unwrap(), scratch)
}

/// Checks the exit code and that standard output has these words.
fn check(words: &[&str], code: i32, needles: &[&str]) {
    let (output, _scratch) = seccomp(words, "");
    let output = output.code(code);
    for needle in needles {
        assert!(output.out().contains(needle), "{needle}: {}", output.out());
    }
}

/// Checks that it fails with one line that has these words.
fn check_error(words: &[&str], input: &str, needles: &[&str]) {
    let (output, _scratch) = seccomp(words, input);
    let output = output.code(125);
    assert_eq!(output.err().lines().count(), 1, "{}", output.err());
    for needle in needles {
        assert!(output.err().contains(needle), "{needle}: {}", output.err());
    }
}

#[test]
fn disasm_reads_both_byte_orders_and_listings() {
    let needles = ["jeq  #x86_64, 2, 5", "; socket", "ret  errno(1)"];
    for file in ["filter.bpf", "big.bpf", "filter.txt"] {
        check(&["disasm", file], 0, &needles);
    }
    check(
        &["disasm", "--format", "c", "big.bpf"],
        0,
        &["struct sock_filter filter[6]"],
    );
    let (output, scratch) = seccomp(&["disasm", "--format", "raw-be", "filter.txt"], "");
    assert_eq!(
        output.code(0).stdout,
        fs::read(scratch.file("big.bpf")).unwrap()
    );
    let (output, _scratch) = seccomp(&["disasm", "--json", "filter.bpf"], "");
    let json: Value = serde_json::from_str(output.code(0).out()).unwrap();
    assert_eq!(json["filters"][0]["length"], 6);
}

#[test]
fn disasm_says_what_is_no_filter() {
    check_error(&["disasm", "missing"], "", &["missing", "No such file"]);
    check_error(
        &["disasm", "profile.json"],
        "",
        &["profile.json", "compile"],
    );
    check_error(
        &["disasm", "-"],
        "ld [nr]\nbla 3",
        &["line 2", "bla 3", "mnemonic"],
    );
    check_error(&["disasm", "-"], "\0\0\0", &["3 bytes"]);
    check_error(
        &["disasm", "--pid", "1", "--index", "x"][..3],
        "",
        &["process 1"],
    );
}

#[test]
fn simulate_answers_one_call_or_many() {
    check(
        &["simulate", "filter.bpf", "socket", "1"],
        0,
        &[
            "socket(0x1, ",
            "on x86_64, number 41: errno(1)",
            "5 of 6 instructions",
        ],
    );
    check(
        &[
            "simulate",
            "profile.json",
            "--abi",
            "i386",
            "personality",
            "-1",
        ],
        0,
        &["on i386, number 136: errno(1)"],
    );
    let input = r#"{"arch":"x86_64","syscall":"openat","args":[-100,"0x10"]}
        {"syscall":135,"args":[8]}

        {"arch":"0x40000028","syscall":5}
    "#;
    let (output, _scratch) = seccomp(&["simulate", "profile.json", "--arch", "x86_64"], input);
    let output = output.code(0);
    let answers: Vec<Value> = output
        .out()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(answers.len(), 3);
    assert_eq!(answers[0]["action"], "SCMP_ACT_ALLOW");
    assert_eq!(answers[0]["cached"], true);
    assert_eq!(answers[0]["args"][0], json!((-100_i64).cast_unsigned()));
    assert_eq!(answers[1]["syscall"], "personality");
    assert_eq!(answers[1]["action"], "SCMP_ACT_ALLOW");
    assert_eq!(answers[1]["cached"], false);
    assert_eq!(answers[2]["action"], "SCMP_ACT_KILL_THREAD");
}

#[test]
fn simulate_says_which_line_is_wrong() {
    let simulate = ["simulate", "filter.bpf"];
    let good = "{\"syscall\":1}\n";
    for (line, needle) in [
        (r#"{"syscall":"opnat"}"#, "no system call \"opnat\""),
        (r#"{"syscall":1,"argz":[]}"#, "argz"),
        (r#"{"syscall":1,"args":[1,2,3,4,5,6,7]}"#, "at most 6"),
        (r#"{"syscall":1,"args":["x"]}"#, "\"x\" is no number"),
        (r#"{"syscall":1,"arch":"vax"}"#, "vax"),
        (r#"{"syscall":"#, "EOF"),
    ] {
        check_error(&simulate, &format!("{good}{line}\n"), &["line 2", needle]);
    }
}

#[test]
fn verify_proves_or_shows_the_call() {
    check(
        &["verify", "profile.json"],
        0,
        &["equivalent: ", " classes of calls"],
    );
    check(
        &[
            "verify",
            "profile.json",
            "--arch",
            "x86_64",
            "--against",
            "filter.txt",
        ],
        1,
        &[
            "not equivalent: ",
            "on x86_64",
            "profile.json: errno(1)",
            "filter.txt: allow",
        ],
    );
    let words = [
        "verify",
        "profile.json",
        "--against",
        "filter.bpf",
        "--json",
    ];
    let (output, _scratch) = seccomp(&words, "");
    let json: Value = serde_json::from_str(output.code(1).out()).unwrap();
    assert_eq!(json["answer"], "not equivalent");
    assert!(json["call"]["nr"].is_u64(), "{json}");
    check_error(&["verify", "profile.json", "--cap", "FLY"], "", &["FLY"]);
}

/// One constant of one instruction is enough.
#[test]
fn a_filter_that_was_changed_is_found_out() {
    let (output, scratch) = seccomp(&["compile", "profile.json", "--format", "raw"], "");
    let mut bytes = output.code(0).stdout;
    let against = |bytes: &[u8], code| {
        fs::write(scratch.file("changed.bpf"), bytes).unwrap();
        let words = [
            "seccomp",
            "verify",
            "profile.json",
            "--against",
            "changed.bpf",
        ];
        run(nucleus(words), scratch.path()).code(code);
    };
    against(&bytes, 0);
    let program = Program::from_raw(&bytes).unwrap().0;
    let at = program.insns().iter().position(|insn| insn.k == 8).unwrap();
    bytes[8 * at + 4] = 9;
    against(&bytes, 1);
}

#[test]
fn equal_and_subset_take_profiles_and_filters() {
    check(&["equal", "filter.bpf", "big.bpf"], 0, &["equal: "]);
    check(
        &["equal", "profile.json", "filter.bpf"],
        1,
        &["different: "],
    );
    check(
        &["equal", "profile.json", "profile.json", "--json"],
        0,
        &["\"answer\":\"equal\""],
    );
    check(
        &["subset", "profile.json", "filter.bpf"],
        1,
        &["not a subset: ", "filter.bpf: errno(1)"],
    );
    let (output, _scratch) = seccomp(&["subset", "-", "filter.bpf"], "ret errno(38)");
    output.code(0);
}

#[test]
fn difftest_compares_with_libseccomp() {
    if let Err(error) = Libseccomp::load() {
        check_error(&["difftest", "profile.json"], "", &["libseccomp"]);
        nucleus_tests::require::say(&error.to_string());
        return;
    }
    check(
        &["difftest", "profile.json"],
        0,
        &["no disagreement: ", " instructions, libseccomp "],
    );
}

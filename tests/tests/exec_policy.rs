//! `--exec-allow` and `--exec-deny`: what is meant works, and no attack brings
//! a denied program to run.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what the helpers cannot do fails the test that asked for it"
)]

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output, Stdio};

use nucleus_tests::elf32;
use nucleus_tests::nucleus::{Said as _, nucleus, path};
use nucleus_tests::require;
use nucleus_tests::require::stride;
use nucleus_tests::scratch::Scratch;

/// What the probe is kept from; it prints, so that its run would be seen.
const DENIED: &str = "/usr/bin/who";

struct Place(Scratch);

impl Place {
    /// A folder with the probe.
    fn new() -> Self {
        let place = Scratch::new();
        std::fs::copy(env!("CARGO_BIN_EXE_exec-probe"), place.file("probe")).unwrap();
        Self(place)
    }

    fn script(&self, name: &str, text: &str) {
        let file = self.0.file(name);
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn run(&self, rules: &[&str], command: &[&str]) -> Output {
        let mut run = Command::new(path());
        run.current_dir(self.0.path()).args(["run", "--host"]);
        run.args(rules).arg("--").args(command).output().unwrap()
    }

    /// What the probe printed when it was denied `denied`.
    fn attack(&self, attack: &str, allowed: &str, denied: &str) -> (Vec<i32>, String) {
        let rules = ["--exec-deny", denied];
        let output = self.run(&rules, &["./probe", attack, allowed, denied]);
        let ends = output.out().lines();
        let ends = ends.map(|end| end.parse().unwrap_or_else(|_| panic!("{attack}: {end}")));
        (ends.collect(), output.err().to_owned())
    }
}

#[test]
fn what_is_allowed_runs_and_all_else_is_refused() {
    require!(ptrace, userland);
    let place = Place::new();
    let script = "cat /dev/null && echo cat; ls / >/dev/null || echo no ls";
    let rules = ["--exec-allow", "cat"];
    let output = place.run(&rules, &["sh", "-c", script]);
    assert_eq!(output.out(), "cat\nno ls\n", "{}", output.err());
    assert!(output.err().contains("exec of /"));
}

#[test]
fn arguments_are_judged_one_by_one() {
    require!(ptrace, userland);
    let place = Place::new();
    let rules = ["--exec-deny", "env ... secret ..."];
    let script = "env echo public; env echo a secret; env echo 'a secret'; env echo secret b";
    let output = place.run(&rules, &["sh", "-c", script]);
    assert_eq!(output.out(), "public\na secret\n", "{}", output.err());
}

#[test]
fn a_script_needs_its_interpreter() {
    require!(ptrace, userland);
    let place = Place::new();
    place.script("hello", "#!/bin/sh\necho hello $1\n");
    place.script("outer", "#!./hello x\n");
    let program = ["sh", "-c", "./hello a; ./outer b"];
    let own = place.0.file("hello").display().to_string();
    let outer = place.0.file("outer").display().to_string();
    let both = place.run(
        &[
            "--exec-allow",
            &own,
            "--exec-allow",
            &outer,
            "--exec-allow",
            "sh",
        ],
        &program,
    );
    assert_eq!(both.out(), "hello a\nhello x\n", "{}", both.err());
    let one = place.run(&["--exec-allow", &own, "--exec-allow", &outer], &program);
    assert_eq!(one.out(), "", "{}", one.err());
    let denied = place.run(&["--exec-deny", &own], &program);
    assert_eq!(denied.out(), "", "{}", denied.err());
}

#[test]
fn in_a_sandbox_the_rules_are_about_what_is_there() {
    require!(ptrace, userns, userland);
    let run = nucleus([
        "run",
        "--exec-allow",
        "/usr/bin/*",
        "--exec-deny",
        "env",
        "--",
    ])
    .args(["sh", "-c", "ls -d / && cat /dev/null && env"])
    .output()
    .unwrap();
    assert_eq!(run.out(), "/\n", "{}", run.err());
    assert_eq!(run.status.code(), Some(126), "{}", run.err());
}

#[test]
fn the_program_itself_can_be_denied() {
    require!(ptrace, userland);
    let output = Place::new().run(&["--exec-deny", "env"], &["env"]);
    assert_eq!(output.status.code(), Some(126), "{}", output.err());
}

#[test]
fn no_detour_leads_to_a_denied_program() {
    require!(ptrace, userland);
    let place = Place::new();
    let denied = std::fs::canonicalize(DENIED).unwrap_or_else(|_| "/usr/bin/env".into());
    let denied = denied.to_str().unwrap();
    let interpreter = format!("#!{denied}\n");
    place.script("script", &interpreter);
    let allowed = "/usr/bin/true";
    for (attack, expected) in [
        ("allowed", 0),
        ("border", 0),
        ("plain", libc::EACCES),
        ("descriptor", libc::EACCES),
        ("proc-fd", libc::EACCES),
        ("folder", libc::EACCES),
        ("memory", libc::EACCES),
        ("link", libc::EACCES),
        ("no-follow", libc::ELOOP),
        ("script", libc::EACCES),
        ("vfork", libc::EACCES),
        ("beyond", libc::EFAULT),
        ("unreadable", libc::EFAULT),
        ("trace", libc::EPERM),
        ("listener", libc::EBUSY),
    ] {
        let (ends, said) = place.attack(attack, allowed, denied);
        assert_eq!(ends, [expected], "{attack}: {said}");
    }
}

#[test]
fn programs_and_execs_of_32_bits_are_judged_alike() {
    require!(ptrace, ia32, userland);
    let place = Place::new();
    elf32::write_hello(&place.0.file("hello")).unwrap();
    let hello = place.0.file("hello").display().to_string();
    let both = |rule: [&str; 2], command: &[&str]| {
        let rules = [&["--allow-arch", "x86"], &rule[..]].concat();
        place.run(&rules, command)
    };
    let output = both(["--exec-deny", &hello], &["sh", "-c", "./hello"]);
    assert_eq!(output.status.code(), Some(126), "{}", output.err());
    let output = both(["--exec-deny", "env"], &["sh", "-c", "./hello"]);
    assert_eq!(output.out().as_bytes(), elf32::OUTPUT, "{}", output.err());
    let attack = ["./probe", "32-bit", "/usr/bin/true", "/usr/bin/env"];
    let output = both(["--exec-deny", "env"], &attack);
    assert_eq!(
        output.out(),
        format!("{}\n", libc::EACCES),
        "{}",
        output.err()
    );
    // It would have worked.
    let output = both(["--exec-deny", "true"], &attack);
    assert_eq!(output.out(), "0\n", "{}", output.err());
}

#[test]
fn nothing_survives_a_nucleus_that_is_killed_at_any_moment() {
    require!(ptrace);
    let script = "while :; do echo x | cat; (sleep 1000 &); done";
    for moment in (0..30).step_by(stride() as usize) {
        let rules = ["--exec-deny", "env", "--pids", "100000"];
        let mut child = nucleus(["run", "--host"])
            .args(rules)
            .args(["--", "sh", "-c", script])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        for _ in 0..moment {
            output.read_line(&mut String::new()).unwrap();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // Whoever survives holds the pipe open.
        output.read_to_end(&mut Vec::new()).unwrap();
    }
}

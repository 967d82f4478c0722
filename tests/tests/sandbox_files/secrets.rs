//! Files that only the program reads.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::process::Stdio;

use nucleus_tests::nucleus::Said as _;
use nucleus_tests::require;

use super::place::{NOBODY, Place, USERS};

/// In two parts, so that this test's own words do not look like it.
const SECRET: [&str; 2] = ["correct horse", "battery staple"];

fn place(user: u32) -> Place {
    let place = Place::new(user);
    let [first, second] = SECRET;
    place.prepare(&format!("umask 77; echo '{first}' '{second}' > secret"));
    place
}

#[test]
fn only_the_program_reads_a_secret() {
    require!(root, userns);
    for user in USERS {
        let place = place(user);
        let look = "cat /run/secrets/key; stat -c '%a %s' /run/secrets/key; \
                    test $(stat -c %u /run/secrets/key) = $(id -u) && echo mine; \
                    grep ' /run/secrets/key ' /proc/self/mountinfo | cut -d ' ' -f 6";
        let words = [
            "--secret",
            "secret:/run/secrets/key",
            "--",
            "sh",
            "-c",
            look,
        ];
        let output = place.run(&words).code(0);
        let expected = format!(
            "{}\n400 29\nmine\nro,nosuid,nodev,noexec,relatime\n",
            SECRET.join(" ")
        );
        assert_eq!(output.out(), expected);
        let change = "chmod 600 /run/key; echo x > /run/key; rm -f /run/key; cat /run/key";
        let words = ["--secret", "secret:/run/key", "--", "sh", "-c", change];
        let output = place.run(&words).code(0);
        assert_eq!(output.out(), format!("{}\n", SECRET.join(" ")));
    }
}

#[test]
fn a_secret_comes_from_a_pipe() {
    require!(root, userns, tool("bash"));
    for user in USERS {
        let place = Place::new(user);
        let script = "./nucleus run --secret <(echo piped):/key -- cat /key";
        let output = place.command("bash").args(["-c", script]).output().unwrap();
        assert_eq!(output.code(0).out(), "piped\n");
    }
}

#[test]
fn what_is_no_secret_is_an_error_before_the_start() {
    require!(root, userns);
    let place = Place::new(NOBODY);
    place.prepare("truncate -s 2M large; touch none; chmod 0 none");
    for (source, why) in [
        ("absent", "could not open the secret \"absent\""),
        ("none", "could not open the secret \"none\""),
        (".", "must be a file of at most 1 MiB, or a pipe"),
        ("large", "must be a file of at most 1 MiB, or a pipe"),
        ("/dev/zero", "must be a file of at most 1 MiB, or a pipe"),
    ] {
        let secret = format!("{source}:/key");
        let output = place
            .run(&["--secret", &secret, "--", "echo", "started"])
            .code(125);
        assert!(output.err().contains(why), "{}", output.err());
        assert_eq!(output.out(), "");
    }
}

/// Neither the plan nor the memory of nucleus and of init has it.
#[test]
fn nobody_else_has_a_secret() {
    require!(root, userns);
    for user in USERS {
        let place = place(user);
        let words = ["--secret", "secret:/key", "--print-plan", "--", "true"];
        let plan = place.run(&words).code(0);
        assert!(plan.out().contains("copy a secret to \"/key\""));
        assert!(!plan.out().contains(SECRET[1]));

        let run = "cat /key; echo ready; read line";
        let mut nucleus = place
            .nucleus(&["--secret", "secret:/key", "--", "sh", "-c", run])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(nucleus.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), SECRET.join(" "));
        assert_eq!(lines.next().unwrap().unwrap(), "ready");
        let own = nucleus.id();
        let children = format!("/proc/{own}/task/{own}/children");
        let children = std::fs::read_to_string(children).unwrap();
        let init: u32 = children.trim().parse().unwrap();
        for pid in [own, init] {
            assert!(
                memory_has(pid, "nucleus"),
                "the memory of {pid} can be read"
            );
            assert!(
                !memory_has(pid, &SECRET.join(" ")),
                "user {user}, process {pid}"
            );
        }
        drop(nucleus.stdin.take());
        nucleus.wait().unwrap();
    }
}

/// Whether a text is anywhere in a process's writable memory.
fn memory_has(pid: u32, text: &str) -> bool {
    let process = Path::new("/proc").join(pid.to_string());
    let maps = std::fs::read_to_string(process.join("maps")).unwrap();
    let mut memory = File::open(process.join("mem")).unwrap();
    maps.lines()
        .filter(|line| line.contains(" rw"))
        .any(|line| {
            let (range, _rest) = line.split_once(' ').unwrap();
            let (start, end) = range.split_once('-').unwrap();
            let number = |text| u64::from_str_radix(text, 16).unwrap();
            let length = usize::try_from(number(end) - number(start)).unwrap();
            let mut bytes = vec![0; length];
            memory.seek(SeekFrom::Start(number(start))).unwrap();
            let read = memory.read(&mut bytes).unwrap_or(0);
            bytes[..read]
                .windows(text.len())
                .any(|part| part == text.as_bytes())
        })
}

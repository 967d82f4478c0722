//! The ptrace source and strace see the same calls.
#![allow(
    unsafe_code,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the children make raw system calls"
)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Command, Stdio};

use support::*;

const RUNS: u32 = 5;
/// A call that depends on timing, such as futex or restart_syscall, may need
/// more runs of either to show.
const MOST_RUNS: u32 = 60;

/// The names of the calls that one run under strace shows.
fn strace(command: &[&str], log: &Path) -> BTreeSet<String> {
    let status = Command::new("strace")
        .args(["-f", "-qq", "-e", "signal=none", "-o"])
        .arg(log)
        .args(command)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "strace {command:?}: {status}");
    let text = fs::read_to_string(log).unwrap();
    text.lines()
        .filter_map(|line| {
            let call = line.split_once(' ')?.1.trim_start();
            let name = call.split_once('(')?.0;
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            name.bytes().all(is_name).then(|| name.to_owned())
        })
        .collect()
}

fn recorded(command: &[&str]) -> BTreeSet<String> {
    let words: Vec<CString> = command
        .iter()
        .map(|word| CString::new(*word).unwrap())
        .collect();
    let words: Vec<&CStr> = words.iter().map(CString::as_c_str).collect();
    let null = File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .unwrap();
    let (pid, mut attached) = fork_waiting(|| {
        for fd in 0..2 {
            check(
                call(libc::SYS_dup3, [null.as_raw_fd() as usize, fd, 0]) >= 0,
                150,
            );
        }
        install(&nucleus_seccomp::Program::trace_all());
        exec(words[0], &words);
    });
    let mut source =
        nucleus_audit::PtraceSource::seize(pid, nucleus_audit::PtraceMode::Record).unwrap();
    std::io::Write::write_all(&mut attached, b"!").unwrap();
    let outcome = drain(&mut source);
    outcome.assert_well();
    outcome.counts().into_keys().collect()
}

#[test]
fn every_call_that_strace_always_sees_and_none_that_it_never_sees() {
    if Command::new("strace").arg("-V").output().is_err() {
        return skip("strace is not installed");
    }
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("strace");
    let threads = "import threading,subprocess\n\
        run=lambda: subprocess.run(['/bin/true'])\n\
        threads=[threading.Thread(target=run) for _ in range(4)]\n\
        [t.start() for t in threads]; [t.join() for t in threads]";
    let commands: [&[&str]; 4] = [
        &["/bin/ls", "-l", "/"],
        &["/bin/sh", "-c", "ls | sort | uniq -c; cat /etc/hostname"],
        &[
            "/bin/sh",
            "-c",
            "for i in 1 2 3 4 5 6 7 8 9; do /bin/true; done",
        ],
        &["/usr/bin/python3", "-c", threads],
    ];
    for command in commands {
        if !Path::new(command[0]).exists() {
            skip(&format!("{} is not installed", command[0]));
            continue;
        }
        let mut ever = BTreeSet::new();
        let mut always: Option<BTreeSet<String>> = None;
        let mut runs = 0;
        loop {
            let seen = strace(command, &log);
            always = Some(match always {
                None => seen.clone(),
                Some(always) => always.intersection(&seen).cloned().collect(),
            });
            ever.extend(seen);
            runs += 1;
            let ours = recorded(command);
            let missed: Vec<_> = always
                .iter()
                .flatten()
                .filter(|call| !ours.contains(*call))
                .collect();
            let invented: Vec<_> = ours.difference(&ever).collect();
            if missed.is_empty() && invented.is_empty() && runs >= RUNS {
                break;
            }
            assert!(
                runs < MOST_RUNS,
                "{command:?}: not recorded: {missed:?}; never seen by strace: {invented:?}"
            );
        }
    }
}

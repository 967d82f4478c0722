//! `bench trace`: what a traced run costs, next to `strace -f -c`, and that the
//! memory of the tracer does not grow with the number of calls.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::{Setting, memory, paired};
use crate::shell;

/// What is traced: many short processes, one that reads a lot, one that thinks.
fn workloads() -> Vec<(&'static str, Vec<String>)> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let root = shell::root();
    let root = root.to_string_lossy();
    let python = "import json, ssl, sqlite3, subprocess, os\n\
                  for path, _, names in os.walk('/usr/lib/python3'):\n    [os.stat(os.path.join(path, n)) for n in names]\n\
                  subprocess.run(['true'])";
    let python3 = if Path::new("/usr/bin/python3").exists() {
        "/usr/bin/python3"
    } else {
        "python3"
    };
    vec![
        (
            "sh",
            words(&[
                "sh",
                "-c",
                "i=0; while [ $i -lt 200 ]; do /bin/true; i=$((i + 1)); done",
            ]),
        ),
        (
            "git",
            words(&[
                "git",
                "-C",
                &root,
                "--no-pager",
                "log",
                "--stat",
                "-n",
                "30",
            ]),
        ),
        ("python3", words(&[python3, "-c", python])),
    ]
}

pub(crate) fn run(setting: &Setting) -> Result<()> {
    if !shell::installed("strace") {
        bail!("strace is not installed, and there is nothing else to compare with");
    }
    let scratch = tempfile::tempdir().context("making a temporary directory")?;
    let nucleus = |words: &[String]| traced(setting, &scratch.path().join("trace"), words);
    eprintln!("            bare     nucleus    strace    extra time, nucleus : strace");
    for (name, words) in workloads() {
        if !shell::installed(&words[0]) && !Path::new(&words[0]).exists() {
            eprintln!("{name:8} not installed");
            continue;
        }
        let mut bare = Command::new(&words[0]);
        bare.args(&words[1..]);
        let mut strace = Command::new("strace");
        strace.args(["-f", "-c", "-o"]);
        strace
            .arg(scratch.path().join("strace"))
            .arg("--")
            .args(&words);
        let times = paired::run(setting.rounds, &mut [bare, nucleus(&words), strace])?;
        let [bare, ours, theirs] = &times[..] else {
            bail!("three commands have not three times");
        };
        eprintln!(
            "{name:8} {:>7.1?}  {:>7.1?}  {:>7.1?}   {:.2}",
            bare.median(),
            ours.median(),
            theirs.median(),
            ours.median_extra(bare) / theirs.median_extra(bare),
        );
    }
    for calls in [100_000_u64, 1_000_000] {
        let peak = peak(setting, scratch.path(), calls)?;
        eprintln!("memory of nucleus at its peak, {calls} calls: {peak} KiB");
    }
    Ok(())
}

fn traced<Word: AsRef<OsStr>>(setting: &Setting, output: &Path, words: &[Word]) -> Command {
    let mut command = Command::new(&setting.nucleus);
    command
        .args(["trace", "--host", "-o"])
        .arg(output)
        .arg("--");
    command.args(words);
    command
}

/// The peak of resident memory, in KiB, of a nucleus that traces so many calls.
fn peak(setting: &Setting, scratch: &Path, calls: u64) -> Result<u64> {
    let blocks = format!("count={}", calls / 2);
    let words = [
        "dd",
        "if=/dev/zero",
        "of=/dev/null",
        "bs=1",
        &blocks,
        "status=none",
    ];
    memory::peak(&mut traced(setting, &scratch.join("trace"), &words))
}

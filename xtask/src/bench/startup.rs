//! `cargo xtask bench startup`: start to exit of `/bin/true` in the default
//! sandbox, next to bubblewrap with all its namespaces; and how large nucleus
//! is, in memory and as a file. `BENCH.md` says where the time goes.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::{Setting, memory, paired};

/// What bubblewrap needs for about the same view, without a filter.
const BUBBLEWRAP: &[&str] = &[
    "--unshare-all",
    "--ro-bind",
    "/",
    "/",
    "--proc",
    "/proc",
    "--dev",
    "/dev",
    "/bin/true",
];

/// The goals: time as a part of bubblewrap's, KiB, bytes.
const RATIO: f64 = 0.7;
const MEMORY: u64 = 8 << 10;
const SIZE: u64 = 5_000_000;

/// The fewest rounds that the goal may be judged by.
const ROUNDS: usize = 100;

/// Nucleus in parts: each line has less to do than the one above it, so that
/// the differences say where the time goes.
const PARTS: &[(&str, &[&str])] = &[
    ("nucleus run", &["run", "--", "/bin/true"]),
    (
        "  without a network namespace",
        &["run", "--network", "host", "--", "/bin/true"],
    ),
    (
        "  nor any other, nor mounts",
        &["run", "--host", "--", "/bin/true"],
    ),
    ("  nothing but its own start", &["--version"]),
];

pub(super) fn run(setting: &Setting) -> Result<()> {
    let nucleus = |words: &[&str]| {
        let mut command = Command::new(&setting.nucleus);
        command.args(words);
        command
    };
    let mut names: Vec<&str> = Vec::new();
    let mut commands = Vec::new();
    for (name, words) in PARTS {
        names.push(name);
        commands.push(nucleus(words));
    }
    names.push("/bin/true");
    commands.push(Command::new("/bin/true"));
    let with_peer = Command::new("bwrap").arg("--version").output().is_ok();
    if with_peer {
        let mut peer = Command::new("bwrap");
        peer.args(BUBBLEWRAP);
        names.push("bwrap --unshare-all");
        commands.push(peer);
    }
    let times = paired::run(setting.rounds.max(ROUNDS), &mut commands)?;
    for (name, times) in names.iter().zip(&times) {
        eprintln!("{name:30} {:6.2} ms", times.median().as_secs_f64() * 1e3);
    }
    match times.as_slice() {
        [sandbox, .., peer] if with_peer => {
            let ratio = sandbox.median().as_secs_f64() / peer.median().as_secs_f64();
            eprintln!("ratio of the medians to bwrap: {ratio:.2} (goal: at most {RATIO})");
        }
        _ => eprintln!("SKIPPED the ratio: no bwrap in PATH (apt-get install bubblewrap)"),
    }

    let peak = memory::peak(&mut nucleus(&["run", "--", "sleep", "0.1"]))?;
    let size = std::fs::metadata(&setting.nucleus)
        .with_context(|| format!("looking at {}", setting.nucleus.display()))?
        .len();
    eprintln!("memory of nucleus at its peak: {peak} KiB (goal: below {MEMORY})");
    eprintln!("size of the binary: {size} bytes (goal: below {SIZE})");
    // These do not depend on what else the machine does.
    ensure!(peak < MEMORY, "nucleus uses {peak} KiB of memory");
    ensure!(size < SIZE, "the binary has {size} bytes");
    Ok(())
}

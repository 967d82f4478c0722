//! `cargo xtask bench startup`: start to exit of `/bin/true` in the default
//! sandbox, next to bubblewrap with all its namespaces; and how large nucleus
//! is, in memory and as a file. `BENCH.md` says where the time goes.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::paired::Times;
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

/// What all of them find in their environment besides HOME, as after a login: how
/// much of the host nucleus shows depends on PATH, and cargo has its own there.
const ENVIRONMENT: &[(&str, &str)] = &[
    ("LANG", "C.UTF-8"),
    (
        "PATH",
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    ),
    ("TERM", "xterm"),
];

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
    let command = |program: &Path, words: &[&str]| {
        let mut command = Command::new(program);
        command.args(words).env_clear();
        command.envs(ENVIRONMENT.iter().copied());
        command.envs(std::env::var_os("HOME").map(|home| ("HOME", home)));
        command
    };
    let nucleus = |words: &[&str]| command(&setting.nucleus, words);
    let mut here = Command::new(&setting.nucleus);
    here.args(["run", "--", "/bin/true"]);
    let mut names: Vec<&str> = vec!["nucleus run, with the PATH of this shell"];
    let mut commands = vec![here];
    for (name, words) in PARTS {
        names.push(name);
        commands.push(nucleus(words));
    }
    names.push("/bin/true");
    commands.push(command("/bin/true".as_ref(), &[]));
    let with_peer = Command::new("bwrap").arg("--version").output().is_ok();
    if with_peer {
        names.push("bwrap --unshare-all");
        commands.push(command("bwrap".as_ref(), BUBBLEWRAP));
    }
    let times = paired::run(setting.rounds.max(ROUNDS), &mut commands)?;
    for (name, times) in names.iter().zip(&times) {
        eprintln!("{name:40} {:6.2} ms", times.median().as_secs_f64() * 1e3);
    }
    match times.as_slice() {
        [here, sandbox, .., peer] if with_peer => {
            let ratio = |of: &Times| of.median().as_secs_f64() / peer.median().as_secs_f64();
            eprintln!(
                "ratio of the medians to bwrap: {:.2} (goal: at most {RATIO}); {:.2} with the PATH of this shell",
                ratio(sandbox),
                ratio(here)
            );
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

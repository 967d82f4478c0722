//! `cargo xtask bench startup`: start to exit of `/bin/true` in the default
//! sandbox, next to bubblewrap with all its namespaces.

use std::process::Command;

use anyhow::Result;

use super::{Setting, paired};

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

/// The ratio to stay below.
const GOAL: f64 = 0.7;

pub(super) fn run(setting: &Setting) -> Result<()> {
    let mut sandbox = Command::new(&setting.nucleus);
    sandbox.args(["run", "--", "/bin/true"]);
    let mut host = Command::new(&setting.nucleus);
    host.args(["run", "--host", "--", "/bin/true"]);
    let bare = Command::new("/bin/true");
    let mut commands = vec![sandbox, host, bare];
    let with_peer = Command::new("bwrap").arg("--version").output().is_ok();
    if with_peer {
        let mut peer = Command::new("bwrap");
        peer.args(BUBBLEWRAP);
        commands.push(peer);
    }
    let times = paired::run(setting.rounds, &mut commands)?;
    let names = [
        "nucleus run",
        "nucleus run --host",
        "/bin/true",
        "bwrap --unshare-all",
    ];
    for (name, times) in names.iter().zip(&times) {
        eprintln!("{name:22} {:6.2} ms", times.median().as_secs_f64() * 1e3);
    }
    match times.as_slice() {
        [sandbox, _host, _bare, peer] => {
            let ratio = sandbox.median().as_secs_f64() / peer.median().as_secs_f64();
            eprintln!("ratio to bwrap: {ratio:.2} (goal: at most {GOAL})");
        }
        _ => eprintln!("SKIPPED the ratio: no bwrap in PATH (apt-get install bubblewrap)"),
    }
    Ok(())
}

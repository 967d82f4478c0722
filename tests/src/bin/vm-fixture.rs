//! Misbehaves in one way: `cargo xtask vm-test --selftest` proves with it that
//! every way is reported as what it is. Only for a VM of its own.

use std::fs;
use std::hint::black_box;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};
use rustix::mount::{MountFlags, mount};

fn main() -> Result<ExitCode> {
    let way = std::env::args().nth(1).context("usage: vm-fixture WAY")?;
    for line in 1..=60 {
        eprintln!("{way}: line {line}");
    }
    match way.as_str() {
        "pass" => {}
        "fail" => return Ok(ExitCode::from(3)),
        "panic" => {
            let empty: Vec<u8> = Vec::new();
            black_box(empty)[0] += 1;
        }
        "signal" => std::process::abort(),
        "hang" => loop {
            std::thread::park();
        },
        "mount" => {
            fs::create_dir_all("/mnt/left").context("making /mnt/left")?;
            mount("tmpfs", "/mnt/left", "tmpfs", MountFlags::empty(), None)
                .context("mounting on /mnt/left")?;
        }
        "process" => {
            Command::new("/bin/busybox")
                .args(["sleep", "1000"])
                .process_group(0)
                .spawn()
                .context("starting sleep")?;
        }
        "cgroup" => fs::create_dir("/sys/fs/cgroup/left").context("making a cgroup")?,
        "crash" => sysrq("c")?,
        "reboot" => sysrq("b")?,
        "memory" => {
            // All that is spent belongs to no process: killing does not help.
            mount(
                "tmpfs",
                "/mnt",
                "tmpfs",
                MountFlags::empty(),
                Some(c"size=100%"),
            )
            .context("mounting on /mnt")?;
            fs::write("/proc/self/oom_score_adj", "-1000").context("writing oom_score_adj")?;
            let block = vec![1; 1 << 20];
            for number in 0_u64.. {
                fs::write(format!("/mnt/{number}"), &block).context("filling the memory")?;
            }
        }
        _ => bail!("no such way: {way}"),
    }
    Ok(ExitCode::SUCCESS)
}

fn sysrq(command: &str) -> Result<()> {
    fs::write("/proc/sysrq-trigger", command).context("writing /proc/sysrq-trigger")
}

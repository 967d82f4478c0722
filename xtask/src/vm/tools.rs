//! The programs that the test VM needs on the host.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Result, bail};

use crate::shell;
use crate::vm::systemd;

/// A program and the Debian package it is in.
const TOOLS: &[(&str, &str)] = &[
    ("apt-get", "apt"),
    ("busybox", "busybox-static"),
    ("depmod", "kmod"),
    ("dpkg-deb", "dpkg"),
    ("ldd", "libc-bin"),
    ("modprobe", "kmod"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("setpriv", "util-linux"),
    ("strip", "binutils"),
    ("xz", "xz-utils"),
];

/// Packages whose programs tests run in the guest, see [`super::userland`].
const WANTED: &[&str] = &["git", "iproute2", "nftables", "python3-minimal", "strace"];

/// Fails with the command that helps if a tool is missing; with `install`,
/// runs it.
pub(crate) fn provide(install: bool) -> Result<()> {
    let mut packages: BTreeSet<&str> = TOOLS
        .iter()
        .filter(|(program, _)| !shell::installed(program))
        .map(|(_, package)| *package)
        .collect();
    if install {
        packages.extend(missing(WANTED));
    }
    if !packages.is_empty() && !install {
        let names = packages.iter().copied().collect::<Vec<_>>().join(" ");
        bail!("missing packages; as root: apt-get install {names} (or give --setup)");
    }
    fetch(packages.into_iter().collect())?;
    // The one machine that needs it is left out without.
    if install && let Err(error) = fetch(systemd::missing()) {
        eprintln!("warning: cannot install systemd: {error:#}");
    }
    Ok(())
}

fn fetch(packages: Vec<&str>) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    if !rustix::process::geteuid().is_root() {
        let names = packages.join(" ");
        bail!("--setup needs root to install; as root: apt-get install {names}");
    }
    let mut update = Command::new("apt-get");
    shell::run(update.args(["update", "--quiet=2"]))?;
    let mut command = Command::new("apt-get");
    command.args(["install", "--yes", "--quiet=2", "--no-install-recommends"]);
    shell::run(
        command
            .args(packages)
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )
}

/// Those of some packages that are not installed.
pub(super) fn missing(packages: &[&'static str]) -> Vec<&'static str> {
    // It says nothing, and fails, for those that it has never heard of.
    let output = Command::new("dpkg-query")
        .args(["--show", "--showformat=${Package} ${db:Status-Status}\\n"])
        .args(packages)
        .output();
    let said = output.map_or_else(|_| Vec::new(), |output| output.stdout);
    let said = String::from_utf8_lossy(&said);
    let installed = |package: &str| {
        let mut lines = said.lines();
        lines.any(|line| line.split_once(' ') == Some((package, "installed")))
    };
    let missing = packages.iter().filter(|package| !installed(package));
    missing.copied().collect()
}

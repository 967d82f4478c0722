//! The kernel modules that tests use, as a layer of the guest.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use nucleus_tests::vm::MODULES;

use crate::shell;
use crate::vm::cpio::Archive;
use crate::vm::kernel::Unpacked;

/// Loaded before the first test: the guest has no modprobe for the kernel to
/// call. What a kernel has built in drops out.
const WANTED: &[&str] = &[
    // the channel to the host
    "virtio_pci",
    "virtio_console",
    // what sandboxes are made of
    "overlay",
    "fuse",
    "veth",
    "bridge",
    "br_netfilter",
    "dummy",
    "tun",
    "nf_tables",
    "nft_chain_nat",
    "nft_ct",
    "nft_masq",
    "nft_reject_inet",
    // block devices to limit
    "loop",
    "null_blk",
    // what a filter must keep out
    "vsock_loopback",
];

/// The archive with the modules of this kernel; written once.
pub(crate) fn layer(kernel: &Unpacked) -> Result<PathBuf> {
    let path = kernel
        .root
        .join(format!("modules-{:016x}.cpio", super::hash(WANTED)));
    if path.is_file() {
        return Ok(path);
    }
    let partial = path.with_extension("partial");
    let file = File::create(&partial).with_context(|| format!("making {}", partial.display()))?;
    let mut archive = Archive::new(BufWriter::new(file));
    for (number, module) in in_order(kernel)?.iter().enumerate() {
        let name = module.file_name().context("a module without name")?;
        let name = name.to_string_lossy();
        let name = name.trim_end_matches(".xz");
        archive
            .file(
                &Path::new(MODULES).join(format!("{number:03}-{name}")),
                0o644,
                &content(module)?,
            )
            .with_context(|| format!("writing {}", partial.display()))?;
    }
    archive
        .finish()
        .with_context(|| format!("writing {}", partial.display()))?;
    fs::rename(&partial, &path).with_context(|| format!("naming {}", path.display()))?;
    Ok(path)
}

/// The files of the wanted modules, each after those it needs.
fn in_order(kernel: &Unpacked) -> Result<Vec<PathBuf>> {
    let modprobe = shell::find("modprobe").context("modprobe is missing")?;
    let mut files = Vec::new();
    for module in WANTED {
        let mut command = Command::new(&modprobe);
        command.arg("-d").arg(&kernel.root);
        command.args(["-S", &kernel.release, "--show-depends", module]);
        let text = shell::output(&mut command)?;
        for line in String::from_utf8_lossy(&text).lines() {
            // "insmod FILE OPTIONS" or "builtin NAME"
            let mut words = line.split_whitespace();
            if words.next() == Some("insmod")
                && let Some(file) = words.next().map(PathBuf::from)
                && !files.contains(&file)
            {
                files.push(file);
            }
        }
    }
    Ok(files)
}

fn content(module: &Path) -> Result<Vec<u8>> {
    if module
        .extension()
        .is_some_and(|extension| extension == "xz")
    {
        shell::output(Command::new("xz").arg("-dc").arg(module))
    } else {
        fs::read(module).with_context(|| format!("reading {}", module.display()))
    }
}

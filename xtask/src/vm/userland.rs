//! The real programs of the guest: the host's own, so that they and our tests
//! share one set of libraries.

use std::fs;
use std::hash::Hash;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::vm::tree::Tree;

/// Packages that come whole.
const PACKAGES: &[&str] = &[
    "bash",
    "coreutils",
    "dash",
    "findutils",
    "grep",
    "iproute2",
    "mawk",
    "mount",
    "nftables",
    "perl-base",
    "procps",
    "python3-minimal",
    "sed",
    "strace",
    "util-linux",
];

/// Programs whose packages hold more than a guest needs.
const PROGRAMS: &[&str] = &["/usr/bin/git", "/usr/bin/awk", "/usr/bin/which", "/bin/sh"];

/// What a program of the guest never reads.
const UNREAD: &[&str] = &[
    "/usr/share/bash-completion",
    "/usr/share/bug",
    "/usr/share/doc",
    "/usr/share/info",
    "/usr/share/lintian",
    "/usr/share/locale",
    "/usr/share/man",
    "/usr/share/zoneinfo",
];

pub(super) const PASSWD: &str = "\
root:x:0:0:root:/root:/bin/bash
user:x:1000:1000:user:/home/user:/bin/bash
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
";

pub(super) const GROUP: &str = "\
root:x:0:
tty:x:5:
user:x:1000:
nogroup:x:65534:
";

const TEXTS: &[(&str, &str)] = &[
    ("/etc/passwd", PASSWD),
    ("/etc/group", GROUP),
    ("/etc/shadow", "root:*:20000:0:99999:7:::\n"),
    ("/etc/hosts", "127.0.0.1 localhost vm\n::1 localhost\n"),
    ("/etc/hostname", "vm\n"),
    (
        "/etc/nsswitch.conf",
        "passwd: files\ngroup: files\nhosts: files\n",
    ),
    (
        "/etc/os-release",
        "ID=nucleus-test\nNAME=\"nucleus test VM\"\n",
    ),
];

/// The archive with the programs of the guest, kept in `directory`.
///
/// Looking at all of it takes seconds, so it is made again only when a package
/// has changed since.
pub(crate) fn layer(directory: &Path) -> Result<PathBuf> {
    let path = directory.join(format!(
        "userland-{:016x}.cpio",
        super::hash(&(installation()?, PACKAGES, PROGRAMS, UNREAD, TEXTS))
    ));
    if !path.is_file() {
        collect()?.write_to(&path)?;
    }
    Ok(path)
}

/// Changes when a package is installed, removed or brought up to date.
pub(super) fn installation() -> Result<impl Hash> {
    let status = fs::metadata("/var/lib/dpkg/status").context("looking at dpkg's status")?;
    Ok((status.size(), status.mtime(), status.mtime_nsec()))
}

fn collect() -> Result<Tree> {
    let mut tree = Tree::default();
    for link in ["/bin", "/sbin", "/lib", "/lib32", "/lib64"] {
        if let Ok(target) = fs::read_link(link) {
            tree.link(link, &target.to_string_lossy());
            tree.add(&Path::new("/").join(target))?;
        }
    }
    for path in [
        "/home/user",
        "/mnt",
        "/opt",
        "/proc",
        "/root",
        "/run",
        "/srv",
        "/sys",
        "/tmp",
        "/usr/local/bin",
        "/var/lib",
        "/var/tmp",
    ] {
        tree.directory(path);
    }
    for (path, text) in TEXTS {
        tree.text(path, text);
    }
    for package in packages() {
        for path in files(&package)? {
            tree.add(&path)?;
        }
    }
    for program in PROGRAMS {
        tree.add(Path::new(program))?;
    }
    let busybox = crate::shell::find("busybox").context("busybox is missing")?;
    tree.add(&busybox)?;
    tree.link("/usr/bin/vi", "busybox");
    tree.add_libraries()?;
    // Read by name at run time, so ldd does not know of it.
    tree.add(Path::new("/usr/lib/locale/C.utf8/LC_CTYPE"))?;
    Ok(tree)
}

/// [`PACKAGES`], and those of the Python that `python3` is.
fn packages() -> Vec<String> {
    let mut packages: Vec<String> = PACKAGES.iter().map(ToString::to_string).collect();
    if let Ok(python) = fs::read_link("/usr/bin/python3") {
        packages.push(format!("{}-minimal", python.display()));
        packages.push(format!("lib{}-minimal", python.display()));
    }
    packages
}

/// The files of an installed package; none if it is not installed, which the
/// tests that need it will say.
pub(super) fn files(package: &str) -> Result<Vec<PathBuf>> {
    let output = Command::new("dpkg-query")
        .args(["--listfiles", package])
        .output()
        .context("starting dpkg-query")?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text
        .lines()
        .map(PathBuf::from)
        .filter(|path| !UNREAD.iter().any(|unread| path.starts_with(unread)))
        .filter(|path| !path.is_dir())
        .collect())
}

//! What the plan of a sandbox must know of the host: read once, before
//! anything changes.

use std::collections::BTreeMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What a path of the host is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    Folder,
    /// Anything else that can be bound: file, device, socket.
    File,
    /// With its target as it is written.
    Link(PathBuf),
}

/// The host as a plan sees it.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    /// Effective ids of this process, and whether it may do everything.
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) home: Option<PathBuf>,
    pub(crate) current_dir: Option<PathBuf>,
    pub(crate) path: OsString,
    /// The folders at the root that hold programs and libraries, in order.
    pub(crate) system: BTreeMap<PathBuf, Node>,
    /// The files of `/etc` that programs need and that hold no secret.
    pub(crate) etc: BTreeMap<PathBuf, Node>,
    /// Files and folders of `/proc` that tell about the host or change it.
    pub(crate) sensitive_proc: BTreeMap<PathBuf, Node>,
    /// The name of the user, for `/etc/passwd`.
    pub(crate) user: String,
    /// The best Landlock ABI; 0 where there is none.
    pub(crate) landlock_abi: u32,
}

/// Where programs and their libraries are.
const SYSTEM: &[&str] = &[
    "/bin", "/gnu", "/lib", "/lib32", "/lib64", "/libx32", "/nix", "/opt", "/sbin", "/usr",
];

/// What programs read in `/etc` and may read: how to load libraries, verify
/// certificates, name zones, ports and types. No accounts, no keys.
const ETC: &[&str] = &[
    "/etc/alternatives",
    "/etc/bash.bashrc",
    "/etc/crypto-policies",
    "/etc/fonts",
    "/etc/host.conf",
    "/etc/inputrc",
    "/etc/java-11-openjdk",
    "/etc/java-17-openjdk",
    "/etc/java-21-openjdk",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/locale.alias",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/os-release",
    "/etc/perl",
    "/etc/pki",
    "/etc/profile",
    "/etc/protocols",
    "/etc/services",
    "/etc/ssl",
    "/etc/terminfo",
    "/etc/timezone",
    "/etc/xml",
];

/// As container engines mask them.
const SENSITIVE_PROC: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/sysrq-trigger",
    "/proc/timer_list",
];

impl Host {
    /// Reads what there is.
    pub(crate) fn read() -> Self {
        let uid = rustix::process::geteuid().as_raw();
        Self {
            uid,
            gid: rustix::process::getegid().as_raw(),
            home: env::var_os("HOME").map(PathBuf::from),
            current_dir: env::current_dir().ok(),
            path: env::var_os("PATH").unwrap_or_default(),
            system: nodes(SYSTEM),
            etc: nodes(ETC),
            sensitive_proc: nodes(SENSITIVE_PROC),
            user: user_name(uid).unwrap_or_else(|| "user".to_owned()),
            landlock_abi: crate::sys::landlock_abi(),
        }
    }

    /// Whether this process has the privileges of root.
    pub(crate) const fn is_root(&self) -> bool {
        self.uid == 0
    }
}

fn nodes(paths: &[&str]) -> BTreeMap<PathBuf, Node> {
    paths
        .iter()
        .filter_map(|path| Some((PathBuf::from(path), node(Path::new(path))?)))
        .collect()
}

/// What is at a path; `None` for nothing, and for what cannot be looked at.
pub(crate) fn node(path: &Path) -> Option<Node> {
    let kind = fs::symlink_metadata(path).ok()?.file_type();
    Some(if kind.is_symlink() {
        Node::Link(fs::read_link(path).ok()?)
    } else if kind.is_dir() {
        Node::Folder
    } else {
        Node::File
    })
}

/// The name of a user in `/etc/passwd` (passwd(5)), if it is a plain word.
fn user_name(uid: u32) -> Option<String> {
    let passwd = fs::read_to_string("/etc/passwd").ok()?;
    let name = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    })?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    (!name.is_empty() && name.chars().all(plain)).then(|| name.to_owned())
}

/// The folders outside of [`SYSTEM`] that the programs along PATH need: each
/// folder of PATH, or the installation that it belongs to.
///
/// Neither the home folder itself nor `~/.local`, which hold more than
/// programs, are ever shown whole.
pub(crate) fn tool_folders(path: &OsStr, home: Option<&Path>) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = Vec::new();
    let mut add = |folder: PathBuf| {
        if !folders.iter().any(|known| folder.starts_with(known)) {
            folders.retain(|known| !known.starts_with(&folder));
            folders.push(folder);
        }
    };
    for entry in env::split_paths(path) {
        if !entry.is_absolute() || is_system(&entry) || !entry.is_dir() {
            continue;
        }
        // Rustup's programs are stand-ins for those of a toolchain, and cargo
        // keeps what it has downloaded beside them, with its credentials.
        if let Some(cargo) = entry.parent().filter(|_| entry.ends_with(".cargo/bin")) {
            for part in ["registry", "git", "config.toml", "env"] {
                add(cargo.join(part));
            }
            if let Some(rustup) = cargo.parent() {
                add(rustup.join(".rustup"));
            }
        }
        add(installation(&entry, home));
    }
    folders.retain(|folder| folder.exists());
    folders
}

/// The installation that a folder of programs belongs to: its parent, if that
/// has libraries too; otherwise the folder alone.
pub(crate) fn installation(programs: &Path, home: Option<&Path>) -> PathBuf {
    let parent = programs.parent().filter(|parent| {
        let holds_more = Some(*parent) == home
            || parent.ends_with(".local")
            || parent.ends_with(".cargo")
            || parent.parent().is_none();
        !holds_more
            && ["lib", "lib64", "libexec", "versions"]
                .iter()
                .any(|library| parent.join(library).is_dir())
    });
    parent.unwrap_or(programs).to_owned()
}

/// Whether a path is in a folder that every sandbox shows.
pub(crate) fn is_system(path: &Path) -> bool {
    SYSTEM.iter().any(|system| path.starts_with(system))
}

/// The owner of a file, for an id-mapped mount.
pub(crate) fn owner(path: &Path) -> std::io::Result<(u32, u32)> {
    let metadata = fs::metadata(path)?;
    Ok((metadata.uid(), metadata.gid()))
}

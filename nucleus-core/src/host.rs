//! What the plan of a sandbox must know of the host: read once, before
//! anything changes.

use std::env;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs::{self, File};
use std::io::Read;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStringExt;

use rustix::fs::{CWD, FileType};

use crate::cpath::CPath;

/// What a path of the host is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    Folder,
    /// Anything else that can be bound: file, device, socket.
    File,
    /// With its target as it is written.
    Link(CString),
}

/// The host as a plan sees it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Host {
    /// Effective ids of this process.
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// User 0 is another one outside of this user namespace.
    pub(crate) disguised: bool,
    /// The id that a program gets when root runs it, where there is one.
    pub(crate) guest: Option<u32>,
    /// The ids that root may give away here: each first one, and the one behind
    /// the last.
    pub(crate) user_extents: Vec<(u32, u32)>,
    pub(crate) group_extents: Vec<(u32, u32)>,
    /// The id on the disk of what such programs wrote to a layer that is kept:
    /// none of them ever has it.
    pub(crate) keeper: Option<u32>,
    /// For choosing among ids.
    pub(crate) random: u32,
    pub(crate) home: Option<CPath>,
    pub(crate) current_dir: Option<CPath>,
    pub(crate) path: OsString,
    /// The folders at the root that hold programs and libraries, in order.
    pub(crate) system: Vec<(CPath, Node)>,
    /// The files of `/etc` that programs need and that hold no secret.
    pub(crate) etc: Vec<(CPath, Node)>,
    /// Files and folders of `/proc` that tell about the host or change it.
    pub(crate) sensitive_proc: Vec<(CPath, Node)>,
    /// Main memory in bytes.
    pub(crate) memory: u64,
    /// How many tasks this process may limit others to, `None` for any number.
    pub(crate) most_tasks: Option<u64>,
    /// The best Landlock ABI; 0 where there is none.
    pub(crate) landlock_abi: u32,
}

/// Where programs and their libraries are.
const SYSTEM: &[&CStr] = &[
    c"/bin", c"/gnu", c"/lib", c"/lib32", c"/lib64", c"/libx32", c"/nix", c"/opt", c"/sbin",
    c"/usr",
];

/// What programs read in `/etc` and may read: how to load libraries, verify
/// certificates, name zones, ports and types. No accounts, no keys.
const ETC: &[&CStr] = &[
    c"/etc/alternatives",
    c"/etc/bash.bashrc",
    c"/etc/crypto-policies",
    c"/etc/fonts",
    c"/etc/host.conf",
    c"/etc/inputrc",
    c"/etc/java-11-openjdk",
    c"/etc/java-17-openjdk",
    c"/etc/java-21-openjdk",
    c"/etc/ld.so.cache",
    c"/etc/ld.so.conf",
    c"/etc/ld.so.conf.d",
    c"/etc/locale.alias",
    c"/etc/localtime",
    c"/etc/mime.types",
    c"/etc/os-release",
    c"/etc/perl",
    c"/etc/pki",
    c"/etc/profile",
    c"/etc/protocols",
    c"/etc/services",
    c"/etc/ssl",
    c"/etc/terminfo",
    c"/etc/timezone",
    c"/etc/xml",
];

/// The devices that every program may use.
pub(crate) const DEVICES: [&CStr; 6] = [
    c"/dev/full",
    c"/dev/null",
    c"/dev/random",
    c"/dev/tty",
    c"/dev/urandom",
    c"/dev/zero",
];

/// As container engines mask them.
const SENSITIVE_PROC: &[&CStr] = &[
    c"/proc/acpi",
    c"/proc/asound",
    c"/proc/interrupts",
    c"/proc/kcore",
    c"/proc/keys",
    c"/proc/latency_stats",
    c"/proc/sched_debug",
    c"/proc/scsi",
    c"/proc/sysrq-trigger",
    c"/proc/timer_list",
];

impl Host {
    /// Reads what there is. `random` picks among the ids that are free.
    pub(crate) fn read(random: u32) -> Self {
        let uid = rustix::process::geteuid().as_raw();
        // Nobody but root gives ids away.
        let id_map = |file| {
            if uid == 0 {
                read_id_map(file)
            } else {
                String::new()
            }
        };
        let users = id_map("/proc/self/uid_map");
        let user_extents = id_extents(&users);
        let group_extents = id_extents(&id_map("/proc/self/gid_map"));
        let guest = guest_id(&user_extents, random)
            .filter(|id| guest_id(&group_extents, random) == Some(*id));
        let system = rustix::system::sysinfo();
        let tasks = rustix::process::getrlimit(rustix::process::Resource::Nproc);
        Self {
            uid,
            random,
            guest,
            keeper: keeper_id(&user_extents).filter(|id| keeper_id(&group_extents) == Some(*id)),
            user_extents,
            group_extents,
            gid: rustix::process::getegid().as_raw(),
            disguised: is_disguised(&users),
            home: env::var_os("HOME").and_then(absolute),
            current_dir: env::current_dir()
                .ok()
                .and_then(|path| absolute(path.into())),
            path: env::var_os("PATH").unwrap_or_default(),
            system: nodes(SYSTEM),
            etc: nodes(ETC),
            sensitive_proc: nodes(SENSITIVE_PROC),
            memory: u64::from(system.mem_unit).saturating_mul(system.totalram),
            most_tasks: tasks.maximum,
            landlock_abi: crate::sys::landlock_abi(),
        }
    }

    /// The id that owns nothing, if root runs the program. Root of a user
    /// namespace without ids to give away is an ordinary user in disguise, and
    /// is treated as one.
    pub(crate) fn root_s_guest(&self) -> Option<u32> {
        self.guest.filter(|_id| self.uid == 0)
    }

    /// Whether this process is the host's root, as far as it can be known: root
    /// of a user namespace may be another user of the host in disguise.
    pub(crate) const fn is_root(&self) -> bool {
        self.uid == 0 && !self.disguised
    }

    /// The first of `count` ids that own nothing, if root runs the program on
    /// a host that has them.
    pub(crate) fn guest_range(&self, count: u32) -> Option<u32> {
        let offset = self.root_s_guest()?.checked_sub(GUEST_IDS.start)?;
        let first = GUEST_IDS.start + offset / count * count;
        (first + count <= GUEST_IDS.end).then_some(first)
    }
}

/// The ids that programs get when root runs them: above all that systemd
/// hands out (0x7000_0000 is its documented end), below the signed limit, and
/// another one for each sandbox, so that none can touch another's processes.
const GUEST_IDS: std::ops::Range<u32> = 0x7000_0000..0x7fff_0000;

/// An id that owns nothing, out of those that a `uid_map` has
/// (user_namespaces(7)): of [`GUEST_IDS`] on a host; near the end of what a
/// container was given.
fn guest_id(extents: &[(u32, u32)], random: u32) -> Option<u32> {
    /// A container with fewer ids has none to spare.
    const SPARE: u32 = 10_000;
    let extents = extents.iter().copied();
    let (first, end) = extents.max_by_key(|(first, end)| end - first)?;
    if first <= GUEST_IDS.start && GUEST_IDS.end < end {
        return Some(GUEST_IDS.start + random % (GUEST_IDS.end - GUEST_IDS.start));
    }
    // Below nobody, 65534, who owns what has no owner.
    (end - first > SPARE).then(|| end - 16 - random % (SPARE / 10))
}

/// The id next to those of [`guest_id`].
fn keeper_id(extents: &[(u32, u32)]) -> Option<u32> {
    let highest = guest_id(extents, 0)?;
    Some(if highest == GUEST_IDS.start {
        GUEST_IDS.end
    } else {
        highest + 1
    })
}

/// What a `uid_map` says; nothing where there is none. It has no size to ask for,
/// and is short.
fn read_id_map(path: &str) -> String {
    let mut map = String::with_capacity(512);
    let read = File::open(path).and_then(|file| file.take(1 << 16).read_to_string(&mut map));
    if read.is_ok() { map } else { String::new() }
}

/// The ids that a `uid_map` has: each first one, and the one behind the last.
fn id_extents(map: &str) -> Vec<(u32, u32)> {
    let extents = map.lines().filter_map(|line| {
        let mut fields = line.split_whitespace();
        let first: u32 = fields.next()?.parse().ok()?;
        let count: u32 = fields.nth(1)?.parse().ok()?;
        Some((first, first.saturating_add(count)))
    });
    extents.collect()
}

/// Those of the paths that there are, in their order.
fn nodes(paths: &[&'static CStr]) -> Vec<(CPath, Node)> {
    let nodes = paths
        .iter()
        .filter_map(|path| Some((CPath::from(*path), node(path)?)));
    nodes.collect()
}

/// The longest path that the kernel takes, `include/uapi/linux/limits.h`.
const PATH_MAX: usize = 4096;

/// What is at a path; `None` for nothing, and for what cannot be looked at.
pub(crate) fn node(path: &CStr) -> Option<Node> {
    let stat = rustix::fs::lstat(path).ok()?;
    Some(match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => {
            let mut room = [MaybeUninit::uninit(); PATH_MAX];
            let (target, _rest) = rustix::fs::readlinkat_raw(CWD, path, &mut room).ok()?;
            Node::Link(CString::new(&*target).ok()?)
        }
        FileType::Directory => Node::Folder,
        _ => Node::File,
    })
}

fn is_folder(path: &CStr) -> bool {
    let stat = rustix::fs::stat(path);
    stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

/// A path of the environment, which means something only if it is absolute.
fn absolute(path: OsString) -> Option<CPath> {
    let path = path.into_vec();
    let is_absolute = path.starts_with(b"/");
    is_absolute
        .then(|| CString::new(path).ok())
        .flatten()
        .map(CPath::from)
}

/// The name of a user in `/etc/passwd` (passwd(5)), if it is a plain word.
pub(crate) fn user_name(uid: u32) -> Option<String> {
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
/// folder of PATH, or the installation that it belongs to. Not all of them need
/// be there.
///
/// Neither the home folder itself nor `~/.local`, which hold more than
/// programs, are ever shown whole.
pub(crate) fn tool_folders(path: &OsStr, home: Option<&CPath>) -> Vec<CPath> {
    let mut folders: Vec<CPath> = Vec::new();
    for entry in env::split_paths(path) {
        let Some(entry) = absolute(entry.into()) else {
            continue;
        };
        if is_system(&entry) || entry.is_in_any(&folders) || !is_folder(&entry) {
            continue;
        }
        let mut add = |folder: CPath| {
            if !folder.is_in_any(&folders) {
                folders.retain(|known| !known.is_in(&folder));
                folders.push(folder);
            }
        };
        // Rustup's programs are stand-ins for those of a toolchain, and cargo
        // keeps what it has downloaded beside them, with its credentials.
        if entry.to_bytes().ends_with(b"/.cargo/bin")
            && let Some(cargo) = entry.parent()
        {
            for part in [&b"registry"[..], b"git", b"config.toml", b"env"] {
                add(cargo.join(part));
            }
            if let Some(rustup) = cargo.parent() {
                add(rustup.join(b".rustup"));
            }
        }
        add(installation(entry, home));
    }
    folders
}

/// The installation that a folder of programs belongs to: its parent, if that
/// has libraries too; otherwise the folder alone.
pub(crate) fn installation(programs: CPath, home: Option<&CPath>) -> CPath {
    let parent = programs.parent().filter(|parent| {
        let path = parent.to_bytes();
        let holds_more = Some(parent) == home
            || path.ends_with(b"/.local")
            || path.ends_with(b"/.cargo")
            || parent.is_root();
        let libraries = [&b"lib"[..], b"lib64", b"libexec", b"versions"];
        !holds_more
            && libraries
                .iter()
                .any(|library| is_folder(&parent.join(library)))
    });
    parent.unwrap_or(programs)
}

/// Whether a path is in a folder that every sandbox shows.
pub(crate) fn is_system(path: &CPath) -> bool {
    path.is_in_any(SYSTEM)
}

/// Whether a `uid_map` gives user 0 another id outside.
fn is_disguised(map: &str) -> bool {
    map.lines().any(|line| {
        let mut fields = line.split_whitespace();
        fields.next() == Some("0") && fields.next().is_some_and(|outside| outside != "0")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_bring_what_they_need_and_no_more() {
        let home = tempfile::tempdir().unwrap();
        for folder in [
            ".cargo/bin",
            ".local/bin",
            ".local/lib",
            "plain/bin",
            "tool/bin",
            "tool/libexec",
        ] {
            fs::create_dir_all(home.path().join(folder)).unwrap();
        }
        let name = home.path().to_str().unwrap();
        let path = format!(
            "{name}/.cargo/bin:/usr/bin:relative/bin::{name}/./tool//bin/:{name}/tool/libexec:\
             {name}/.cargo/bin:{name}/.local/bin:{name}/plain/bin:{name}/missing/bin"
        );
        let home = CPath::new(home.path()).unwrap();
        let found = tool_folders(OsStr::new(&path), Some(&home));
        let expected = [
            &b".cargo/registry"[..],
            b".cargo/git",
            b".cargo/config.toml",
            b".cargo/env",
            b".rustup",
            b".cargo/bin",
            b"tool",
            b".local/bin",
            b"plain/bin",
        ];
        assert_eq!(found, expected.map(|folder| home.join(folder)));
    }

    #[test]
    fn guests_get_ids_that_there_are() {
        let check = |map: &str, random, expected| {
            assert_eq!(guest_id(&id_extents(map), random), expected);
        };
        check("         0          0 4294967295\n", 0, Some(0x7000_0000));
        check("0 0 4294967295\n", u32::MAX, Some(0x700f_ffff));
        check("0 100000 65536\n", 5, Some(65515));
        check("0 1000 1\n1 100000 65536\n", 0, Some(65521));
        check("0 1000 1\n", 7, None);
        check("", 7, None);
    }

    #[test]
    fn what_guests_keep_is_no_guest_s() {
        let check = |map, expected| assert_eq!(keeper_id(&id_extents(map)), expected);
        check("0 0 4294967295\n", Some(0x7fff_0000));
        check("0 100000 65536\n", Some(65521));
        check("0 1000 1\n", None);
    }

    #[test]
    fn root_of_a_user_namespace_may_be_anybody() {
        let check = |map: &str, expected| assert_eq!(is_disguised(map), expected, "{map}");
        check("         0          0 4294967295\n", false);
        check("0 1000 1\n", true);
        check("1 100000 65536\n0 1000 1\n", true);
        check("65534 65534 1\n", false);
        check("0 0 1\n", false);
    }
}

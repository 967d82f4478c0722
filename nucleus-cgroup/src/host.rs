//! Which versions of cgroups this host has, and where this process is in them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::cgroup::open_dir;
use crate::membership::{self, Membership};
use crate::mountinfo::{self, Mount};
use crate::{Cgroup, Controller, Error};

/// `CGROUP2_SUPER_MAGIC` (`include/uapi/linux/magic.h`).
const CGROUP2_MAGIC: u64 = 0x6367_7270;

/// How the hierarchies of a host are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Version 2 alone.
    Unified,
    /// Both are mounted; each controller belongs to one of them.
    Hybrid,
    /// Version 1 alone.
    Legacy,
    /// Neither is mounted.
    Absent,
}

/// What the kernel says about cgroups on this host and this process's place.
#[derive(Debug, Clone)]
pub struct Host {
    unified: Vec<Mount>,
    v1: BTreeMap<OsString, Option<PathBuf>>,
    membership: Membership,
    magic: u64,
}

impl Host {
    /// Reads `/proc/self`.
    ///
    /// # Errors
    ///
    /// A file there cannot be read or understood.
    pub fn detect() -> Result<Self, Error> {
        Self::detect_at(Path::new("/proc/self"))
    }

    /// Reads `mountinfo` and `cgroup` below a directory such as `/proc/self`.
    ///
    /// # Errors
    ///
    /// A file there cannot be read or understood.
    pub fn detect_at(proc_self: &Path) -> Result<Self, Error> {
        let read = |name: &str| {
            let path = proc_self.join(name);
            match std::fs::read(&path) {
                Ok(bytes) => Ok((path, bytes)),
                Err(source) => Err(Error::Read { path, source }),
            }
        };
        let (path, bytes) = read("mountinfo")?;
        let mounts =
            mountinfo::parse(&bytes).map_err(|source| Error::Mountinfo { path, source })?;
        // A kernel without cgroups has no such file.
        let membership = match read("cgroup") {
            Ok((path, bytes)) => {
                membership::parse(&bytes).map_err(|source| Error::Membership { path, source })?
            }
            Err(Error::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Membership::default()
            }
            Err(error) => return Err(error),
        };
        Ok(Self::from_parts(mounts, membership))
    }

    fn from_parts(mounts: Vec<Mount>, membership: Membership) -> Self {
        let mut v1: BTreeMap<OsString, Option<PathBuf>> = membership
            .v1
            .keys()
            .map(|name| (name.clone(), None))
            .collect();
        let mut unified = Vec::new();
        for mount in mounts {
            if mount.fs_type == "cgroup2" {
                unified.push(mount);
            } else if mount.fs_type == "cgroup" {
                // The options name the controllers among others (rw, xattr).
                for option in mount.super_options.as_bytes().split(|&byte| byte == b',') {
                    if let Some(place) = v1.get_mut(OsStr::from_bytes(option)) {
                        place.get_or_insert_with(|| mount.mount_point.clone());
                    }
                }
            }
        }
        Self {
            unified,
            v1,
            membership,
            magic: CGROUP2_MAGIC,
        }
    }

    /// How the hierarchies are laid out.
    #[must_use]
    pub fn layout(&self) -> Layout {
        match (self.unified.is_empty(), self.v1.is_empty()) {
            (false, true) => Layout::Unified,
            (false, false) => Layout::Hybrid,
            (true, false) => Layout::Legacy,
            (true, true) => Layout::Absent,
        }
    }

    /// Where cgroup2 is mounted according to mountinfo, in its order; proved
    /// only by opening.
    pub fn mount_points(&self) -> impl Iterator<Item = &Path> {
        self.unified.iter().map(|mount| mount.mount_point.as_path())
    }

    /// Whether a controller is bound to version 1, so that version 2 cannot
    /// have it until that hierarchy is unmounted.
    #[must_use]
    pub fn is_v1(&self, controller: Controller) -> bool {
        self.v1.contains_key(OsStr::new(controller.v1_name()))
    }

    /// Refuses when one of the controllers is bound to version 1.
    ///
    /// # Errors
    ///
    /// [`Error::BoundToV1`] for the first.
    pub fn require_v2(&self, controllers: &BTreeSet<Controller>) -> Result<(), Error> {
        for &controller in controllers {
            if let Some(mount_point) = self.v1.get(OsStr::new(controller.v1_name())) {
                return Err(Error::BoundToV1 {
                    controller,
                    mount_point: mount_point.clone(),
                });
            }
        }
        Ok(())
    }

    /// This process's cgroup and its ancestors up to the top of the mount, the
    /// own one first.
    ///
    /// # Errors
    ///
    /// cgroup2 is not mounted, the mount is not what mountinfo says, or the
    /// own cgroup is not below it.
    pub fn lineage(&self) -> Result<Vec<Cgroup>, Error> {
        let own = self.membership.unified.as_deref();
        let own = own.ok_or(Error::NotMounted)?;
        if self.unified.is_empty() {
            return Err(Error::NotMounted);
        }
        // A writable mount is worth more than a read-only one.
        let mut reachable: Vec<(&Mount, &Path)> = self
            .unified
            .iter()
            .filter_map(|mount| Some((mount, below(&mount.root, own)?)))
            .collect();
        reachable.sort_by_key(|(mount, _)| mount.read_only);
        let mut first_failure = None;
        for (mount, relative) in reachable {
            match self.open_lineage(mount, relative) {
                Ok(lineage) => return Ok(lineage),
                Err(error) => {
                    first_failure.get_or_insert(error);
                }
            }
        }
        Err(first_failure.unwrap_or_else(|| Error::OutOfSight {
            path: own.to_owned(),
        }))
    }

    /// This process's cgroup.
    ///
    /// # Errors
    ///
    /// As [`lineage`](Self::lineage).
    pub fn own(&self) -> Result<Cgroup, Error> {
        let mut lineage = self.lineage()?;
        Ok(lineage.swap_remove(0))
    }

    /// Opens the cgroup at a path and proves that it is one.
    ///
    /// # Errors
    ///
    /// It cannot be opened, or is not on cgroup2.
    pub fn open(&self, path: &Path) -> Result<Cgroup, Error> {
        let opened = open_dir(rustix::fs::CWD, path);
        let dir = opened.map_err(|source| Error::Open {
            path: path.to_owned(),
            source,
        })?;
        let cgroup = Cgroup::from_dir(dir, path.to_owned());
        self.prove(&cgroup, None)?;
        Ok(cgroup)
    }

    fn open_lineage(&self, mount: &Mount, relative: &Path) -> Result<Vec<Cgroup>, Error> {
        let top = self.open(&mount.mount_point)?;
        // Another mount may lie over the one that mountinfo lists.
        self.prove(&top, Some(mount.device))?;
        let mut lineage = vec![top];
        for name in relative.components() {
            let parent = &lineage[lineage.len() - 1];
            lineage.push(parent.child(name.as_os_str())?);
        }
        lineage.reverse();
        Ok(lineage)
    }

    fn prove(&self, cgroup: &Cgroup, device: Option<(u32, u32)>) -> Result<(), Error> {
        let failed = |errno: rustix::io::Errno| Error::Read {
            path: cgroup.path().to_owned(),
            source: errno.into(),
        };
        let magic = rustix::fs::fstatfs(cgroup).map_err(failed)?.f_type;
        let magic = u64::try_from(magic).unwrap_or(0);
        let dev = rustix::fs::fstat(cgroup).map_err(failed)?.st_dev;
        let found = (rustix::fs::major(dev), rustix::fs::minor(dev));
        if magic == self.magic && device.is_none_or(|expected| expected == found) {
            return Ok(());
        }
        Err(Error::NotCgroup2 {
            path: cgroup.path().to_owned(),
            magic,
            device: found,
        })
    }
}

/// `own` as seen from a mount that shows `root`: `None` when it is not below,
/// or lies outside of the cgroup namespace.
fn below<'a>(root: &Path, own: &'a Path) -> Option<&'a Path> {
    let relative = own.strip_prefix(root).ok()?;
    relative
        .components()
        .all(|part| matches!(part, Component::Normal(_)))
        .then_some(relative)
}

#[cfg(test)]
impl Host {
    /// A directory tree in place of a mounted hierarchy: its own magic and
    /// device are the ones to be proved.
    pub(crate) fn on(tree: &Path, root: &str, cgroup: &str) -> Self {
        let stat = rustix::fs::stat(tree).expect("a directory");
        let line = format!(
            "41 31 {}:{} {root} {} rw - cgroup2 cgroup2 rw\n",
            rustix::fs::major(stat.st_dev),
            rustix::fs::minor(stat.st_dev),
            tree.display(),
        );
        let mut host = Self::from_parts(
            mountinfo::parse(line.as_bytes()).expect("valid"),
            membership::parse(cgroup.as_bytes()).expect("valid"),
        );
        let magic = rustix::fs::statfs(tree).expect("a file system").f_type;
        host.magic = u64::try_from(magic).expect("positive");
        host
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::fake;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw
32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu
35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,xattr,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
";

    fn host(mountinfo: &str, cgroup: &str) -> Host {
        Host::from_parts(
            mountinfo::parse(mountinfo.as_bytes()).expect("valid"),
            membership::parse(cgroup.as_bytes()).expect("valid"),
        )
    }

    #[test]
    fn the_layout_is_told_by_what_is_mounted() {
        let v2 = "41 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        let ext4 = "1 0 8:1 / / rw - ext4 a rw\n";
        assert_eq!(host(HYBRID, "1:memory:/\n0::/\n").layout(), Layout::Hybrid);
        assert_eq!(host(v2, "0::/\n").layout(), Layout::Unified);
        assert_eq!(host(ext4, "1:memory:/\n").layout(), Layout::Legacy);
        assert_eq!(host(ext4, "").layout(), Layout::Absent);
    }

    #[test]
    fn a_controller_of_version_1_is_named_with_its_mount() {
        let host = host(HYBRID, "4:memory:/x\n3:blkio:/\n1:cpu:/\n0::/\n");
        let refuse = |controller| {
            let needed = BTreeSet::from([controller]);
            host.require_v2(&needed).map_err(|error| error.to_string())
        };
        let memory = refuse(Controller::Memory).expect_err("bound");
        assert!(
            memory.starts_with(
                "controller memory is bound to cgroup v1 on this host (mounted at /sys/fs/cgroup/memory)"
            ),
            "{memory}"
        );
        let io = refuse(Controller::Io).expect_err("bound, though not mounted");
        assert!(
            io.contains("io is bound to cgroup v1 on this host;"),
            "{io}"
        );
        assert!(io.contains("cgroup_no_v1=blkio"), "{io}");
        assert_eq!(refuse(Controller::Pids), Ok(()));
        assert!(host.is_v1(Controller::Cpu));
    }

    #[test]
    fn the_own_path_is_taken_relative_to_the_root_of_the_mount() {
        fn check(root: &str, own: &str, expected: Option<&str>) {
            assert_eq!(
                below(Path::new(root), Path::new(own)),
                expected.map(Path::new),
                "{root} {own}"
            );
        }
        check("/", "/", Some(""));
        check("/", "/a/b", Some("a/b"));
        check("/a", "/a/b", Some("b"));
        check("/a", "/ab", None);
        check("/a", "/", None);
        check("/", "/../x", None);
        check("/..", "/", None);
    }

    #[test]
    fn the_lineage_leads_from_the_own_cgroup_to_the_mount() {
        let tree = tempfile::tempdir().expect("a directory");
        fake(tree.path(), "a/b", &[]);
        let lineage = Host::on(tree.path(), "/", "0::/a/b\n")
            .lineage()
            .expect("there");
        let paths: Vec<_> = lineage.iter().map(Cgroup::path).collect();
        assert_eq!(
            paths,
            [
                &*tree.path().join("a/b"),
                &*tree.path().join("a"),
                tree.path()
            ]
        );
        let nested = Host::on(tree.path(), "/outer/a", "0::/outer/a/b\n");
        fake(tree.path(), "b", &[]);
        assert_eq!(nested.own().expect("there").path(), tree.path().join("b"));
        let outside = Host::on(tree.path(), "/", "0::/../other\n").own();
        assert!(matches!(outside, Err(Error::OutOfSight { .. })));
    }

    #[test]
    fn a_mount_that_is_not_what_mountinfo_says_is_refused() {
        let tree = tempfile::tempdir().expect("a directory");
        let mut host = Host::on(tree.path(), "/", "0::/\n");
        host.unified[0].device = (4095, 7);
        assert!(matches!(host.own(), Err(Error::NotCgroup2 { .. })));
        let mut host = Host::on(tree.path(), "/", "0::/\n");
        host.magic = CGROUP2_MAGIC;
        let error = host.own().expect_err("not cgroup2").to_string();
        assert!(error.contains("is not on cgroup2"), "{error}");
    }

    #[test]
    fn without_version_2_there_is_no_own_cgroup() {
        let legacy = host("1 0 8:1 / / rw - ext4 a rw\n", "1:memory:/\n").own();
        assert!(matches!(legacy, Err(Error::NotMounted)));
        let unmounted = host("1 0 8:1 / / rw - ext4 a rw\n", "0::/\n").own();
        assert!(matches!(unmounted, Err(Error::NotMounted)));
    }
}

//! One cgroup: an open directory, and its files read and written through it.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};

use crate::{Controller, Error};

/// A cgroup of the v2 hierarchy, held open by its directory.
///
/// Every file is opened relative to that directory, so that the cgroup cannot
/// be exchanged for another one of the same name.
#[derive(Debug)]
pub struct Cgroup {
    dir: OwnedFd,
    path: PathBuf,
}

impl AsFd for Cgroup {
    /// The directory; `clone3` takes it with `CLONE_INTO_CGROUP` (5.7).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

impl Cgroup {
    /// `path` is for messages only.
    pub(crate) const fn from_dir(dir: OwnedFd, path: PathBuf) -> Self {
        Self { dir, path }
    }

    /// Where it was found, for messages: the name may be another cgroup's by now.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The controllers that may be enabled for its children.
    ///
    /// # Errors
    ///
    /// `cgroup.controllers` cannot be read.
    pub fn controllers(&self) -> Result<BTreeSet<Controller>, Error> {
        Ok(Controller::parse_set(&self.read("cgroup.controllers")?))
    }

    /// The controllers that are enabled for its children.
    ///
    /// # Errors
    ///
    /// `cgroup.subtree_control` cannot be read.
    pub fn enabled(&self) -> Result<BTreeSet<Controller>, Error> {
        Ok(Controller::parse_set(&self.read("cgroup.subtree_control")?))
    }

    /// Enables controllers for the children, all or none, and checks that they are.
    ///
    /// # Errors
    ///
    /// The kernel refuses (EBUSY: it has processes of its own; ENOENT: a
    /// controller is not there; EACCES: not delegated), or they are not there
    /// afterwards.
    pub fn enable(&self, wanted: &BTreeSet<Controller>) -> Result<(), Error> {
        let enabled = self.enabled()?;
        let missing: Vec<String> = wanted
            .difference(&enabled)
            .map(|controller| format!("+{controller}"))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        self.write("cgroup.subtree_control", &missing.join(" "))?;
        let enabled = self.enabled()?;
        match wanted.difference(&enabled).next() {
            None => Ok(()),
            Some(&controller) => Err(Error::NotEnabled {
                path: self.path.clone(),
                controller,
            }),
        }
    }

    /// The processes in it, without those of its children. One that this PID
    /// namespace cannot see is 0.
    ///
    /// # Errors
    ///
    /// `cgroup.procs` cannot be read; EOPNOTSUPP in a threaded cgroup.
    pub fn processes(&self) -> Result<Vec<i32>, Error> {
        let bytes = self.read("cgroup.procs")?;
        let text = String::from_utf8_lossy(&bytes);
        text.lines()
            .map(|line| {
                line.parse()
                    .map_err(|_not_a_number| self.malformed("cgroup.procs", "a process id", line))
            })
            .collect()
    }

    /// Moves a process with all its threads into this cgroup.
    ///
    /// # Errors
    ///
    /// ESRCH: it is gone; EACCES: the common ancestor of both cgroups is not
    /// this user's; EBUSY: controllers are enabled for the children.
    pub fn admit(&self, pid: i32) -> Result<(), Error> {
        self.write("cgroup.procs", &pid.to_string())
    }

    /// The names of its children, sorted.
    ///
    /// # Errors
    ///
    /// The directory cannot be read.
    pub fn children(&self) -> Result<Vec<OsString>, Error> {
        self.list().map_err(|source| Error::Read {
            path: self.path.clone(),
            source,
        })
    }

    fn list(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." && entry.file_type() == FileType::Directory {
                names.push(OsStr::from_bytes(name).to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// Opens a child.
    ///
    /// # Errors
    ///
    /// There is none of that name, or it may not be read.
    pub fn child(&self, name: &OsStr) -> Result<Self, Error> {
        let path = self.path.join(name);
        match open_dir(&self.dir, Path::new(name)) {
            Ok(dir) => Ok(Self::from_dir(dir, path)),
            Err(source) => Err(Error::Open { path, source }),
        }
    }

    /// Makes a child and opens it.
    ///
    /// # Errors
    ///
    /// EEXIST, or the directory is not this user's.
    pub fn create_child(&self, name: &OsStr) -> Result<Self, Error> {
        rustix::fs::mkdirat(&self.dir, name, Mode::from_raw_mode(0o755)).map_err(|errno| {
            Error::Create {
                path: self.path.join(name),
                source: errno.into(),
            }
        })?;
        self.child(name)
    }

    /// Removes an empty child; one that is gone is no error.
    pub(crate) fn remove_child(&self, name: &OsStr) -> Result<(), Error> {
        match rustix::fs::unlinkat(&self.dir, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(errno) => Err(Error::Remove {
                path: self.path.join(name),
                source: errno.into(),
            }),
        }
    }

    /// The whole of a file, such as `memory.events`.
    pub(crate) fn read(&self, file: &str) -> Result<Vec<u8>, Error> {
        self.open_file(file, OFlags::RDONLY)
            .and_then(read_all)
            .map_err(|source| Error::Read {
                path: self.path.join(file),
                source,
            })
    }

    /// As [`read`](Self::read), `None` where this kernel has no such file, the
    /// controller is not enabled, or the feature is off (EOPNOTSUPP of PSI).
    pub(crate) fn read_if_there(&self, file: &str) -> Result<Option<Vec<u8>>, Error> {
        match self.read(file) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(Error::Read { source, .. })
                if source.kind() == io::ErrorKind::NotFound
                    || source.raw_os_error()
                        == Some(rustix::io::Errno::OPNOTSUPP.raw_os_error()) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Writes a value in one call, as the kernel asks for.
    pub(crate) fn write(&self, file: &str, value: &str) -> Result<(), Error> {
        self.open_file(file, OFlags::WRONLY | OFlags::TRUNC)
            .and_then(|fd| {
                let written = rustix::io::write(&fd, value.as_bytes())?;
                if written == value.len() {
                    Ok(())
                } else {
                    Err(io::ErrorKind::WriteZero.into())
                }
            })
            .map_err(|source| Error::Write {
                path: self.path.join(file),
                value: value.to_owned(),
                source,
            })
    }

    pub(crate) fn open_file(&self, file: &str, flags: OFlags) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        Ok(rustix::fs::openat(&self.dir, file, flags, Mode::empty())?)
    }

    pub(crate) fn malformed(&self, file: &str, expected: &'static str, content: &str) -> Error {
        Error::Malformed {
            path: self.path.join(file),
            expected,
            content: content.to_owned(),
        }
    }
}

/// Opens a directory for reading and locking, never through a symbolic link.
pub(crate) fn open_dir(at: impl AsFd, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(rustix::fs::openat(at, path, flags, Mode::empty())?)
}

fn read_all(fd: OwnedFd) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut std::fs::File::from(fd), &mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::fake;

    #[test]
    fn files_are_read_through_the_directory_even_after_it_was_renamed() {
        let tree = tempfile::tempdir().expect("a directory");
        let group = fake(tree.path(), "a", &[("cgroup.procs", "7\n0\n41\n")]);
        std::fs::rename(tree.path().join("a"), tree.path().join("b")).expect("renamed");
        fake(tree.path(), "a", &[("cgroup.procs", "666\n")]);
        assert_eq!(group.processes().expect("readable"), [7, 0, 41]);
    }

    #[test]
    fn children_are_directories_sorted_by_bytes() {
        let tree = tempfile::tempdir().expect("a directory");
        let group = fake(tree.path(), "a", &[("cgroup.procs", "")]);
        for name in [OsStr::new("z"), OsStr::from_bytes(b"\xff"), OsStr::new("b")] {
            group.create_child(name).expect("created");
        }
        let names = group.children().expect("listed");
        assert_eq!(
            names,
            [OsStr::new("b"), OsStr::new("z"), OsStr::from_bytes(b"\xff")]
        );
        group.remove_child(OsStr::new("z")).expect("removed");
        group.remove_child(OsStr::new("z")).expect("gone already");
        assert_eq!(group.children().expect("listed").len(), 2);
    }

    #[test]
    fn a_symbolic_link_is_neither_a_child_nor_a_file() {
        let tree = tempfile::tempdir().expect("a directory");
        let group = fake(tree.path(), "a", &[("secret", "x")]);
        std::os::unix::fs::symlink("secret", group.path().join("cgroup.procs")).expect("linked");
        std::os::unix::fs::symlink("/", group.path().join("out")).expect("linked");
        let error = group.read("cgroup.procs").expect_err("not followed");
        assert!(error.to_string().ends_with("/a/cgroup.procs"), "{error}");
        assert!(matches!(
            group.child(OsStr::new("out")),
            Err(Error::Open { .. })
        ));
    }

    #[test]
    fn a_controller_that_does_not_appear_is_an_error() {
        let tree = tempfile::tempdir().expect("a directory");
        let group = fake(tree.path(), "a", &[("cgroup.subtree_control", "cpu\n")]);
        let cpu = BTreeSet::from([Controller::Cpu]);
        group.enable(&cpu).expect("already there");
        // A plain file keeps "+memory", which is no controller.
        let both = BTreeSet::from([Controller::Cpu, Controller::Memory]);
        assert!(matches!(group.enable(&both), Err(Error::NotEnabled { .. })));
    }

    #[test]
    fn what_is_not_there_is_none_and_what_may_not_be_read_is_an_error() {
        let tree = tempfile::tempdir().expect("a directory");
        let group = fake(tree.path(), "a", &[("file", "x")]);
        assert_eq!(group.read_if_there("memory.peak").expect("absent"), None);
        assert!(group.read_if_there("file/below").is_err());
    }
}

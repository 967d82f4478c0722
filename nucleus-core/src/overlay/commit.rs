//! Carries changes over to the host's folder.
//!
//! Everything new is written to a folder of its own first, in the folder that
//! changes, and synced. Then each change is one rename: new content in, old
//! content out. A commit that is interrupted leaves each file as it was or as
//! the program left it, and that folder, with the rest of both.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, RenameFlags, Stat, Timespec, Timestamps, Uid,
};
use rustix::io::Errno;

use super::beneath;
use super::scan::Entry;
use super::{Changes, Kind, Owner, Withheld};
use crate::error::ChangesError;

impl Changes {
    /// Carries the changes over to the folder on the host, without what each
    /// [`Change::withheld`](crate::Change::withheld) names. New files belong to
    /// the owner of the folder.
    ///
    /// # Errors
    ///
    /// Before anything was changed, or [`ChangesError::Incomplete`].
    pub fn commit(self) -> Result<(), ChangesError> {
        if self.entries.iter().all(is_special) {
            return Ok(());
        }
        let stage = Stage::make(self.layers.lower.as_fd())?;
        let commit = Commit {
            changes: &self,
            stage: &stage,
        };
        if let Err(error) = commit.stage_all() {
            stage.remove(self.layers.lower.as_fd())?;
            return Err(error);
        }
        commit.apply_all()?;
        stage.remove(self.layers.lower.as_fd())
    }
}

fn is_special(entry: &Entry) -> bool {
    entry.change.withheld == Some(Withheld::Special)
}

/// The folder where new content waits and old content goes. Entries have the
/// number of their change as name.
struct Stage {
    name: String,
    folder: OwnedFd,
}

impl Stage {
    fn make(lower: BorrowedFd<'_>) -> Result<Self, ChangesError> {
        let mut random = [0; 8];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
            .map_err(ChangesError::lower("choose a name in", Path::new("")))?;
        let name = format!(".nucleus-commit-{:016x}", u64::from_ne_bytes(random));
        let path = Path::new(&name);
        let failed = ChangesError::lower("make the folder", path);
        rustix::fs::mkdirat(lower, path, Mode::RWXU)
            .and_then(|()| beneath::open(lower, path, OFlags::RDONLY | OFlags::DIRECTORY))
            .map(|folder| Self {
                name: name.clone(),
                folder,
            })
            .map_err(failed)
    }

    fn remove(&self, lower: BorrowedFd<'_>) -> Result<(), ChangesError> {
        let path = Path::new(&beneath::descriptor(lower)).join(&self.name);
        std::fs::remove_dir_all(path).map_err(ChangesError::lower("remove", Path::new(&self.name)))
    }
}

struct Commit<'a> {
    changes: &'a Changes,
    stage: &'a Stage,
}

impl Commit<'_> {
    /// Writes what is new, and brings it to the disk.
    fn stage_all(&self) -> Result<(), ChangesError> {
        // Names of one file that were all changed, by its number.
        let mut links = BTreeMap::new();
        for (number, entry) in self.changes.entries.iter().enumerate() {
            let path = &entry.change.path;
            if entry.change.kind == Kind::Deleted {
                continue;
            }
            match FileType::from_raw_mode(entry.stat.st_mode) {
                FileType::RegularFile => {
                    let first = *links.entry(entry.stat.st_ino).or_insert(number);
                    if first == number {
                        self.stage_file(number, entry)?;
                    } else {
                        let (old, new) = (first.to_string(), number.to_string());
                        let stage = &self.stage.folder;
                        rustix::fs::linkat(stage, old, stage, new, AtFlags::empty())
                            .map_err(ChangesError::lower("make a hard link for", path))?;
                    }
                }
                FileType::Symlink => self.stage_link(number, entry)?,
                FileType::Directory
                    if entry.lower.is_some_and(|was| was != FileType::Directory) =>
                {
                    self.make_folder(
                        self.stage.folder.as_fd(),
                        OsStr::new(&number.to_string()),
                        entry,
                    )?;
                }
                _ => {}
            }
        }
        rustix::fs::syncfs(&self.stage.folder)
            .map_err(ChangesError::lower("sync", Path::new(&self.stage.name)))
    }

    fn stage_file(&self, number: usize, entry: &Entry) -> Result<(), ChangesError> {
        let path = &entry.change.path;
        let from = beneath::open_private(self.changes.upper.as_fd(), path)
            .map(File::from)
            .map_err(ChangesError::upper("open", path))?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let to = rustix::fs::openat(&self.stage.folder, number.to_string(), flags, mode)
            .map(File::from)
            .map_err(ChangesError::lower("make the file", path))?;
        let size = u64::try_from(entry.stat.st_size).unwrap_or_default();
        beneath::copy(&from, &to, size).map_err(ChangesError::lower("write", path))?;
        let attributes = self
            .changes
            .marks()
            .carried(from.as_fd())
            .map_err(ChangesError::upper("read the attributes of", path))?;
        let mode = Mode::from_raw_mode(committed_mode(entry) & 0o777);
        self.own(to.as_fd(), entry)
            .and_then(|()| {
                attributes
                    .iter()
                    .try_for_each(|(name, value)| beneath::set_attribute(to.as_fd(), name, value))
            })
            .and_then(|()| rustix::fs::fchmod(&to, mode))
            .and_then(|()| rustix::fs::futimens(&to, &times(&entry.stat)))
            .map_err(ChangesError::lower(
                "set owner, attributes, mode and time of",
                path,
            ))
    }

    fn stage_link(&self, number: usize, entry: &Entry) -> Result<(), ChangesError> {
        let path = &entry.change.path;
        let target = beneath::open(self.changes.upper.as_fd(), path, OFlags::PATH)
            .and_then(|link| rustix::fs::readlinkat(link, c"", Vec::new()))
            .map_err(ChangesError::upper("read the link", path))?;
        let name = number.to_string();
        let stage = &self.stage.folder;
        rustix::fs::symlinkat(target.as_c_str(), stage, name.as_str())
            .and_then(|()| match self.ids(entry) {
                Some((uid, gid)) => {
                    let flags = AtFlags::SYMLINK_NOFOLLOW;
                    rustix::fs::chownat(stage, name.as_str(), Some(uid), Some(gid), flags)
                }
                None => Ok(()),
            })
            .map_err(ChangesError::lower("make the link", path))
    }

    /// Makes the changes, then gives folders their modes and times.
    fn apply_all(&self) -> Result<(), ChangesError> {
        let total = self.changes.entries.len();
        let incomplete = |done, source| ChangesError::Incomplete {
            done,
            total,
            rest: PathBuf::from(&self.stage.name),
            source: Box::new(source),
        };
        for (number, entry) in self.changes.entries.iter().enumerate() {
            if !is_special(entry) {
                self.apply(number, entry)
                    .map_err(|error| incomplete(number, error))?;
            }
        }
        self.finish_folders()
            .map_err(|error| incomplete(total, error))
    }

    fn apply(&self, number: usize, entry: &Entry) -> Result<(), ChangesError> {
        let path = &entry.change.path;
        let (parent, name) = self.place(path)?;
        let (stage, staged) = (&self.stage.folder, number.to_string());
        let failed = ChangesError::lower("replace", path);
        if entry.change.kind == Kind::Deleted {
            return match rustix::fs::renameat(&parent, name, stage, staged) {
                // Somebody else was faster.
                Ok(()) | Err(Errno::NOENT) => Ok(()),
                Err(errno) => Err(ChangesError::lower("delete", path)(errno)),
            };
        }
        match (entry.change.is_folder, entry.lower) {
            // Its mode comes last.
            (true, Some(FileType::Directory)) => Ok(()),
            (true, None) => self.make_folder(parent.as_fd(), name, entry),
            (false, None | Some(FileType::RegularFile | FileType::Symlink)) => {
                rustix::fs::renameat(stage, staged, &parent, name).map_err(failed)
            }
            // A rename between a folder and a file, with one step for both.
            (_, Some(_)) => {
                let flags = RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(stage, staged, &parent, name, flags).map_err(failed)
            }
        }
    }

    /// A folder of the owner's that only it can enter yet.
    fn make_folder(
        &self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        entry: &Entry,
    ) -> Result<(), ChangesError> {
        rustix::fs::mkdirat(parent, name, Mode::RWXU)
            .and_then(|()| {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY;
                let made = beneath::open(parent, Path::new(name), flags)?;
                self.own(made.as_fd(), entry)
            })
            .map_err(ChangesError::lower("make the folder", &entry.change.path))
    }

    /// The folder that an entry is in, and its name there.
    fn place<'p>(&self, path: &'p Path) -> Result<(OwnedFd, &'p OsStr), ChangesError> {
        let parent = path.parent().unwrap_or(Path::new(""));
        let folder = beneath::folder(self.changes.layers.lower.as_fd(), parent)
            .map_err(ChangesError::lower("open the folder", parent))?;
        Ok((folder, path.file_name().unwrap_or_default()))
    }

    /// Innermost first, so that nothing changes a time again and no mode
    /// stands in the way.
    fn finish_folders(&self) -> Result<(), ChangesError> {
        let entries = &self.changes.entries;
        let changed: BTreeMap<&Path, &Entry> = entries
            .iter()
            .filter(|entry| entry.change.is_folder && entry.change.kind != Kind::Deleted)
            .map(|entry| (entry.change.path.as_path(), entry))
            .collect();
        let touched: BTreeSet<&Path> = entries
            .iter()
            .filter_map(|entry| entry.change.path.parent())
            .collect();
        for (path, stat) in self.changes.folders.iter().rev() {
            let entry = changed.get(path.as_path());
            if entry.is_none() && !touched.contains(path.as_path()) {
                continue;
            }
            let folder = beneath::folder(self.changes.layers.lower.as_fd(), path)
                .map_err(ChangesError::lower("open the folder", path))?;
            if let Some(entry) = entry {
                self.finish_folder(&folder, entry)?;
            }
            let itself = beneath::descriptor(folder.as_fd());
            rustix::fs::utimensat(CWD, itself, &times(stat), AtFlags::empty())
                .map_err(ChangesError::lower("set the time of", path))?;
        }
        rustix::fs::syncfs(&self.stage.folder)
            .map_err(ChangesError::lower("sync", Path::new(&self.stage.name)))
    }

    fn finish_folder(&self, folder: &OwnedFd, entry: &Entry) -> Result<(), ChangesError> {
        let path = &entry.change.path;
        if entry.lower != Some(FileType::Directory) {
            let upper = beneath::open_private(self.changes.upper.as_fd(), path);
            let attributes = upper
                .and_then(|upper| self.changes.marks().carried(upper.as_fd()))
                .map_err(ChangesError::upper("read the attributes of", path))?;
            let lower = self.changes.layers.lower.as_fd();
            beneath::open(lower, path, OFlags::RDONLY | OFlags::DIRECTORY)
                .and_then(|made| {
                    attributes.iter().try_for_each(|(name, value)| {
                        beneath::set_attribute(made.as_fd(), name, value)
                    })
                })
                .map_err(ChangesError::lower("set the attributes of", path))?;
        }
        let is = rustix::fs::fstat(folder)
            .map_err(ChangesError::lower("look at", path))?
            .st_mode;
        // The set-group-ID bit of a folder is the host's: it decides who owns
        // what others put there.
        let mode = (committed_mode(entry) & 0o1777) | (is & 0o2000);
        let itself = format!("/proc/self/fd/{}", folder.as_raw_fd());
        rustix::fs::chmod(itself, Mode::from_raw_mode(mode))
            .map_err(ChangesError::lower("set the mode of", path))
    }

    fn own(&self, file: BorrowedFd<'_>, entry: &Entry) -> Result<(), Errno> {
        match self.ids(entry) {
            Some((uid, gid)) => rustix::fs::fchown(file, Some(uid), Some(gid)),
            None => Ok(()),
        }
    }

    /// Whom what is new belongs to, if not to the user of this process.
    fn ids(&self, entry: &Entry) -> Option<(Uid, Gid)> {
        let (uid, gid) = match self.changes.layers.owner {
            Owner::Caller => return None,
            Owner::Same => (entry.stat.st_uid, entry.stat.st_gid),
            Owner::One(uid, gid) => (uid, gid),
        };
        Some((Uid::from_raw(uid), Gid::from_raw(gid)))
    }
}

/// The mode without what an ACL that is left out has bounded.
fn committed_mode(entry: &Entry) -> u32 {
    match entry.change.withheld {
        Some(Withheld::Acl) => entry.stat.st_mode & !0o070,
        _ => entry.stat.st_mode,
    }
}

fn times(stat: &Stat) -> Timestamps {
    let time = |seconds, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        // Below a thousand million.
        tv_nsec: i64::try_from(nanoseconds).unwrap_or_default(),
    };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    use super::super::Layers;
    use super::*;

    /// Two layers and a folder that belongs to neither.
    struct Folders {
        scratch: tempfile::TempDir,
    }

    impl Folders {
        fn new() -> Self {
            let scratch = tempfile::tempdir().unwrap();
            for name in ["upper", "lower", "outside"] {
                fs::create_dir(scratch.path().join(name)).unwrap();
            }
            Self { scratch }
        }

        fn at(&self, path: &str) -> PathBuf {
            self.scratch.path().join(path)
        }

        fn write(&self, path: &str, text: &str) {
            fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
            fs::write(self.at(path), text).unwrap();
        }

        fn changes(&self) -> Changes {
            let open = |name: &str| OwnedFd::from(File::open(self.at(name)).unwrap());
            let layers = Layers {
                lower: open("lower"),
                owner: Owner::Caller,
                user_xattr: true,
            };
            Changes::read(open("upper"), layers).unwrap()
        }

        fn said(&self) -> Vec<String> {
            self.changes().iter().map(ToString::to_string).collect()
        }

        /// No folder of a commit is left.
        fn assert_tidy(&self) {
            let names = fs::read_dir(self.at("lower")).unwrap();
            let mut names = names.map(|entry| entry.unwrap().file_name());
            assert!(!names.any(|name| name.as_bytes().starts_with(b".nucleus")));
        }
    }

    #[test]
    fn what_changed_its_type_is_exchanged() {
        let folders = Folders::new();
        folders.write("lower/file", "old");
        folders.write("lower/folder/file", "old");
        folders.write("upper/file/new", "new");
        folders.write("upper/folder", "new");
        assert_eq!(folders.said(), ["M file/", "A file/new", "M folder"]);
        folders.changes().commit().unwrap();
        assert_eq!(fs::read(folders.at("lower/file/new")).unwrap(), b"new");
        assert_eq!(fs::read(folders.at("lower/folder")).unwrap(), b"new");
        folders.assert_tidy();
        assert_eq!(folders.said(), [""; 0]);
    }

    #[test]
    fn links_of_the_program_are_committed_and_never_followed() {
        let folders = Folders::new();
        folders.write("outside/file", "outside");
        folders.write("lower/folder/file", "old");
        symlink(folders.at("outside"), folders.at("upper/folder")).unwrap();
        folders.changes().commit().unwrap();
        assert!(folders.at("lower/folder").is_symlink());
        let outside = fs::read_dir(folders.at("outside")).unwrap();
        assert_eq!(outside.count(), 1);
        assert_eq!(fs::read(folders.at("outside/file")).unwrap(), b"outside");
    }

    /// Whoever else may write to the folder cannot lead a commit out of it.
    #[test]
    fn links_on_the_host_are_not_followed() {
        let folders = Folders::new();
        folders.write("outside/file", "outside");
        folders.write("lower/folder/file", "old");
        folders.write("upper/folder/file", "new");
        let changes = folders.changes();
        fs::rename(folders.at("lower/folder"), folders.at("lower/away")).unwrap();
        symlink(folders.at("outside"), folders.at("lower/folder")).unwrap();
        let error = changes.commit().unwrap_err();
        assert!(matches!(
            error,
            ChangesError::Incomplete {
                done: 0,
                total: 1,
                ..
            }
        ));
        assert_eq!(fs::read(folders.at("outside/file")).unwrap(), b"outside");
    }

    #[test]
    fn a_file_that_cannot_be_written_changes_nothing() {
        let folders = Folders::new();
        folders.write("lower/a", "old");
        folders.write("upper/a", "new");
        folders.write("upper/b", "new");
        let changes = folders.changes();
        fs::remove_file(folders.at("upper/b")).unwrap();
        let error = changes.commit().unwrap_err();
        assert!(matches!(error, ChangesError::Upper { what: "open", .. }));
        assert_eq!(fs::read(folders.at("lower/a")).unwrap(), b"old");
        folders.assert_tidy();
    }
}

//! Carries changes over to the host's folder.
//!
//! Everything new is written to a [`Stage`] in the folder that changes, and
//! brought to the disk with a [`Journal`]. Then each change is one rename: new
//! content in, old content out. A commit that is interrupted leaves each file
//! as it was or as the program left it; from the moment that the journal is on
//! the disk, another can finish it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use super::apply::Apply;
use super::journal::{Action, Deed, FolderEnd, Journal};
use super::scan::Entry;
use super::stage::Stage;
use super::{Changes, Kind, Owner, Withheld, attributes, beneath};
use crate::error::ChangesError;

impl Changes {
    /// Carries the changes over to the folder on the host, without what each
    /// [`Change::withheld`](crate::Change::withheld) names. New files belong to
    /// the owner of the folder.
    ///
    /// # Errors
    ///
    /// Before anything was changed, or [`ChangesError::Incomplete`]. The rest
    /// of a commit that stopped, or was killed, is a
    /// [`PendingCommit`](crate::PendingCommit).
    pub fn commit(self) -> Result<(), ChangesError> {
        if self.entries.iter().all(Entry::is_left_out) {
            return Ok(());
        }
        let lower = self.layers.lower.as_fd();
        Stage::sweep(lower)?;
        let stage = Stage::make(lower)?;
        let commit = Commit {
            changes: &self,
            stage: &stage,
        };
        let journal = commit.journal();
        if let Err(error) = commit
            .gather()
            .and_then(|()| stage.publish(lower, &journal))
        {
            stage.remove(lower)?;
            return Err(error);
        }
        let apply = Apply {
            journal: &journal,
            stage: &stage,
            lower,
        };
        apply.all()
    }

    /// The changes that are committed, with the number of each.
    fn committed(&self) -> impl Iterator<Item = (usize, &Entry)> {
        let numbered = self.entries.iter().enumerate();
        numbered.filter(|(_number, entry)| !entry.is_left_out())
    }
}

pub(super) struct Commit<'a> {
    pub(super) changes: &'a Changes,
    pub(super) stage: &'a Stage,
}

impl Commit<'_> {
    /// What is to be done with what is gathered.
    pub(super) fn journal(&self) -> Journal {
        let actions = self.changes.committed().filter_map(|(number, entry)| {
            Some(Action {
                number: u64::try_from(number).ok()?,
                path: entry.change.path.clone(),
                deed: deed(entry)?,
            })
        });
        Journal {
            actions: actions.collect(),
            folders: self.folders(),
        }
    }

    /// Folders get modes and times innermost first, so that nothing changes a
    /// time again and no mode stands in the way.
    fn folders(&self) -> Vec<FolderEnd> {
        let changed: BTreeMap<&Path, &Entry> = self
            .changes
            .committed()
            .map(|(_number, entry)| entry)
            .filter(|entry| entry.change.is_folder && entry.change.kind != Kind::Deleted)
            .map(|entry| (entry.change.path.as_path(), entry))
            .collect();
        let touched: BTreeSet<&Path> = self
            .changes
            .committed()
            .filter_map(|(_number, entry)| entry.change.path.parent())
            .collect();
        let folders = self.changes.folders.iter().rev();
        folders
            .filter_map(|(path, stat)| {
                let entry = changed.get(path.as_path());
                if entry.is_none() && !touched.contains(path.as_path()) {
                    return None;
                }
                Some(FolderEnd {
                    path: path.clone(),
                    mode: entry.map(|entry| committed_mode(entry)),
                    attributes: entry.map(|entry| entry.attributes.clone()),
                    times: [
                        (stat.st_atime, nanoseconds(stat.st_atime_nsec)),
                        (stat.st_mtime, nanoseconds(stat.st_mtime_nsec)),
                    ],
                })
            })
            .collect()
    }

    /// Writes what is new.
    pub(super) fn gather(&self) -> Result<(), ChangesError> {
        // Names of one file that were all changed, by its number.
        let mut links = BTreeMap::new();
        for (number, entry) in self.changes.committed() {
            let path = &entry.change.path;
            if matches!(deed(entry), None | Some(Deed::Delete)) {
                continue;
            }
            match FileType::from_raw_mode(entry.stat.st_mode) {
                FileType::Directory => self.gather_folder(number, entry)?,
                FileType::Symlink => self.gather_link(number, entry)?,
                _ => {
                    let first = *links.entry(entry.stat.st_ino).or_insert(number);
                    if first == number {
                        self.gather_file(number, entry)?;
                    } else {
                        let (old, new) = (first.to_string(), number.to_string());
                        let stage = &self.stage.folder;
                        rustix::fs::linkat(stage, old, stage, new, AtFlags::empty())
                            .map_err(ChangesError::lower("make a hard link for", path))?;
                    }
                }
            }
        }
        Ok(())
    }

    /// A folder that only its owner can enter until all is in it.
    fn gather_folder(&self, number: usize, entry: &Entry) -> Result<(), ChangesError> {
        let (stage, name) = (self.stage.folder.as_fd(), number.to_string());
        rustix::fs::mkdirat(stage, &name, Mode::RWXU)
            .and_then(|()| {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY;
                let made = beneath::open(stage, Path::new(&name), flags)?;
                self.own(made.as_fd(), entry)
            })
            .map_err(ChangesError::lower("make the folder", &entry.change.path))
    }

    fn gather_file(&self, number: usize, entry: &Entry) -> Result<(), ChangesError> {
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
        let mode = Mode::from_raw_mode(committed_mode(entry) & 0o777);
        self.own(to.as_fd(), entry)
            .and_then(|()| attributes::set(to.as_fd(), &entry.attributes))
            .and_then(|()| rustix::fs::fchmod(&to, mode))
            .and_then(|()| rustix::fs::futimens(&to, &times(&entry.stat)))
            .map_err(ChangesError::lower(
                "set owner, attributes, mode and time of",
                path,
            ))
    }

    fn gather_link(&self, number: usize, entry: &Entry) -> Result<(), ChangesError> {
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

    fn own(&self, file: BorrowedFd<'_>, entry: &Entry) -> Result<(), Errno> {
        match self.ids(entry) {
            Some((uid, gid)) => rustix::fs::fchown(file, Some(uid), Some(gid)),
            None => Ok(()),
        }
    }

    /// Whom what is new belongs to, if not to the user of this process.
    fn ids(&self, entry: &Entry) -> Option<(Uid, Gid)> {
        let (uid, gid) = match &self.changes.layers.owner {
            Owner::Caller => return None,
            Owner::Same => (entry.stat.st_uid, entry.stat.st_gid),
            // What is a third's stays that one's.
            Owner::Mapped(mapped) => match &entry.lower {
                Some(lower)
                    if (entry.stat.st_uid, entry.stat.st_gid) == (lower.st_uid, lower.st_gid) =>
                {
                    (lower.st_uid, lower.st_gid)
                }
                _ => mapped.owner,
            },
        };
        Some((Uid::from_raw(uid), Gid::from_raw(gid)))
    }
}

/// How a change is made; `None` when the folder that is there stays.
fn deed(entry: &Entry) -> Option<Deed> {
    if entry.change.kind == Kind::Deleted {
        return Some(Deed::Delete);
    }
    let is_folder = entry.change.is_folder;
    match (is_folder, entry.lower_kind()) {
        (true, Some(FileType::Directory)) => None,
        (true, None) | (false, None | Some(FileType::RegularFile | FileType::Symlink)) => {
            Some(Deed::Put)
        }
        (_, Some(_)) => Some(Deed::Exchange { is_folder }),
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
    let time = |tv_sec, tv_nsec| Timespec { tv_sec, tv_nsec };
    Timestamps {
        last_access: time(stat.st_atime, nanoseconds(stat.st_atime_nsec)),
        last_modification: time(stat.st_mtime, nanoseconds(stat.st_mtime_nsec)),
    }
}

fn nanoseconds(count: u64) -> i64 {
    // Below a thousand million.
    i64::try_from(count).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::super::testing::Folders;
    use super::*;

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

//! The folder, in the one that changes, where what is new waits and what is
//! old goes. Its name says how far a commit is: everything is gathered in one
//! that counts for nothing, and when all of it is on the disk with the journal
//! it gets the name that says so, by one rename.

use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::attributes;
use super::beneath;
use super::journal::{Journal, Malformed};
use crate::error::ChangesError;

/// How the name begins before all is on the disk, and after all is done.
const GATHERING: &str = ".nucleus-stage-";
/// How it begins in between.
const COMMITTING: &str = ".nucleus-commit-";

const JOURNAL: &CStr = c"journal";

/// Whether an entry of a folder has a name that only commits may use.
pub(super) fn is_reserved(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    [GATHERING, COMMITTING]
        .iter()
        .any(|start| bytes.starts_with(start.as_bytes()))
}

/// Entries have the number of their change as name.
#[derive(Debug)]
pub(super) struct Stage {
    /// What the name ends with: when it was made, then a random number.
    id: String,
    pub(super) folder: OwnedFd,
}

impl Stage {
    /// Makes one, which is this process's as long as it lives.
    pub(super) fn make(lower: BorrowedFd<'_>) -> Result<Self, ChangesError> {
        let mut random = [0; 8];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
            .map_err(ChangesError::lower("choose a name in", Path::new("")))?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.map_or(0, |now| now.as_nanos());
        let id = format!("{now:020x}-{:016x}", u64::from_ne_bytes(random));
        let path = PathBuf::from(format!("{GATHERING}{id}"));
        let failed = ChangesError::lower("make the folder", &path);
        let made = rustix::fs::mkdirat(lower, &path, Mode::RWXU)
            .and_then(|()| open(lower, &path))
            .and_then(|folder| {
                rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive)?;
                // What is made on it gets its own attributes, not the folder's.
                attributes::replace(folder.as_fd(), &Vec::new())?;
                rustix::fs::fchmod(&folder, Mode::RWXU)?;
                Ok(folder)
            });
        let folder = made.map_err(failed)?;
        Ok(Self { id, folder })
    }

    /// Those whose commit was interrupted, oldest first.
    pub(super) fn find(lower: BorrowedFd<'_>) -> Result<Vec<Self>, ChangesError> {
        let mut found = Vec::new();
        for name in names(lower, COMMITTING)? {
            let failed = ChangesError::lower("open the folder", &name);
            let folder = open(lower, &name).map_err(failed)?;
            lock(&folder, &name)?;
            let id = name.to_string_lossy().replacen(COMMITTING, "", 1);
            found.push(Self { id, folder });
        }
        Ok(found)
    }

    /// Removes those that nobody is gathering in any more.
    pub(super) fn sweep(lower: BorrowedFd<'_>) -> Result<(), ChangesError> {
        for name in names(lower, GATHERING)? {
            // Another's is not this process's to remove, or just gone.
            let Ok(folder) = open(lower, &name) else {
                continue;
            };
            if lock(&folder, &name).is_ok() {
                remove(lower, &name)?;
            }
        }
        Ok(())
    }

    /// Its name while changes are made.
    pub(super) fn name(&self) -> PathBuf {
        PathBuf::from(format!("{COMMITTING}{}", self.id))
    }

    fn gathering(&self) -> PathBuf {
        PathBuf::from(format!("{GATHERING}{}", self.id))
    }

    /// Brings everything to the disk, and says that it is there.
    pub(super) fn publish(
        &self,
        lower: BorrowedFd<'_>,
        journal: &Journal,
    ) -> Result<(), ChangesError> {
        let name = self.gathering();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        rustix::fs::openat(&self.folder, JOURNAL, flags, Mode::RUSR)
            .map_err(std::io::Error::from)
            .and_then(|file| File::from(file).write_all(&journal.to_bytes()))
            .map_err(ChangesError::lower("write the journal in", &name))?;
        self.sync()?;
        rustix::fs::renameat(lower, &name, lower, self.name())
            .map_err(ChangesError::lower("rename", &name))?;
        self.sync()
    }

    /// The journal, and whether this user made it.
    pub(super) fn journal(&self) -> Result<Journal, ChangesError> {
        let name = self.name();
        let stat = rustix::fs::fstat(&self.folder)
            .map_err(ChangesError::lower("look at the folder", &name))?;
        if stat.st_uid != rustix::process::geteuid().as_raw() {
            return Err(ChangesError::CommitOfAnother {
                folder: name,
                owner: stat.st_uid,
            });
        }
        let mut bytes = Vec::new();
        let path = Path::new("journal");
        beneath::open(self.folder.as_fd(), path, OFlags::RDONLY)
            .map_err(std::io::Error::from)
            .and_then(|file| File::from(file).read_to_end(&mut bytes))
            .map_err(ChangesError::lower("read the journal in", &name))?;
        Journal::from_bytes(&bytes)
            .map_err(|malformed: Malformed| std::io::Error::other(malformed))
            .map_err(ChangesError::lower("read the journal in", &name))
    }

    pub(super) fn sync(&self) -> Result<(), ChangesError> {
        rustix::fs::syncfs(&self.folder).map_err(ChangesError::lower("sync", &self.name()))
    }

    /// Takes it away, whichever name it has.
    pub(super) fn remove(&self, lower: BorrowedFd<'_>) -> Result<(), ChangesError> {
        let (committing, gathering) = (self.name(), self.gathering());
        match rustix::fs::renameat(lower, &committing, lower, &gathering) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(ChangesError::lower("rename", &committing)(errno)),
        }
        remove(lower, &gathering)
    }
}

fn open(lower: BorrowedFd<'_>, name: &Path) -> Result<OwnedFd, Errno> {
    beneath::open(lower, name, OFlags::RDONLY | OFlags::DIRECTORY)
}

fn lock(folder: &OwnedFd, name: &Path) -> Result<(), ChangesError> {
    match rustix::fs::flock(folder, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(()),
        Err(Errno::WOULDBLOCK) => Err(ChangesError::Busy {
            folder: name.to_owned(),
        }),
        Err(errno) => Err(ChangesError::lower("lock the folder", name)(errno)),
    }
}

/// The entries of a folder whose names begin so, ascending.
fn names(lower: BorrowedFd<'_>, start: &str) -> Result<Vec<PathBuf>, ChangesError> {
    let names = beneath::open(lower, Path::new(""), OFlags::RDONLY | OFlags::DIRECTORY)
        .and_then(|folder| beneath::names(folder.as_fd()))
        .map_err(ChangesError::lower("list the folder", Path::new("")))?;
    let matching = |name: &CString| name.to_bytes().starts_with(start.as_bytes());
    let path = |name: &CString| OsStr::from_bytes(name.to_bytes()).into();
    Ok(names
        .iter()
        .filter(|name| matching(name))
        .map(path)
        .collect())
}

fn remove(lower: BorrowedFd<'_>, name: &Path) -> Result<(), ChangesError> {
    let path = Path::new(&beneath::descriptor(lower)).join(name);
    std::fs::remove_dir_all(path).map_err(ChangesError::lower("remove", name))
}

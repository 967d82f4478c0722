//! Makes the changes of a journal: each is one rename. Whatever was done
//! before is seen, so that it can be begun anew at any point.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, Timespec, Timestamps};
use rustix::io::Errno;

use super::journal::{Action, Deed, FolderEnd, Journal};
use super::stage::Stage;
use super::{attributes, beneath};
use crate::error::ChangesError;

/// A journal, and what it is about.
pub(super) struct Apply<'a> {
    pub(super) journal: &'a Journal,
    pub(super) stage: &'a Stage,
    /// The folder that changes.
    pub(super) lower: BorrowedFd<'a>,
}

impl Apply<'_> {
    /// Makes the changes that are not made yet, gives folders their modes and
    /// times, and takes the stage away.
    pub(super) fn all(&self) -> Result<(), ChangesError> {
        let total = self.journal.actions.len();
        let incomplete = |done, source| ChangesError::Incomplete {
            done,
            total,
            rest: self.stage.name(),
            source: Box::new(source),
        };
        for (done, action) in self.journal.actions.iter().enumerate() {
            self.act(action).map_err(|error| incomplete(done, error))?;
        }
        self.journal
            .folders
            .iter()
            .try_for_each(|folder| self.finish(folder))
            .and_then(|()| self.stage.sync())
            .and_then(|()| self.stage.remove(self.lower))
            .map_err(|error| incomplete(total, error))
    }

    /// How many changes are made.
    pub(super) fn done(&self) -> Result<usize, ChangesError> {
        let mut done = 0;
        for action in &self.journal.actions {
            done += usize::from(self.is_done(action)?);
        }
        Ok(done)
    }

    fn is_done(&self, action: &Action) -> Result<bool, ChangesError> {
        let number = action.number.to_string();
        let staged =
            match rustix::fs::statat(&self.stage.folder, &number, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => Some(beneath::type_of(&stat)),
                Err(Errno::NOENT) => None,
                Err(errno) => {
                    let path = self.stage.name().join(number);
                    return Err(ChangesError::lower("look at", &path)(errno));
                }
            };
        Ok(match action.deed {
            Deed::Delete => staged.is_some(),
            Deed::Put => staged.is_none(),
            Deed::Exchange { is_folder } => match staged {
                Some(FileType::Directory) => !is_folder,
                // Of what is no folder, only files and links are put somewhere.
                Some(FileType::RegularFile | FileType::Symlink) => is_folder,
                Some(_) => true,
                None => false,
            },
        })
    }

    pub(super) fn act(&self, action: &Action) -> Result<(), ChangesError> {
        let path = &action.path;
        if self.is_done(action)? {
            return Ok(());
        }
        let (parent, name) = self.place(path)?;
        let (stage, staged) = (&self.stage.folder, action.number.to_string());
        match action.deed {
            Deed::Delete => match rustix::fs::renameat(&parent, name, stage, staged) {
                // Somebody else was faster.
                Ok(()) | Err(Errno::NOENT) => Ok(()),
                Err(errno) => Err(ChangesError::lower("delete", path)(errno)),
            },
            Deed::Put => rustix::fs::renameat(stage, staged, &parent, name)
                .map_err(ChangesError::lower("replace", path)),
            // A rename between a folder and a file, with one step for both.
            Deed::Exchange { .. } => {
                let flags = RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(stage, staged, &parent, name, flags)
                    .map_err(ChangesError::lower("replace", path))
            }
        }
    }

    /// The folder that an entry is in, and its name there.
    fn place<'p>(&self, path: &'p Path) -> Result<(OwnedFd, &'p OsStr), ChangesError> {
        let parent = path.parent().unwrap_or(Path::new(""));
        let folder = beneath::folder(self.lower, parent)
            .map_err(ChangesError::lower("open the folder", parent))?;
        Ok((folder, path.file_name().unwrap_or_default()))
    }

    fn finish(&self, end: &FolderEnd) -> Result<(), ChangesError> {
        let path = &end.path;
        let folder = beneath::folder(self.lower, path)
            .map_err(ChangesError::lower("open the folder", path))?;
        if let Some(wanted) = &end.attributes {
            beneath::open(self.lower, path, OFlags::RDONLY | OFlags::DIRECTORY)
                .and_then(|folder| attributes::replace(folder.as_fd(), wanted))
                .map_err(ChangesError::lower("set the attributes of", path))?;
        }
        let itself = PathBuf::from(beneath::descriptor(folder.as_fd()));
        if let Some(mode) = end.mode {
            let is = rustix::fs::fstat(&folder)
                .map_err(ChangesError::lower("look at", path))?
                .st_mode;
            // The set-group-ID bit of a folder is the host's: it decides who
            // owns what others put there.
            let mode = Mode::from_raw_mode((mode & 0o1777) | (is & 0o2000));
            rustix::fs::chmod(&itself, mode)
                .map_err(ChangesError::lower("set the mode of", path))?;
        }
        let [last_access, last_modification] = end
            .times
            .map(|(tv_sec, tv_nsec)| Timespec { tv_sec, tv_nsec });
        let times = Timestamps {
            last_access,
            last_modification,
        };
        rustix::fs::utimensat(CWD, itself, &times, AtFlags::empty())
            .map_err(ChangesError::lower("set the time of", path))
    }
}

//! Commits that were interrupted.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};

use super::apply::Apply;
use super::journal::Journal;
use super::stage::Stage;
use crate::error::ChangesError;

/// A commit to a folder of the host that was interrupted when all that it
/// needs was on the disk: it can be finished by whoever began it, at any time.
///
/// Nobody else can finish it meanwhile.
#[derive(Debug)]
pub struct PendingCommit {
    lower: OwnedFd,
    stage: Stage,
    journal: Journal,
    done: usize,
}

impl PendingCommit {
    /// Those of a folder, oldest first.
    ///
    /// # Errors
    ///
    /// [`ChangesError::Busy`] while one is being made,
    /// [`ChangesError::CommitOfAnother`] when it is another user's, and what
    /// cannot be read.
    pub fn find(folder: &Path) -> Result<Vec<Self>, ChangesError> {
        let lower = open(folder)?;
        let mut pending = Vec::new();
        for stage in Stage::find(lower.as_fd())? {
            let lower = lower
                .try_clone()
                .map_err(ChangesError::lower("open the folder", Path::new("")))?;
            let journal = stage.journal()?;
            let apply = Apply {
                journal: &journal,
                stage: &stage,
                lower: lower.as_fd(),
            };
            let done = apply.done()?;
            pending.push(Self {
                lower,
                stage,
                journal,
                done,
            });
        }
        Ok(pending)
    }

    /// Removes from a folder what commits left that had not begun to change it.
    ///
    /// # Errors
    ///
    /// What could not be removed.
    pub fn sweep(folder: &Path) -> Result<(), ChangesError> {
        Stage::sweep(open(folder)?.as_fd())
    }

    /// How many of its changes were made when it was found.
    #[must_use]
    pub const fn done(&self) -> usize {
        self.done
    }

    /// How many changes it has: added, replaced and deleted names.
    #[must_use]
    pub const fn total(&self) -> usize {
        self.journal.actions.len()
    }

    /// Makes the rest of its changes, over whatever is there now.
    ///
    /// # Errors
    ///
    /// [`ChangesError::Incomplete`]; it can be finished later.
    pub fn finish(self) -> Result<(), ChangesError> {
        let apply = Apply {
            journal: &self.journal,
            stage: &self.stage,
            lower: self.lower.as_fd(),
        };
        apply.all()
    }

    /// Forgets the rest of its changes. Those that were made stay.
    ///
    /// # Errors
    ///
    /// What could not be removed.
    pub fn discard(self) -> Result<(), ChangesError> {
        self.stage.remove(self.lower.as_fd())
    }
}

fn open(folder: &Path) -> Result<OwnedFd, ChangesError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, folder, flags, Mode::empty()).map_err(|errno| ChangesError::Folder {
        path: folder.to_owned(),
        source: errno.into(),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::super::commit::Commit;
    use super::super::testing::Folders;
    use super::*;

    /// A change of every kind.
    fn folders() -> Folders {
        let folders = Folders::new();
        for (path, text) in [
            ("lower/changed", "old"),
            ("lower/file", "old"),
            ("lower/folder/in", "old"),
            ("lower/kept", "old"),
            ("upper/changed", "new"),
            ("upper/file/in", "new"),
            ("upper/folder", "new"),
            ("upper/new/deep/in", "new"),
            ("upper/there/in", "new"),
        ] {
            folders.write(path, text);
        }
        symlink("kept", folders.at("lower/link")).unwrap();
        symlink("changed", folders.at("upper/link")).unwrap();
        fs::create_dir(folders.at("lower/there")).unwrap();
        let closed = fs::Permissions::from_mode(0o555);
        fs::set_permissions(folders.at("upper/new"), closed).unwrap();
        folders
    }

    fn assert_committed(folders: &Folders) {
        for path in ["changed", "file/in", "folder", "new/deep/in", "there/in"] {
            let text = fs::read(folders.at("lower").join(path)).unwrap();
            assert_eq!(text, b"new", "{path}");
        }
        assert_eq!(folders.said(), [""; 0]);
        let mode = fs::metadata(folders.at("lower/new")).unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o555);
        folders.assert_tidy();
    }

    /// Begins a commit, and makes as many of its changes.
    fn interrupt(folders: &Folders, done: usize) -> usize {
        let changes = folders.changes();
        let lower = changes.layers.lower.as_fd();
        let stage = Stage::make(lower).unwrap();
        let commit = Commit {
            changes: &changes,
            stage: &stage,
        };
        let journal = commit.journal();
        commit.gather().unwrap();
        stage.publish(lower, &journal).unwrap();
        let apply = Apply {
            journal: &journal,
            stage: &stage,
            lower,
        };
        for action in &journal.actions[..done] {
            apply.act(action).unwrap();
        }
        journal.actions.len()
    }

    fn find(folders: &Folders) -> Vec<PendingCommit> {
        PendingCommit::find(&folders.at("lower")).unwrap()
    }

    #[test]
    fn a_commit_is_finished_wherever_it_was_interrupted() {
        let total = interrupt(&folders(), 0);
        for done in 0..=total {
            let folders = folders();
            interrupt(&folders, done);
            let mut pending = find(&folders);
            assert_eq!(pending.len(), 1);
            let pending = pending.remove(0);
            assert_eq!((pending.done(), pending.total()), (done, total));
            // Interrupted once more, and then not.
            drop(pending);
            find(&folders).remove(0).finish().unwrap();
            assert_committed(&folders);
            assert!(find(&folders).is_empty());
        }
    }

    #[test]
    fn a_commit_that_is_discarded_leaves_what_it_had_done() {
        let folders = folders();
        interrupt(&folders, 1);
        find(&folders).remove(0).discard().unwrap();
        assert_eq!(fs::read(folders.at("lower/changed")).unwrap(), b"new");
        assert_eq!(fs::read(folders.at("lower/file")).unwrap(), b"old");
        folders.assert_tidy();
    }

    #[test]
    fn nobody_interferes_with_a_commit_that_is_made() {
        let folders = folders();
        let changes = folders.changes();
        let lower = changes.layers.lower.as_fd();
        let stage = Stage::make(lower).unwrap();
        PendingCommit::sweep(&folders.at("lower")).unwrap();
        let journal = Journal::default();
        stage.publish(lower, &journal).unwrap();
        let error = PendingCommit::find(&folders.at("lower")).unwrap_err();
        assert!(matches!(error, ChangesError::Busy { .. }), "{error}");
        drop(stage);
        assert_eq!(find(&folders).len(), 1);
    }

    /// What was left before the journal was there is no commit.
    #[test]
    fn what_was_only_gathered_is_swept_away() {
        let folders = folders();
        drop(Stage::make(folders.changes().layers.lower.as_fd()).unwrap());
        assert!(find(&folders).is_empty());
        folders.changes().commit().unwrap();
        assert_committed(&folders);
    }
}

//! The cgroup of one program: made, limited, and removed whatever happens.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::fs::{FlockOperation, OFlags};

use crate::{Cgroup, Error, Host, Limits, Place, Stats};

/// What the names of groups begin with.
const PREFIX: &str = "nucleus-run-";

/// The child that holds the program.
const INNER: &str = "run";

/// How long dropping a group waits for the dead.
const DROP_PATIENCE: Duration = Duration::from_secs(2);

/// How long making a group waits for another one's dead.
const SWEEP_PATIENCE: Duration = Duration::from_millis(200);

/// A cgroup with limits, and in it a child that takes the program.
///
/// The limits are on the outer one. With its controllers enabled for the inner
/// one they are in use, so that nobody above (systemd, at a `daemon-reload`) can
/// take them away: the kernel refuses that with EBUSY.
///
/// The outer one's directory is locked (flock(2)) for as long as this value
/// lives. A group whose lock is free was left by a program that was killed;
/// the next one that is made beside it removes it.
#[derive(Debug)]
pub struct Group {
    parent: Cgroup,
    name: OsString,
    outer: Cgroup,
    inner: Cgroup,
    removed: bool,
}

impl AsFd for Group {
    /// The directory that the program is to be cloned into (`CLONE_INTO_CGROUP`).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

impl Group {
    /// Makes one at a place that was prepared for the limits' controllers, and
    /// applies them.
    ///
    /// # Errors
    ///
    /// The place does not offer what the limits need; the kernel refuses one or
    /// holds another value. Nothing is left behind then.
    pub fn create(place: Place, limits: &Limits) -> Result<Self, Error> {
        let needed = limits.controllers();
        let parent = place.into_cgroup();
        // A group is never seen unlocked while it is made. The lock is not that
        // of the parent's directory: the parent may be a group, too, whose maker
        // holds that for its life.
        let gate = gate(&parent)?;
        lock(&gate, &parent, FlockOperation::LockExclusive)?;
        let made = Self::make(parent, &needed)?;
        lock(&gate, &made.parent, FlockOperation::Unlock)?;
        limits.apply(&made.outer)?;
        Ok(made)
    }

    fn make(parent: Cgroup, needed: &BTreeSet<crate::Controller>) -> Result<Self, Error> {
        sweep(&parent)?;
        parent.enable(needed)?;
        let (name, outer) = create_unique(&parent)?;
        let built = lock(&outer, &outer, FlockOperation::NonBlockingLockExclusive)
            .and_then(|()| outer.enable(needed))
            .and_then(|()| outer.create_child(OsStr::new(INNER)));
        match built {
            Ok(inner) => Ok(Self {
                parent,
                name,
                outer,
                inner,
                removed: false,
            }),
            Err(error) => {
                outer.clear(DROP_PATIENCE)?;
                parent.remove_child(&name)?;
                Err(error)
            }
        }
    }

    /// The cgroup with the limits.
    #[must_use]
    pub const fn cgroup(&self) -> &Cgroup {
        &self.outer
    }

    /// Where it is, for messages.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.outer.path()
    }

    /// Moves a process into it; a program is better cloned into it.
    ///
    /// # Errors
    ///
    /// As [`Cgroup::admit`].
    pub fn admit(&self, pid: i32) -> Result<(), Error> {
        self.inner.admit(pid)
    }

    /// What the program has used.
    ///
    /// # Errors
    ///
    /// As [`Cgroup::stats`].
    pub fn stats(&self) -> Result<Stats, Error> {
        let mut stats = self.outer.stats()?;
        // Before 6.11 a refused fork is counted where the task is.
        if let (Some(outer), Some(inner)) = (&mut stats.pids, self.inner.pids()?) {
            outer.refused = outer.refused.max(inner.refused);
        }
        Ok(stats)
    }

    /// Kills what is in it, waits until it is gone and removes it.
    ///
    /// # Errors
    ///
    /// [`Error::StillPopulated`] when a process outlives SIGKILL for longer
    /// than `patience`; the group can be tried again, and what is left then is
    /// removed by the next program that makes one.
    pub fn remove(&mut self, patience: Duration) -> Result<(), Error> {
        if !self.removed {
            self.outer.clear(patience)?;
            self.parent.remove_child(&self.name)?;
            self.removed = true;
        }
        Ok(())
    }
}

/// Waits until the maker of a group is gone, with all that it cloned without
/// exec, and removes what it left behind. For a process that stands by in case
/// the maker is killed.
///
/// # Errors
///
/// As [`Group::remove`]. That there is no such group any more is none.
pub fn remove_after_maker(host: &Host, path: &Path, patience: Duration) -> Result<(), Error> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok(());
    };
    let parent = host.open(parent)?;
    let outcome = parent.child(name).and_then(|group| {
        lock(&group, &group, FlockOperation::LockExclusive)?;
        group.clear(patience)
    });
    match outcome.and_then(|()| parent.remove_child(name)) {
        // Removed by its maker, or by another one's sweep.
        Err(
            Error::Open { source, .. } | Error::Write { source, .. } | Error::Read { source, .. },
        ) if is_gone(&source) => Ok(()),
        outcome => outcome,
    }
}

/// A file of a cgroup that was removed while it was open is ENODEV.
fn is_gone(error: &std::io::Error) -> bool {
    error.kind() == ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error())
}

impl Drop for Group {
    /// Removes it. A failure has nowhere to go: the next group's sweep tries
    /// again; call [`remove`](Group::remove) to know.
    fn drop(&mut self) {
        let _left_to_the_sweep: Result<(), Error> = self.remove(DROP_PATIENCE);
    }
}

fn create_unique(parent: &Cgroup) -> Result<(OsString, Cgroup), Error> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let pid = std::process::id();
    loop {
        // A process of the same number in another PID namespace may have made one.
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = OsString::from(format!("{PREFIX}{pid}-{count}"));
        match parent.create_child(&name) {
            Err(Error::Create { source, .. }) if source.kind() == ErrorKind::AlreadyExists => {}
            made => return Ok((name, made?)),
        }
    }
}

/// Removes groups whose makers are dead. What cannot be removed yet, or is
/// another user's, is left to the next time.
fn sweep(parent: &Cgroup) -> Result<(), Error> {
    for name in parent.children()? {
        if !name.as_bytes().starts_with(PREFIX.as_bytes()) {
            continue;
        }
        match parent
            .child(&name)
            .and_then(|group| sweep_one(parent, &name, &group))
        {
            Ok(()) | Err(Error::StillPopulated { .. }) => {}
            Err(
                Error::Open { source, .. }
                | Error::Write { source, .. }
                | Error::Remove { source, .. },
            ) if is_gone(&source) || source.kind() == ErrorKind::PermissionDenied => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn sweep_one(parent: &Cgroup, name: &OsStr, group: &Cgroup) -> Result<(), Error> {
    match lock(group, group, FlockOperation::NonBlockingLockExclusive) {
        Err(Error::Lock { source, .. }) if source.kind() == ErrorKind::WouldBlock => Ok(()),
        Err(error) => Err(error),
        Ok(()) => {
            group.clear(SWEEP_PATIENCE)?;
            parent.remove_child(name)
        }
    }
}

/// What is locked while a group is made below a cgroup.
fn gate(parent: &Cgroup) -> Result<OwnedFd, Error> {
    const FILE: &str = "cgroup.subtree_control";
    let opened = parent.open_file(FILE, OFlags::RDONLY);
    opened.map_err(|source| Error::Read {
        path: parent.path().join(FILE),
        source,
    })
}

fn lock(held: impl AsFd, of: &Cgroup, operation: FlockOperation) -> Result<(), Error> {
    rustix::io::retry_on_intr(|| rustix::fs::flock(&held, operation)).map_err(|errno| Error::Lock {
        path: of.path().to_owned(),
        source: errno.into(),
    })
}

//! A writable layer over a root directory that lies in a folder of the host,
//! and is there again in the next run.
//!
//! What nucleus makes is in one folder there that only its maker can enter: a
//! program's files with a set-user-ID bit are out of everybody's reach.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Gid, Mode, OFlags, Uid, XattrFlags};
use rustix::io::Errno;

use super::beneath;
use crate::error::KeptLayerError;

/// What nucleus makes in the folder, and in that.
const OWN: &str = "nucleus";
const UPPER: &str = "upper";
const WORK: &str = "work";
/// A link to the root directory that the layer belongs to.
const OVER: &str = "over";

/// The layers' places below where the folder is attached.
pub(crate) const UPPER_PATH: &str = "nucleus/upper";
pub(crate) const WORK_PATH: &str = "nucleus/work";

/// A kept layer, and what it is made with if it is not there yet.
#[derive(Debug)]
pub(crate) struct KeptLayer {
    /// The folder of the user's, opened with `O_PATH`.
    pub(crate) folder: OwnedFd,
    /// Its real path.
    pub(crate) path: PathBuf,
    /// The root directory below, by its real path.
    pub(crate) over: PathBuf,
    /// The mode of the layer's folder, and its user and group if it is not
    /// to belong to its maker.
    pub(crate) mode: u32,
    pub(crate) owner: Option<(u32, u32)>,
    /// Marks are attributes of `user.*`, not `trusted.*`.
    pub(crate) user_xattr: bool,
}

impl KeptLayer {
    /// Fails unless the folder is empty or has a layer of this user's over the
    /// same root directory. Changes nothing.
    pub(crate) fn check(&self) -> Result<(), KeptLayerError> {
        let Some(own) = self.own()? else {
            let folder = beneath::open(self.folder.as_fd(), Path::new(""), OFlags::RDONLY)
                .map_err(self.failed("open"))?;
            let names = beneath::names(folder.as_fd()).map_err(self.failed("list"))?;
            return match names.first() {
                None => Ok(()),
                Some(name) => Err(KeptLayerError::NotEmpty {
                    path: self.path.clone(),
                    name: OsStr::from_bytes(name.to_bytes()).into(),
                }),
            };
        };
        let stat = rustix::fs::fstat(&own).map_err(self.failed("look at"))?;
        if stat.st_uid != rustix::process::geteuid().as_raw() {
            return Err(KeptLayerError::OfAnother {
                path: self.path.clone(),
                owner: stat.st_uid,
            });
        }
        let over = match rustix::fs::readlinkat(&own, OVER, Vec::new()) {
            Ok(over) => PathBuf::from(OsStr::from_bytes(over.to_bytes())),
            // It was killed while it was being made.
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(self.failed("read the link in")(errno)),
        };
        if over != self.over {
            return Err(KeptLayerError::OverAnother {
                path: self.path.clone(),
                over,
            });
        }
        Ok(())
    }

    /// Makes what is not there yet; nobody else can use the layer while the
    /// descriptor lives.
    pub(crate) fn prepare(&self) -> Result<OwnedFd, KeptLayerError> {
        let folder = self.folder.as_fd();
        make(folder, OWN, 0o700).map_err(self.failed("make a folder in"))?;
        let own = self
            .own()?
            .ok_or_else(|| self.failed::<Errno>("find what was made in")(Errno::NOENT))?;
        match rustix::fs::flock(&own, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(KeptLayerError::InUse {
                    path: self.path.clone(),
                });
            }
            Err(errno) => return Err(self.failed("lock")(errno)),
        }
        // Again, now that nobody else can change it.
        self.check()?;
        self.can_mark(own.as_fd())?;
        self.make_layers(own.as_fd())
            .map_err(self.failed("make the layer in"))?;
        Ok(own)
    }

    /// The link comes last: what has one is whole.
    fn make_layers(&self, own: BorrowedFd<'_>) -> Result<(), Errno> {
        make(own, WORK, 0o700)?;
        match rustix::fs::readlinkat(own, OVER, Vec::new()) {
            Ok(_over) => return Ok(()),
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
        make(own, UPPER, self.mode)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let upper = beneath::open(own, Path::new(UPPER), flags)?;
        if let Some((uid, gid)) = self.owner {
            rustix::fs::fchown(&upper, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        }
        // Whatever the umask is.
        rustix::fs::fchmod(&upper, Mode::from_raw_mode(self.mode & 0o1777))?;
        rustix::fs::symlinkat(&self.over, own, OVER)
    }

    /// Overlayfs goes without marks where it cannot make them, and then fails
    /// when something is deleted.
    fn can_mark(&self, own: BorrowedFd<'_>) -> Result<(), KeptLayerError> {
        let name = if self.user_xattr {
            c"user.nucleus"
        } else {
            c"trusted.nucleus"
        };
        match rustix::fs::fsetxattr(own, name, b"y", XattrFlags::empty()) {
            Ok(()) => Ok(()),
            Err(Errno::OPNOTSUPP) => Err(KeptLayerError::NoAttributes {
                path: self.path.clone(),
            }),
            Err(errno) => Err(self.failed("set an attribute in")(errno)),
        }
    }

    fn own(&self) -> Result<Option<OwnedFd>, KeptLayerError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        match beneath::open(self.folder.as_fd(), Path::new(OWN), flags) {
            Ok(own) => Ok(Some(own)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(self.failed("open what nucleus made in")(errno)),
        }
    }

    fn failed<E: Into<io::Error>>(
        &self,
        what: &'static str,
    ) -> impl FnOnce(E) -> KeptLayerError + use<E> {
        let path = self.path.clone();
        move |source| KeptLayerError::Folder {
            what,
            path,
            source: source.into(),
        }
    }
}

fn make(folder: BorrowedFd<'_>, name: &str, mode: u32) -> Result<(), Errno> {
    match rustix::fs::mkdirat(folder, name, Mode::from_raw_mode(mode)) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rustix::fs::CWD;

    use super::*;

    fn kept(folder: &Path, over: &str) -> KeptLayer {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        KeptLayer {
            folder: rustix::fs::openat(CWD, folder, flags, Mode::empty()).unwrap(),
            path: folder.to_owned(),
            over: over.into(),
            mode: 0o755,
            owner: None,
            // Which the temporary folder may lack: tmpfs has them since 6.6.
            user_xattr: !rustix::process::geteuid().is_root(),
        }
    }

    #[test]
    fn a_layer_is_one_run_s_at_a_time_and_one_root_s_for_ever() {
        let scratch = tempfile::tempdir().unwrap();
        let first = kept(scratch.path(), "/image");
        first.check().unwrap();
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
        let lock = first.prepare().unwrap();
        let again = kept(scratch.path(), "/image");
        let error = again.prepare().unwrap_err();
        assert!(matches!(error, KeptLayerError::InUse { .. }), "{error}");
        drop(lock);
        again.check().unwrap();
        again.prepare().unwrap();
        let error = kept(scratch.path(), "/other").check().unwrap_err();
        assert!(
            matches!(error, KeptLayerError::OverAnother { .. }),
            "{error}"
        );
    }

    #[test]
    fn a_folder_with_something_else_in_it_is_refused() {
        let scratch = tempfile::tempdir().unwrap();
        fs::write(scratch.path().join("file"), "").unwrap();
        let error = kept(scratch.path(), "/image").check().unwrap_err();
        assert!(matches!(error, KeptLayerError::NotEmpty { .. }), "{error}");
    }
}

//! Files and folders of the host that a sandbox shows: opened once, by the
//! parent, before anything changes.
//!
//! The child cannot mount what the parent has opened: its mounts are copies,
//! and the kernel clones none of another mount namespace (`may_copy_tree` in
//! `fs/namespace.c`). So the child opens the real path in its own mounts,
//! without following any link, and goes on only with the same inode. The
//! parent's descriptor stays open until then, so that no other file can have
//! got its number.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::cpath::CPath;
use crate::error::SourceError;
use crate::report::{Call, Context, Fault};
use crate::stdio::above_streams;

/// What a step takes from the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// Whatever is at a path that only root can change, links followed.
    Path(CPath),
    /// What the parent has opened: its real path and its inode.
    Opened {
        path: CPath,
        device: u64,
        inode: u64,
    },
}

/// A file or folder that the parent holds open.
#[derive(Debug)]
pub(crate) struct Opened {
    /// Opened with `O_PATH`.
    pub(crate) fd: OwnedFd,
    /// Its real path.
    pub(crate) path: CPath,
    stat: Stat,
}

impl Opened {
    /// Follows symbolic links, now and never again, but not the links of
    /// /proc, which lead to where no path does.
    pub(crate) fn open(what: &'static str, path: &Path) -> Result<Self, SourceError> {
        let failed = |errno: Errno| {
            let (path, source) = (path.to_owned(), errno.into());
            match errno {
                Errno::NOSYS => SourceError::NoOpenat2 { what, path, source },
                _ => SourceError::Open { what, path, source },
            }
        };
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let open = |resolve| {
            rustix::fs::openat2(CWD, path, flags, Mode::empty(), resolve).and_then(above_streams)
        };
        // A path without links is the real one.
        let without_links = if path.is_absolute() && !leads_back(path) {
            open(ResolveFlags::NO_SYMLINKS)
        } else {
            Err(Errno::LOOP)
        };
        let (fd, path) = match without_links {
            Err(Errno::LOOP) => {
                let fd = open(ResolveFlags::NO_MAGICLINKS).map_err(failed)?;
                let path = real_path(&fd).map_err(|errno| SourceError::NoProc {
                    what,
                    path: path.to_owned(),
                    source: errno.into(),
                })?;
                (fd, path)
            }
            other => {
                let fd = other.map_err(failed)?;
                let path = CPath::new(path).map_err(|_nul| failed(Errno::INVAL))?;
                (fd, path)
            }
        };
        let stat = rustix::fs::fstat(&fd).map_err(failed)?;
        Ok(Self { fd, path, stat })
    }

    /// As [`Opened::open`]; `None` where the path leads this user nowhere.
    pub(crate) fn find(what: &'static str, path: &Path) -> Result<Option<Self>, SourceError> {
        const NOWHERE: [Errno; 4] = [Errno::ACCESS, Errno::LOOP, Errno::NOENT, Errno::NOTDIR];
        match Self::open(what, path) {
            Err(SourceError::Open { source, .. })
                if Errno::from_io_error(&source).is_some_and(|errno| NOWHERE.contains(&errno)) =>
            {
                Ok(None)
            }
            other => other.map(Some),
        }
    }

    pub(crate) fn is_folder(&self) -> bool {
        FileType::from_raw_mode(self.stat.st_mode) == FileType::Directory
    }

    /// Whether it is a character or a block device.
    pub(crate) fn is_device(&self) -> bool {
        matches!(
            FileType::from_raw_mode(self.stat.st_mode),
            FileType::CharacterDevice | FileType::BlockDevice
        )
    }

    /// The permission bits.
    pub(crate) const fn mode(&self) -> u32 {
        self.stat.st_mode & 0o7777
    }

    /// User and group.
    pub(crate) const fn owner(&self) -> (u32, u32) {
        (self.stat.st_uid, self.stat.st_gid)
    }

    /// Whether its mode lets every user write to it.
    pub(crate) const fn is_writable_by_all(&self) -> bool {
        self.stat.st_mode & 0o002 != 0
    }

    /// What a step takes it by.
    pub(crate) fn source(&self) -> Source {
        Source::Opened {
            path: self.path.clone(),
            device: self.stat.st_dev,
            inode: self.stat.st_ino,
        }
    }
}

fn leads_back(path: &Path) -> bool {
    let mut parts = path.as_os_str().as_bytes().split(|&byte| byte == b'/');
    parts.any(|part| part == b"..")
}

/// Where the kernel has what is open.
fn real_path(fd: &OwnedFd) -> Result<CPath, Errno> {
    let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
    rustix::fs::readlink(link, Vec::new()).map(CPath::from)
}

impl Source {
    /// Its path on the host.
    pub(crate) fn path(&self) -> &CPath {
        match self {
            Self::Path(path) | Self::Opened { path, .. } => path,
        }
    }

    /// Opens it in the mounts of this process. In the child.
    pub(crate) fn open(&self) -> Result<OwnedFd, Fault> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let (path, device, inode) = match self {
            Self::Path(path) => {
                return rustix::fs::openat(CWD, &**path, flags, Mode::empty()).call(Call::Open);
            }
            Self::Opened {
                path,
                device,
                inode,
            } => (path, *device, *inode),
        };
        let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let fd =
            rustix::fs::openat2(CWD, &**path, flags, Mode::empty(), resolve).call(Call::Open)?;
        let stat = rustix::fs::fstat(fd.as_fd()).call(Call::Stat)?;
        if (stat.st_dev, stat.st_ino) == (device, inode) {
            return Ok(fd);
        }
        // It was replaced since the parent opened it.
        Err(Fault {
            call: Call::Stat,
            errno: Errno::STALE,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_was_opened_is_what_is_taken() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().canonicalize().unwrap();
        let (asked, real, other) = (
            folder.join("asked"),
            folder.join("real"),
            folder.join("other"),
        );
        fs::create_dir(&real).unwrap();
        fs::create_dir(&other).unwrap();
        symlink(&real, &asked).unwrap();

        for way in [
            &asked,
            &real,
            &folder.join("./real/"),
            &other.join("../real"),
        ] {
            assert_eq!(Opened::open("volume", way).unwrap().path.as_path(), real);
        }
        let opened = Opened::open("volume", &asked).unwrap();
        assert!(opened.is_folder());
        let source = opened.source();
        assert!(source.open().is_ok());

        // The link that the user named is not looked at again.
        fs::remove_file(&asked).unwrap();
        symlink(&other, &asked).unwrap();
        assert!(source.open().is_ok());

        let refused = |expected| assert_eq!(source.open().unwrap_err().errno, expected);
        fs::rename(&real, folder.join("away")).unwrap();
        refused(Errno::NOENT);
        symlink(&other, &real).unwrap();
        refused(Errno::LOOP);
        fs::remove_file(&real).unwrap();
        fs::create_dir(&real).unwrap();
        refused(Errno::STALE);
    }

    #[test]
    fn links_of_proc_are_not_followed() {
        let error = Opened::open("volume", Path::new("/proc/self/cwd")).unwrap_err();
        let SourceError::Open { source, .. } = error else {
            panic!("{error:?}");
        };
        assert_eq!(Errno::from_io_error(&source), Some(Errno::LOOP));
    }
}

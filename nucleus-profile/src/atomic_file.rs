//! Files that appear whole or not at all.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::FileError;

/// How many names are tried for the unfinished file.
const ATTEMPTS: u32 = 64;

const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

/// A file that is found out to be writable before a run and appears whole
/// after it, with mode 0600; dropped before [`AtomicFile::commit`], it leaves
/// nothing behind.
///
/// The name itself is never followed as a symbolic link. The directory is
/// opened once, through whatever links its path has: the user named it.
///
/// Where the file system can (`O_TMPFILE`, 3.11), the unfinished file has no
/// name, so that nothing is left when nucleus is killed, either.
///
/// ```
/// use std::io::Write;
/// let directory = tempfile::tempdir()?;
/// let path = directory.path().join("profile.json");
/// let mut file = nucleus_profile::AtomicFile::create(&path)?;
/// file.write_all(b"{}\n")?;
/// assert!(!path.exists());
/// file.commit()?;
/// assert_eq!(std::fs::read(&path)?, b"{}\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct AtomicFile {
    path: PathBuf,
    name: OsString,
    directory: OwnedFd,
    file: File,
    /// The name that the unfinished file has.
    unfinished: Option<OsString>,
}

impl AtomicFile {
    /// Starts a file that will be at `path`.
    ///
    /// # Errors
    ///
    /// [`FileError`] when the directory is missing or not writable, or when
    /// something other than a regular file is at `path`.
    pub fn create(path: &Path) -> Result<Self, FileError> {
        let name = file_name(path)?.to_owned();
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let directory = rustix::fs::open(
            parent,
            OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|errno| FileError::Directory {
            directory: parent.to_owned(),
            name: PathBuf::from(&name),
            source: errno.into(),
        })?;
        only_regular(&directory, &name, path)?;
        let create_error = |errno: Errno| FileError::Create {
            path: path.to_owned(),
            source: errno.into(),
        };
        let (file, unfinished) = match nameless(&directory) {
            Ok(file) => (file, None),
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT) => {
                let (file, unfinished) =
                    with_free_name(&name, |unfinished| named(&directory, unfinished))
                        .map_err(create_error)?;
                (file, Some(unfinished))
            }
            Err(errno) => return Err(create_error(errno)),
        };
        Ok(Self {
            path: path.to_owned(),
            name,
            directory,
            file: file.into(),
            unfinished,
        })
    }

    /// Where the file will be.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes `contents` and puts the file in its place.
    ///
    /// # Errors
    ///
    /// [`FileError::Write`] or [`FileError::Replace`].
    pub fn commit_with(mut self, contents: &[u8]) -> Result<(), FileError> {
        self.file
            .write_all(contents)
            .map_err(|source| FileError::Write {
                path: self.path.clone(),
                source,
            })?;
        self.commit()
    }

    /// Puts the file in its place, in one step.
    ///
    /// The contents are on the disk before the name is there, so that a crash
    /// leaves the old file or the new one whole. The directory is not waited
    /// for: that would be a second commit of the file system's journal.
    ///
    /// # Errors
    ///
    /// [`FileError::Write`] or [`FileError::Replace`]; what was at the path
    /// before is untouched then.
    pub fn commit(mut self) -> Result<(), FileError> {
        self.file.sync_all().map_err(|source| FileError::Write {
            path: self.path.clone(),
            source,
        })?;
        let replace_error = |errno: Errno| FileError::Replace {
            path: self.path.clone(),
            source: errno.into(),
        };
        only_regular(&self.directory, &self.name, &self.path)?;
        let unfinished = match self.unfinished.take() {
            Some(unfinished) => unfinished,
            None => give_name(&self.directory, &self.file, &self.name).map_err(replace_error)?,
        };
        let renamed =
            rustix::fs::renameat(&self.directory, &unfinished, &self.directory, &self.name);
        if let Err(errno) = renamed {
            let error = replace_error(errno);
            self.unfinished = Some(unfinished);
            return Err(error);
        }
        Ok(())
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if let Some(unfinished) = &self.unfinished {
            // There is nobody to tell, and a left-over is not worth a panic.
            let _ = rustix::fs::unlinkat(&self.directory, unfinished, AtFlags::empty());
        }
    }
}

fn file_name(path: &Path) -> Result<&OsStr, FileError> {
    use std::os::unix::ffi::OsStrExt;

    let ends_as_directory =
        path.as_os_str().as_bytes().ends_with(b"/") || path.as_os_str().as_bytes().ends_with(b"/.");
    path.file_name()
        .filter(|_| !ends_as_directory)
        .ok_or_else(|| FileError::NoFileName {
            path: path.to_owned(),
        })
}

/// Refuses to replace anything but a regular file. A link that appears later
/// is replaced by the rename, never followed.
fn only_regular(directory: &OwnedFd, name: &OsStr, path: &Path) -> Result<(), FileError> {
    let there = match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => FileType::from_raw_mode(stat.st_mode),
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => {
            return Err(FileError::Create {
                path: path.to_owned(),
                source: errno.into(),
            });
        }
    };
    let kind = match there {
        FileType::RegularFile => return Ok(()),
        FileType::Symlink => "a symbolic link",
        FileType::Directory => "a directory",
        FileType::Fifo => "a pipe",
        FileType::Socket => "a socket",
        _ => "a device",
    };
    Err(FileError::NotRegular {
        path: path.to_owned(),
        kind,
    })
}

/// A file without a name, if it can be given one later: that goes by /proc.
fn nameless(directory: &OwnedFd) -> Result<OwnedFd, Errno> {
    let file = rustix::fs::openat(
        directory,
        ".",
        OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC,
        PRIVATE,
    )?;
    rustix::fs::stat(magic_link(&file)).map(|_| file)
}

fn named(directory: &OwnedFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(
        directory,
        name,
        OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC,
        PRIVATE,
    )
}

fn give_name(directory: &OwnedFd, file: &File, name: &OsStr) -> Result<OsString, Errno> {
    let ((), unfinished) = with_free_name(name, |unfinished| {
        rustix::fs::linkat(
            rustix::fs::CWD,
            magic_link(file),
            directory,
            unfinished,
            AtFlags::SYMLINK_FOLLOW,
        )
    })?;
    Ok(unfinished)
}

fn magic_link(file: &impl AsRawFd) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

/// Tries names for an unfinished `name` until one is free.
fn with_free_name<T>(
    name: &OsStr,
    mut create: impl FnMut(&OsStr) -> Result<T, Errno>,
) -> Result<(T, OsString), Errno> {
    let pid = std::process::id();
    let mut attempt = 0;
    loop {
        let mut unfinished = OsString::from(".");
        unfinished.push(name);
        unfinished.push(format!(".{pid}-{attempt}.tmp"));
        match create(&unfinished) {
            Ok(created) => return Ok((created, unfinished)),
            Err(Errno::EXIST) if attempt < ATTEMPTS => attempt += 1,
            Err(errno) => return Err(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn listing(directory: &Path) -> Vec<OsString> {
        let mut names: Vec<_> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_committed_file_is_private_and_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out");
        fs::write(&path, "before").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();

        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(b"after").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"before");
        file.commit().unwrap();

        assert_eq!(fs::read(&path).unwrap(), b"after");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        assert_eq!(listing(directory.path()), ["out"]);
    }

    #[test]
    fn a_dropped_file_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let mut file = AtomicFile::create(&directory.path().join("out")).unwrap();
        file.write_all(b"half").unwrap();
        drop(file);
        assert!(listing(directory.path()).is_empty());
    }

    #[test]
    fn a_named_unfinished_file_is_removed_too() {
        let directory = tempfile::tempdir().unwrap();
        let fd: OwnedFd = File::open(directory.path()).unwrap().into();
        let unfinished = OsString::from(".out.tmp");
        let file = AtomicFile {
            path: directory.path().join("out"),
            name: "out".into(),
            file: named(&fd, &unfinished).unwrap().into(),
            directory: fd,
            unfinished: Some(unfinished),
        };
        assert_eq!(listing(directory.path()), [".out.tmp"]);
        drop(file);
        assert!(listing(directory.path()).is_empty());
    }

    #[test]
    fn names_that_are_taken_are_stepped_over() {
        let mut tried = Vec::new();
        let ((), name) = with_free_name(OsStr::new("out"), |name| {
            tried.push(name.to_owned());
            if tried.len() < 3 {
                Err(Errno::EXIST)
            } else {
                Ok(())
            }
        })
        .unwrap();
        assert_eq!(tried.len(), 3);
        assert_eq!(tried[2], name);
        assert_eq!(
            with_free_name::<()>(OsStr::new("out"), |_| Err(Errno::EXIST)),
            Err(Errno::EXIST)
        );
    }

    #[test]
    fn only_a_regular_file_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("target");
        fs::write(&target, "precious").unwrap();
        let link = directory.path().join("link");
        symlink(&target, &link).unwrap();
        let dangling = directory.path().join("dangling");
        symlink("nowhere", &dangling).unwrap();

        let check = |path: &Path, expected: &str| {
            let error = AtomicFile::create(path).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(&link, "a symbolic link");
        check(&dangling, "a symbolic link");
        check(Path::new("/dev/null"), "a device");
        check(&directory.path().join("."), "does not end in a file name");
        check(
            &directory.path().join("new/"),
            "does not end in a file name",
        );
        check(Path::new(""), "does not end in a file name");
        check(&directory.path().join("missing/out"), "create it first");
        assert_eq!(fs::read(&target).unwrap(), b"precious");
    }

    #[test]
    fn a_link_that_appears_meanwhile_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("target");
        fs::write(&target, "precious").unwrap();
        let path = directory.path().join("out");
        let file = AtomicFile::create(&path).unwrap();
        symlink(&target, &path).unwrap();
        let error = file.commit().unwrap_err().to_string();
        assert!(error.contains("a symbolic link"), "{error}");
        assert_eq!(fs::read(&target).unwrap(), b"precious");
        assert_eq!(listing(directory.path()), ["out", "target"]);
    }

    #[test]
    fn a_directory_in_the_way_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("out")).unwrap();
        let error = AtomicFile::create(&directory.path().join("out")).unwrap_err();
        assert!(error.to_string().contains("a directory"), "{error}");
    }
}

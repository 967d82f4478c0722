//! The file that an exec is about, found as the caller would find it.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, StatxFlags};
use rustix::io::Errno;

/// Which file, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileId {
    device: (u32, u32),
    inode: u64,
}

/// An executable.
#[derive(Debug)]
pub(super) struct File {
    pub(super) id: FileId,
    /// Its path after all links; `None` for one that no folder holds.
    pub(super) path: Option<Vec<u8>>,
    fd: OwnedFd,
}

/// How much of a file says how it is executed (`BINPRM_BUF_SIZE`).
const HEAD: usize = 256;

/// The first line of a script.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Interpreter {
    pub(super) path: Vec<u8>,
    pub(super) argument: Option<Vec<u8>>,
}

/// From where a thread looks files up.
#[derive(Debug)]
pub(super) struct Viewpoint {
    thread: u32,
    process: u32,
    root: OwnedFd,
    root_path: Vec<u8>,
}

impl Viewpoint {
    /// Of a thread that stands still.
    pub(super) fn of(thread: u32, process: u32) -> Result<Self, Errno> {
        let root = format!("/proc/{thread}/root");
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self {
            thread,
            process,
            root: rustix::fs::open(&root, flags, Mode::empty())?,
            root_path: link(&root)?,
        })
    }

    /// What execve(2) and execveat(2) find. `folder` is `None` for the working
    /// directory; `follow` whether a link at the end is followed.
    pub(super) fn find(
        &self,
        folder: Option<i32>,
        path: &[u8],
        follow: bool,
    ) -> Result<File, Errno> {
        let from_folder = |folder: i32| format!("/proc/{}/fd/{folder}", self.thread);
        let fd = match (self.magic(path), folder) {
            (Some(link), _) => open_link(&link)?,
            (None, Some(folder)) if path.is_empty() => open_link(&from_folder(folder))?,
            _ if path.is_empty() => return Err(Errno::NOENT),
            _ if path.starts_with(b"/") => self.open(path, follow)?,
            (None, folder) => {
                let base = folder.map_or_else(|| format!("/proc/{}/cwd", self.thread), from_folder);
                let base = self.inside(&link(&base)?)?;
                self.open(&[&base, b"/".as_slice(), path].concat(), follow)?
            }
        };
        File::new(fd)
    }

    /// The root that it looks from.
    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// The file at a path of a rule, if there is one.
    pub(super) fn id_at(&self, path: &[u8]) -> Option<FileId> {
        let fd = self.open(path, true).ok()?;
        FileId::of(&fd, c"").ok()
    }

    fn open(&self, path: &[u8], follow: bool) -> Result<OwnedFd, Errno> {
        let mut flags = OFlags::PATH | OFlags::CLOEXEC;
        flags.set(OFlags::NOFOLLOW, !follow);
        // A folder that is renamed meanwhile makes the kernel ask to try again.
        let mut tries = 0;
        loop {
            match rustix::fs::openat2(
                &self.root,
                path,
                flags,
                Mode::empty(),
                ResolveFlags::IN_ROOT,
            ) {
                Err(Errno::AGAIN) if tries < 8 => tries += 1,
                // A magic link of /proc, which would lead to a file of ours.
                Err(Errno::XDEV) => return Err(Errno::ACCESS),
                opened => return opened,
            }
        }
    }

    /// The links by which a program names itself and its descriptors: those
    /// would be this process's, if they were opened by their names.
    fn magic(&self, path: &[u8]) -> Option<String> {
        let own = [&b"/proc/self/"[..], b"/proc/thread-self/"];
        if let Some(rest) = own.iter().find_map(|own| path.strip_prefix(*own)) {
            if rest == b"exe" {
                return Some(format!("/proc/{}/exe", self.process));
            }
            let number = number(rest.strip_prefix(b"fd/")?)?;
            return Some(format!("/proc/{}/fd/{number}", self.thread));
        }
        let number = number(path.strip_prefix(b"/dev/fd/")?)?;
        Some(format!("/proc/{}/fd/{number}", self.thread))
    }

    /// A path of this process's view as one from the caller's root on.
    fn inside(&self, path: &[u8]) -> Result<Vec<u8>, Errno> {
        if self.root_path == b"/" {
            return Ok(path.to_vec());
        }
        match path.strip_prefix(self.root_path.as_slice()) {
            Some(rest) if rest.is_empty() || rest.starts_with(b"/") => Ok(rest.to_vec()),
            _ => Err(Errno::ACCESS),
        }
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl File {
    fn new(fd: OwnedFd) -> Result<Self, Errno> {
        let stat = rustix::fs::fstat(&fd)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {}
            FileType::Symlink => return Err(Errno::LOOP),
            _ => return Err(Errno::ACCESS),
        }
        let path = link(&format!("/proc/self/fd/{}", fd.as_raw_fd()))?;
        Ok(Self {
            id: FileId::of(&fd, c"")?,
            path: (stat.st_nlink > 0).then_some(path),
            fd,
        })
    }

    /// What a process executes now.
    pub(super) fn executed_by(process: u32) -> Result<Self, Errno> {
        Self::new(open_link(&format!("/proc/{process}/exe"))?)
    }

    /// Who interprets it. A file that cannot be read is taken for a program:
    /// if it is none, another file is executed than was judged, and that is
    /// seen.
    pub(super) fn interpreter(&self) -> Result<Option<Interpreter>, Errno> {
        let mut head = [0; HEAD];
        let file = match fs::File::open(format!("/proc/self/fd/{}", self.fd.as_raw_fd())) {
            Ok(file) => file,
            Err(_unreadable) => return Ok(None),
        };
        let length = match file.read_at(&mut head, 0) {
            Ok(length) => length,
            Err(_unreadable) => return Ok(None),
        };
        parse_head(&head[..length])
    }
}

impl FileId {
    fn of(fd: &OwnedFd, path: &std::ffi::CStr) -> Result<Self, Errno> {
        let flags = AtFlags::EMPTY_PATH;
        let stat = rustix::fs::statx(fd, path, flags, StatxFlags::INO)?;
        Ok(Self {
            device: (stat.stx_dev_major, stat.stx_dev_minor),
            inode: stat.stx_ino,
        })
    }
}

/// As `load_script` does (`fs/binfmt_script.c`): a path, and the rest of the
/// line as one argument.
fn parse_head(head: &[u8]) -> Result<Option<Interpreter>, Errno> {
    let Some(line) = head.strip_prefix(b"#!") else {
        return Ok(None);
    };
    let end = line.iter().position(|&byte| matches!(byte, b'\n' | 0));
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let trimmed = line[..end.unwrap_or(line.len())].trim_ascii();
    let blank = trimmed.iter().position(is_blank);
    // A path that is cut off at the end of the head is none.
    if trimmed.is_empty() || (end.is_none() && blank.is_none() && head.len() == HEAD) {
        return Err(Errno::NOEXEC);
    }
    let (path, rest) = trimmed.split_at(blank.unwrap_or(trimmed.len()));
    let argument = rest.trim_ascii();
    Ok(Some(Interpreter {
        path: path.to_vec(),
        argument: (!argument.is_empty()).then(|| argument.to_vec()),
    }))
}

fn open_link(path: &str) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}

fn link(path: &str) -> Result<Vec<u8>, Errno> {
    let target = fs::read_link(Path::new(path))
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    Ok(target.as_os_str().as_bytes().to_vec())
}

fn number(bytes: &[u8]) -> Option<u32> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Viewpoint {
        Viewpoint::of(std::process::id(), std::process::id()).expect("this process")
    }

    #[test]
    fn the_first_line_of_a_script_names_its_interpreter() {
        let check = |head: &[u8], expected: Option<(&[u8], Option<&[u8]>)>| {
            let expected = expected.map(|(path, argument)| Interpreter {
                path: path.to_vec(),
                argument: argument.map(<[u8]>::to_vec),
            });
            assert_eq!(parse_head(head), Ok(expected), "{}", head.escape_ascii());
        };
        check(b"\x7fELF", None);
        check(b"", None);
        check(b"#!/bin/sh\n", Some((b"/bin/sh", None)));
        check(b"#! /bin/sh  \nx", Some((b"/bin/sh", None)));
        check(b"#!/bin/sh -e x \n", Some((b"/bin/sh", Some(b"-e x"))));
        check(b"#!/bin/sh", Some((b"/bin/sh", None)));
        assert_eq!(parse_head(b"#!\n"), Err(Errno::NOEXEC));
        let cut: Vec<u8> = b"#!/".iter().chain(&[b'x'; 253]).copied().collect();
        assert_eq!(parse_head(&cut), Err(Errno::NOEXEC));
    }

    #[test]
    fn links_of_proc_are_the_callers() {
        let file = own().find(None, b"/proc/self/exe", true).expect("itself");
        let expected = std::env::current_exe().expect("this program");
        assert_eq!(file.path.as_deref(), Some(expected.as_os_str().as_bytes()));
        let executed = File::executed_by(std::process::id()).expect("this program");
        assert_eq!(file.id, executed.id);
    }

    #[test]
    fn what_no_folder_holds_has_no_path() {
        let flags = rustix::fs::MemfdFlags::CLOEXEC;
        let fd = rustix::fs::memfd_create("git", flags).expect("a file");
        let found = own().find(Some(fd.as_raw_fd()), b"", true).expect("a file");
        assert_eq!(found.path, None);
    }

    #[test]
    fn a_folder_and_a_link_that_is_not_followed_are_refused_as_by_the_kernel() {
        let find = |path: &[u8], follow| own().find(None, path, follow).map(|file| file.path);
        assert_eq!(find(b"/", true), Err(Errno::ACCESS));
        assert_eq!(find(b"/no/such/file", true), Err(Errno::NOENT));
        let folder = std::env::temp_dir().join(format!("nucleus-exec-{}", std::process::id()));
        fs::create_dir(&folder).expect("a folder");
        let to = folder.join("to");
        fs::write(&to, "#!/bin/sh\n").expect("a file");
        let from = folder.join("from");
        std::os::unix::fs::symlink(&to, &from).expect("a link");
        let name = from.as_os_str().as_bytes();
        assert_eq!(find(name, false), Err(Errno::LOOP));
        assert_eq!(
            find(name, true),
            Ok(Some(to.as_os_str().as_bytes().to_vec()))
        );
        fs::remove_dir_all(&folder).expect("removed");
    }
}

//! Writes archives that the kernel unpacks as its initial file system: the
//! "newc" format of `Documentation/driver-api/early-userspace/buffer-format.rst`.

use std::collections::BTreeSet;
use std::io::{Result, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

/// The kernel takes archives one after the other if each begins at a multiple
/// of four.
const BLOCK: usize = 512;

/// Everything belongs to root and has no time.
pub(crate) struct Archive<W> {
    out: W,
    written: usize,
    entries: u32,
    directories: BTreeSet<PathBuf>,
}

impl<W: Write> Archive<W> {
    pub(crate) fn new(out: W) -> Self {
        Self {
            out,
            written: 0,
            entries: 0,
            directories: BTreeSet::new(),
        }
    }

    /// A directory, after its ancestors: the kernel makes none by itself.
    pub(crate) fn directory(&mut self, path: &Path, mode: u32) -> Result<()> {
        let path = relative(path);
        if path.as_os_str().is_empty() || !self.directories.insert(path.to_path_buf()) {
            return Ok(());
        }
        self.parent(path)?;
        self.entry(path, DIRECTORY | mode, (0, 0), b"")
    }

    pub(crate) fn file(&mut self, path: &Path, mode: u32, content: &[u8]) -> Result<()> {
        let path = relative(path);
        self.parent(path)?;
        self.entry(path, FILE | (mode & 0o7777), (0, 0), content)
    }

    pub(crate) fn link(&mut self, path: &Path, target: &Path) -> Result<()> {
        let path = relative(path);
        self.parent(path)?;
        self.entry(path, LINK | 0o777, (0, 0), target.as_os_str().as_bytes())
    }

    pub(crate) fn device(&mut self, path: &Path, mode: u32, number: (u32, u32)) -> Result<()> {
        let path = relative(path);
        self.parent(path)?;
        self.entry(path, CHARACTER_DEVICE | mode, number, b"")
    }

    /// Ends the archive; another may follow in the same file.
    pub(crate) fn finish(mut self) -> Result<W> {
        self.entry(Path::new("TRAILER!!!"), 0, (0, 0), b"")?;
        self.pad(BLOCK)?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn parent(&mut self, path: &Path) -> Result<()> {
        match path.parent() {
            Some(parent) => self.directory(parent, 0o755),
            None => Ok(()),
        }
    }

    fn entry(&mut self, name: &Path, mode: u32, device: (u32, u32), content: &[u8]) -> Result<()> {
        self.entries += 1;
        let name = name.as_os_str().as_bytes();
        let header = [
            self.entries,
            mode,
            0, // user
            0, // group
            1, // links
            0, // time
            length(content)?,
            0, // device of the file system
            0,
            device.0,
            device.1,
            length(name)? + 1,
            0, // checksum, of another format
        ];
        let mut text = String::from("070701");
        for field in header {
            text.push_str(&format!("{field:08x}"));
        }
        self.write(text.as_bytes())?;
        self.write(name)?;
        self.write(b"\0")?;
        self.pad(4)?;
        self.write(content)?;
        self.pad(4)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.written += bytes.len();
        self.out.write_all(bytes)
    }

    fn pad(&mut self, to: usize) -> Result<()> {
        let missing = self.written.next_multiple_of(to) - self.written;
        self.write(&[0; BLOCK][..missing])
    }
}

fn relative(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

fn length(bytes: &[u8]) -> Result<u32> {
    u32::try_from(bytes.len()).map_err(std::io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn the_archive_is_what_cpio_unpacks() {
        let mut archive = Archive::new(Vec::new());
        archive
            .file(Path::new("/a/b/file"), 0o640, b"12345")
            .unwrap();
        archive.directory(Path::new("/a"), 0o755).unwrap();
        archive
            .link(Path::new("/a/link"), Path::new("b/file"))
            .unwrap();
        let bytes = archive.finish().unwrap();
        assert_eq!(bytes.len() % BLOCK, 0);

        let directory = tempfile::tempdir().unwrap();
        let Ok(mut cpio) = Command::new("cpio")
            .args(["--extract", "--quiet"])
            .current_dir(directory.path())
            .stdin(Stdio::piped())
            .spawn()
        else {
            eprintln!("SKIPPED: cpio is not installed");
            return;
        };
        cpio.stdin.take().unwrap().write_all(&bytes).unwrap();
        assert!(cpio.wait().unwrap().success());
        let read = std::fs::read(directory.path().join("a/link")).unwrap();
        assert_eq!(read, b"12345");
    }

    #[test]
    fn the_header_is_that_of_the_format() {
        let mut archive = Archive::new(Vec::new());
        archive.file(Path::new("x"), 0o755, b"ab").unwrap();
        let bytes = archive.finish().unwrap();
        let expected = "070701\
            00000001000081ed00000000000000000000000100000000\
            0000000200000000000000000000000000000000\
            0000000200000000";
        assert_eq!(&bytes[..110], expected.as_bytes());
        // 110 + 2 bytes of name are a multiple of four.
        assert_eq!(&bytes[110..116], b"x\0ab\0\0");
    }
}

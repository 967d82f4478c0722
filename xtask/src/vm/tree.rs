//! A set of host files that the guest gets at the same paths, with what they
//! need: the targets of links, the libraries of programs.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::hash::{Hash as _, Hasher as _};
use std::io::{BufWriter, Read as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::shell;
use crate::vm::cpio::Archive;

enum Entry {
    Directory,
    Link(PathBuf),
    File { mode: u32, content: Content },
}

enum Content {
    Of(PathBuf),
    Text(String),
}

#[derive(Default)]
pub(crate) struct Tree {
    entries: BTreeMap<PathBuf, Entry>,
}

impl Tree {
    /// Adds a file or link of the host. A link brings its target along; a
    /// directory comes empty. What is not there is left out.
    pub(crate) fn add(&mut self, path: &Path) -> Result<()> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(());
        };
        // On a merged /usr, /bin is a link, and must stay one in the guest.
        let Ok(parent) = fs::canonicalize(parent) else {
            return Ok(());
        };
        let path = parent.join(name);
        if self.entries.contains_key(&path) {
            return Ok(());
        }
        let Ok(status) = fs::symlink_metadata(&path) else {
            return Ok(());
        };
        let kind = status.file_type();
        if kind.is_symlink() {
            let target = fs::read_link(&path)
                .with_context(|| format!("reading the link {}", path.display()))?;
            let full = parent.join(&target);
            self.entries.insert(path, Entry::Link(target));
            self.add(&full)?;
        } else if kind.is_dir() {
            self.entries.insert(path, Entry::Directory);
        } else if kind.is_file() {
            let entry = Entry::File {
                mode: status.mode(),
                content: Content::Of(path.clone()),
            };
            self.entries.insert(path, entry);
        }
        Ok(())
    }

    /// Puts the host's file `from` at `path`.
    pub(crate) fn put(&mut self, path: &Path, from: &Path) {
        let entry = Entry::File {
            mode: 0o755,
            content: Content::Of(from.to_path_buf()),
        };
        self.entries.insert(path.to_path_buf(), entry);
    }

    pub(crate) fn text(&mut self, path: &str, text: &str) {
        let entry = Entry::File {
            mode: 0o644,
            content: Content::Text(text.to_owned()),
        };
        self.entries.insert(path.into(), entry);
    }

    pub(crate) fn link(&mut self, path: &str, target: &str) {
        self.entries.insert(path.into(), Entry::Link(target.into()));
    }

    pub(crate) fn directory(&mut self, path: &str) {
        self.entries.insert(path.into(), Entry::Directory);
    }

    /// Adds the libraries of every program and library in the tree.
    pub(crate) fn add_libraries(&mut self) -> Result<()> {
        let mut programs = Vec::new();
        for entry in self.entries.values() {
            if let Entry::File {
                content: Content::Of(path),
                ..
            } = entry
                && is_elf(path)?
            {
                programs.push(path.clone());
            }
        }
        if programs.is_empty() {
            return Ok(());
        }
        // Fails for a static program, of which it has nothing to say.
        let output = Command::new("ldd")
            .args(&programs)
            .output()
            .context("starting ldd")?;
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            // "	NAME => PATH (ADDRESS)" or "	PATH (ADDRESS)"
            let line = line.split_once("=> ").map_or(line, |(_, path)| path);
            let path = line.trim().split(' ').next().unwrap_or_default();
            if line.contains("(0x") && path.starts_with('/') {
                self.add(Path::new(path))?;
            }
        }
        Ok(())
    }

    /// A number that changes with the names, sizes and times of the files.
    pub(crate) fn fingerprint(&self) -> Result<u64> {
        let mut hasher = std::hash::DefaultHasher::new();
        for (path, entry) in &self.entries {
            path.hash(&mut hasher);
            match entry {
                Entry::Directory => {}
                Entry::Link(target) => target.hash(&mut hasher),
                Entry::File {
                    content: Content::Text(text),
                    ..
                } => text.hash(&mut hasher),
                Entry::File {
                    content: Content::Of(from),
                    ..
                } => {
                    let status = fs::metadata(from)
                        .with_context(|| format!("looking at {}", from.display()))?;
                    (status.size(), status.mtime(), status.mtime_nsec()).hash(&mut hasher);
                }
            }
        }
        Ok(hasher.finish())
    }

    /// Writes the archive of the tree to `path`, whose directory it makes, and
    /// removes older ones: those whose name begins alike, up to the `-`.
    pub(crate) fn write_to(&self, path: &Path) -> Result<()> {
        let directory = path.parent().context("an archive without directory")?;
        fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
        remove_older(directory, path)?;
        let partial = path.with_extension("partial");
        self.write(&partial)
            .with_context(|| format!("writing {}", partial.display()))?;
        fs::rename(&partial, path).with_context(|| format!("naming {}", path.display()))
    }

    fn write(&self, path: &Path) -> Result<()> {
        let mut archive = Archive::new(BufWriter::new(File::create(path)?));
        archive.device(Path::new("/dev/console"), 0o600, (5, 1))?;
        for (path, entry) in &self.entries {
            match entry {
                Entry::Directory => archive.directory(path, 0o755)?,
                Entry::Link(target) => archive.link(path, target)?,
                Entry::File {
                    mode,
                    content: Content::Text(text),
                } => {
                    archive.file(path, *mode, text.as_bytes())?;
                }
                Entry::File {
                    mode,
                    content: Content::Of(from),
                } => {
                    let content =
                        fs::read(from).with_context(|| format!("reading {}", from.display()))?;
                    archive.file(path, *mode, &content)?;
                }
            }
        }
        archive.finish()?;
        Ok(())
    }
}

fn remove_older(directory: &Path, path: &Path) -> Result<()> {
    let name = path
        .file_name()
        .context("an archive without name")?
        .to_string_lossy();
    let kind = name.split('-').next().unwrap_or_default();
    for entry in
        fs::read_dir(directory).with_context(|| format!("reading {}", directory.display()))?
    {
        let entry = entry.with_context(|| format!("reading {}", directory.display()))?;
        if entry.file_name().to_string_lossy().split('-').next() == Some(kind) {
            fs::remove_file(entry.path())
                .with_context(|| format!("removing {}", entry.path().display()))?;
        }
    }
    Ok(())
}

fn is_elf(path: &Path) -> Result<bool> {
    let mut file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let mut head = [0; 4];
    match file.read_exact(&mut head) {
        Ok(()) => Ok(head == *b"\x7fELF"),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
    }
}

/// `program` without its debug information, which is most of it; kept in
/// `directory` until the program changes.
pub(crate) fn stripped(program: &Path, directory: &Path) -> Result<PathBuf> {
    let status =
        fs::metadata(program).with_context(|| format!("looking at {}", program.display()))?;
    let name = program.file_name().context("a program without name")?;
    let key = super::hash(&(program, status.size(), status.mtime(), status.mtime_nsec()));
    let path = directory.join(format!("{}.{key:016x}", name.display()));
    if !path.is_file() {
        fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
        let partial = path.with_extension("partial");
        let mut strip = Command::new("strip");
        strip
            .arg("--strip-debug")
            .arg("-o")
            .arg(&partial)
            .arg(program);
        shell::output(&mut strip)?;
        fs::set_permissions(&partial, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("making {} executable", partial.display()))?;
        fs::rename(&partial, &path).with_context(|| format!("naming {}", path.display()))?;
    }
    Ok(path)
}

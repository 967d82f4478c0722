//! What all parts of a layout are made with: the steps, and the list of what
//! they have made.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::Held;
use super::places::{Place, Places};
use crate::error::LaunchError;
use crate::host::{Host, Node};
use crate::ids::Identity;
use crate::landlock::Grants;
use crate::plan::{IdMaps, MountAttr, Step};
use crate::source::{Opened, Source};
use crate::strings::c_string;

/// For what the program may read and execute.
pub(super) const READ_ONLY: MountAttr = MountAttr::RDONLY
    .union(MountAttr::NOSUID)
    .union(MountAttr::NODEV);

pub(super) struct Builder<'a> {
    pub(super) host: &'a Host,
    pub(super) ids: &'a Identity,
    pub(super) home: &'a Path,
    /// How much there is of which the folders in memory have a share, in bytes.
    pub(super) memory: u64,
    /// What is taken from the host.
    pub(super) takes: Vec<Step>,
    /// What is made in the new root.
    pub(super) steps: Vec<Step>,
    pub(super) grants: Grants,
    pub(super) mount_ids: Vec<IdMaps>,
    pub(super) held: Held,
    pub(super) places: Places,
    /// What the program can see of the host.
    pub(super) shown: Vec<PathBuf>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(host: &'a Host, ids: &'a Identity, home: &'a Path) -> Self {
        Self {
            host,
            ids,
            home,
            memory: host.memory,
            takes: Vec::new(),
            steps: Vec::new(),
            grants: Grants::new(host.landlock_abi),
            mount_ids: Vec::new(),
            held: Held::default(),
            places: Places::default(),
            shown: Vec::new(),
        }
    }

    /// Makes a folder and those above it.
    pub(super) fn folder(&mut self, path: &Path, mode: u32) -> Result<(), LaunchError> {
        if path.parent().is_none() || !self.places.make(path) {
            return Ok(());
        }
        if let Some(parent) = path.parent() {
            self.folder(parent, 0o755)?;
        }
        self.steps.push(Step::MakeDir {
            path: c_string("path", path)?,
            mode,
        });
        Ok(())
    }

    pub(super) fn file(
        &mut self,
        path: impl AsRef<Path>,
        content: impl Into<Vec<u8>>,
    ) -> Result<(), LaunchError> {
        let path = path.as_ref();
        self.folder(path.parent().unwrap_or(Path::new("/")), 0o755)?;
        self.steps.push(Step::WriteFile {
            path: c_string("path", path)?,
            content: content.into(),
        });
        self.places.put(path, Place::File);
        Ok(())
    }

    pub(super) fn link(&mut self, path: &Path, target: &Path) -> Result<(), LaunchError> {
        self.folder(path.parent().unwrap_or(Path::new("/")), 0o755)?;
        self.steps.push(Step::Symlink {
            target: c_string("path", target)?,
            path: c_string("path", path)?,
        });
        self.places.put(path, Place::Link(target.to_owned()));
        Ok(())
    }

    /// Shows `source` at `target`.
    pub(super) fn bind(
        &mut self,
        source: Source,
        target: &Path,
        is_folder: bool,
        attr: MountAttr,
        ids: Option<usize>,
    ) -> Result<(), LaunchError> {
        if is_folder {
            self.folder(target, 0o755)?;
        } else {
            self.folder(target.parent().unwrap_or(Path::new("/")), 0o755)?;
            self.steps.push(Step::WriteFile {
                path: c_string("path", target)?,
                content: Vec::new(),
            });
        }
        self.steps.push(Step::Place {
            tree: self.takes.len(),
            path: c_string("path", target)?,
        });
        let place = if is_folder {
            Place::Host {
                source: Path::new(OsStr::from_bytes(source.path().to_bytes())).to_owned(),
                can_add: false,
            }
        } else {
            Place::File
        };
        self.places.put(target, place);
        self.takes.push(Step::Take {
            source,
            attr,
            recursive: is_folder,
            ids,
        });
        Ok(())
    }

    /// A node of the host at its own path, read-only. The folders above it are
    /// root's, so that the path cannot come to mean something else.
    pub(super) fn show(&mut self, path: &Path, node: &Node) -> Result<(), LaunchError> {
        let source = Source::Path(c_string("path", path)?);
        match node {
            Node::Link(target) => self.link(path, target),
            Node::Folder => self.bind(source, path, true, READ_ONLY, None),
            Node::File => self.bind(source, path, false, READ_ONLY, None),
        }
    }

    /// As [`Builder::show`], for a path that others than root may change.
    pub(super) fn show_opened(&mut self, path: &Path) -> Result<(), LaunchError> {
        let opened = self.open("folder", path)?;
        let source = opened.source()?;
        self.bind(source, path, opened.is_folder(), READ_ONLY, None)?;
        self.keep(opened);
        Ok(())
    }

    /// Opens what the user wants to be shown.
    pub(super) fn open(&self, what: &'static str, path: &Path) -> Result<Opened, LaunchError> {
        Ok(Opened::open(what, path)?)
    }

    /// Keeps a source open until the child has found it.
    pub(super) fn keep(&mut self, opened: Opened) {
        self.held.sources.push(opened.fd);
    }

    /// A writable folder in memory.
    pub(super) fn memory(
        &mut self,
        path: impl AsRef<Path>,
        options: &str,
        more: MountAttr,
        size: u64,
    ) -> Result<(), LaunchError> {
        /// Of a file on average; the kernel needs an eighth of it for each.
        const INODE: u64 = 8192;
        /// Enough for whatever a small folder is for.
        const FEW: u64 = 1024;
        let path = path.as_ref();
        self.folder(path, 0o755)?;
        let inodes = (size / INODE).max(FEW);
        let options = format!("{options},size={size},nr_inodes={inodes}");
        self.steps.push(Step::Tmpfs {
            path: c_string("path", path)?,
            options: c_string("path", OsStr::new(&options))?,
            attr: MountAttr::NOSUID | MountAttr::NODEV | more,
        });
        self.places.put(path, Place::Memory);
        self.grants.write(path, true)
    }

    /// This part of the memory, for the files of a folder in memory.
    pub(super) const fn share(&self, percent: u64) -> u64 {
        self.memory / 100 * percent
    }

    /// Options for a tmpfs that is the program's.
    pub(super) fn owned(&self, options: &str) -> String {
        // As the process that mounts sees the program's ids.
        let (uid, gid) = self.ids.of_mounts();
        format!("{options},uid={uid},gid={gid}")
    }
}

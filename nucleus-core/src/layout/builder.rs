//! What all parts of a layout are made with: the steps, and the list of what
//! they have made.

use std::ffi::{CStr, CString};

use super::Held;
use super::places::{Found, Place, Places};
use crate::cpath::{CPath, above};
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

/// What nucleus puts into the root besides files with a content: links whose
/// targets are long, in pages, and places to mount at in passing, in inodes.
const BESIDE: u64 = 16;

pub(super) struct Builder<'a> {
    pub(super) host: &'a Host,
    pub(super) ids: &'a Identity,
    pub(super) home: CPath,
    /// How much there is of which the folders in memory have a share, in bytes.
    pub(super) memory: u64,
    /// An image is the root, not a folder in memory.
    pub(super) is_image: bool,
    /// How much the root in memory may hold, in bytes; and how many files of the
    /// program's.
    pub(super) room: u64,
    pub(super) files: u64,
    /// What is taken from the host.
    pub(super) takes: Vec<Step>,
    /// What is made in the new root.
    pub(super) steps: Vec<Step>,
    pub(super) grants: Grants,
    pub(super) mount_ids: Vec<IdMaps>,
    pub(super) held: Held,
    pub(super) places: Places,
    /// What the program can see of the host.
    pub(super) shown: Vec<CPath>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(host: &'a Host, ids: &'a Identity, home: CPath) -> Self {
        Self {
            host,
            ids,
            home,
            memory: host.memory,
            is_image: false,
            room: pages(BESIDE),
            files: 0,
            takes: Vec::with_capacity(64),
            steps: Vec::with_capacity(128),
            grants: Grants::new(host.landlock_abi),
            mount_ids: Vec::new(),
            held: Held::default(),
            places: Places::new(),
            shown: Vec::new(),
        }
    }

    /// Makes a folder and those above it.
    pub(super) fn folder(&mut self, path: impl Into<CPath>, mode: u32) {
        let path = path.into();
        let found = self.places.at(path.to_bytes());
        if found == Found::Folder {
            return;
        }
        self.folder_above(&path);
        // A link of an image may lead to a folder.
        if found == Found::Room {
            self.places.put(path.clone(), Place::Memory);
        }
        self.steps.push(Step::MakeDir { path, mode });
    }

    fn folder_above(&mut self, path: &CPath) {
        let is_lacking = |above| !self.places.has_folder(above);
        if above(path.to_bytes()).is_some_and(is_lacking)
            && let Some(folder) = path.parent()
        {
            self.folder(folder, 0o755);
        }
    }

    pub(super) fn file(&mut self, path: impl Into<CPath>, content: impl Into<Vec<u8>>) {
        let path = path.into();
        let content = content.into();
        self.folder_above(&path);
        self.places.put(path.clone(), Place::File);
        self.room += (content.len() as u64).next_multiple_of(pages(1));
        self.steps.push(Step::WriteFile { path, content });
    }

    pub(super) fn link(&mut self, path: impl Into<CPath>, target: &CStr) {
        let path = path.into();
        self.folder_above(&path);
        self.places.put(path.clone(), Place::Link(target.into()));
        self.steps.push(Step::Symlink {
            target: target.into(),
            path,
        });
    }

    /// Shows `source` at `target`.
    pub(super) fn bind(
        &mut self,
        source: Source,
        target: CPath,
        is_folder: bool,
        attr: MountAttr,
        ids: Option<usize>,
    ) {
        if is_folder {
            self.folder(target.clone(), 0o755);
            let place = Place::Host {
                source: source.path().clone(),
                can_add: false,
            };
            self.places.put(target.clone(), place);
        } else {
            self.file(target.clone(), "");
        }
        self.steps.push(Step::Place {
            tree: self.takes.len(),
            path: target,
        });
        self.takes.push(Step::Take {
            source,
            attr,
            recursive: is_folder,
            ids,
        });
    }

    /// A node of the host at its own path, read-only. The folders above it are
    /// root's, so that the path cannot come to mean something else.
    pub(super) fn show(&mut self, path: &CPath, node: &Node) {
        let source = Source::Path(path.clone());
        match node {
            Node::Link(target) => self.link(path.clone(), target),
            Node::Folder => self.bind(source, path.clone(), true, READ_ONLY, None),
            Node::File => self.bind(source, path.clone(), false, READ_ONLY, None),
        }
    }

    /// As [`Builder::show`], for what others than root may change.
    pub(super) fn show_opened(&mut self, opened: Opened, path: CPath) {
        let (source, is_folder) = (opened.source(), opened.is_folder());
        self.bind(source, path, is_folder, READ_ONLY, None);
        self.keep(opened);
    }

    /// Keeps a source open until the child has found it.
    pub(super) fn keep(&mut self, opened: Opened) {
        self.held.sources.push(opened.fd);
    }

    /// A writable folder in memory.
    pub(super) fn memory(
        &mut self,
        path: impl Into<CPath>,
        options: &str,
        more: MountAttr,
        size: u64,
    ) -> Result<(), LaunchError> {
        let path = path.into();
        self.folder(path.clone(), 0o755);
        self.places.put(path.clone(), Place::Memory);
        self.grants.write(path.clone(), true);
        self.steps.push(Step::Tmpfs {
            path,
            options: bounded(options, size, inodes(size))?,
            attr: MountAttr::NOSUID | MountAttr::NODEV | more,
        });
        Ok(())
    }

    /// A writable folder of the root, which gets so much more room; `owned` by the
    /// program, or by init. Where an image is the root, that is not in memory, and
    /// the folder is alone there.
    pub(super) fn private(
        &mut self,
        path: impl Into<CPath>,
        mode: u32,
        owned: bool,
        more: MountAttr,
        size: u64,
    ) -> Result<(), LaunchError> {
        let path = path.into();
        if self.is_image {
            let options = format!("mode={mode:o}");
            let options = if owned { self.owned(&options) } else { options };
            return self.memory(path, &options, more, size);
        }
        self.folder_above(&path);
        self.places.put(path.clone(), Place::Memory);
        self.grants.write(path.clone(), true);
        self.room += size;
        self.files += inodes(size);
        self.steps.push(Step::Private {
            path,
            mode,
            owner: owned.then(|| self.ids.of_mounts()),
            attr: MountAttr::NOSUID | MountAttr::NODEV | more,
        });
        Ok(())
    }

    /// The root that all of these steps are made in, of which each makes a file
    /// at most.
    pub(super) fn enter_root(&self) -> Result<Step, LaunchError> {
        let own = self.steps.len() as u64 + BESIDE;
        bounded("mode=755", self.room, self.files + own).map(Step::EnterRoot)
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

/// How many files a folder in memory of this size may hold.
fn inodes(size: u64) -> u64 {
    /// Of a file on average; the kernel needs an eighth of it for each.
    const EACH: u64 = 8192;
    /// Enough for whatever a small folder is for.
    const FEW: u64 = 1024;
    (size / EACH).max(FEW)
}

/// The bytes of so many pages.
fn pages(count: u64) -> u64 {
    count * rustix::param::page_size() as u64
}

/// These options of a tmpfs, with its bounds.
fn bounded(options: &str, size: u64, inodes: u64) -> Result<CString, LaunchError> {
    let options = format!("{options},size={size},nr_inodes={inodes}");
    c_string("option", options)
}

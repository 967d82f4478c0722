//! Finds out what the program has changed.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, OFlags, Stat};
use rustix::io::Errno;

use super::beneath::{self, type_of};
use super::{Change, Kind, Layers, Owner, Withheld};
use crate::error::ChangesError;

/// What a program has changed in a folder that it got as
/// [`Isolation::copy_on_write`](crate::Isolation::copy_on_write). Dropped, it
/// is discarded.
#[derive(Debug)]
pub struct Changes {
    pub(super) upper: OwnedFd,
    pub(super) layers: Layers,
    /// Sorted by path: a folder comes before what is in it.
    pub(super) entries: Vec<Entry>,
    /// Every folder of the upper layer as the program left it.
    pub(super) folders: BTreeMap<PathBuf, Stat>,
}

/// A change, and what a commit must know of it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) change: Change,
    /// As the program left it; of what it deleted, as it was.
    pub(super) stat: Stat,
    /// What is there on the host.
    pub(super) lower: Option<FileType>,
}

impl Changes {
    /// Reads the upper layer.
    pub(crate) fn read(upper: OwnedFd, layers: Layers) -> Result<Self, ChangesError> {
        let mut changes = Self {
            upper,
            layers,
            entries: Vec::new(),
            folders: BTreeMap::new(),
        };
        let mut pending = vec![Pending {
            path: PathBuf::new(),
            has_lower: true,
            hidden: false,
        }];
        while let Some(folder) = pending.pop() {
            changes.read_folder(folder, &mut pending)?;
        }
        changes
            .entries
            .sort_by(|one, other| one.change.path.cmp(&other.change.path));
        Ok(changes)
    }

    /// The changes by path, a folder before what is in it.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Change> {
        self.entries.iter().map(|entry| &entry.change)
    }

    /// Whether the program has changed nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn read_folder(
        &mut self,
        mut folder: Pending,
        pending: &mut Vec<Pending>,
    ) -> Result<(), ChangesError> {
        let at = &folder.path;
        let upper = beneath::open_private(self.upper.as_fd(), at)
            .map_err(ChangesError::upper("open the folder", at))?;
        let opaque = beneath::attribute(upper.as_fd(), self.marks().opaque())
            .map_err(ChangesError::upper("read the marks of", at))?;
        folder.hidden |= opaque.is_some_and(|value| value == b"y");
        let lower = folder
            .has_lower
            .then(|| beneath::folder(self.layers.lower.as_fd(), at))
            .transpose()
            .map_err(ChangesError::lower("open the folder", at))?;
        let names =
            beneath::names(upper.as_fd()).map_err(ChangesError::upper("list the folder", at))?;
        for name in &names {
            let path = at.join(OsStr::from_bytes(name.to_bytes()));
            let found = beneath::look(upper.as_fd(), name)
                .map_err(ChangesError::upper("look at", &path))?;
            let below = match &lower {
                Some(lower) => beneath::look(lower.as_fd(), name)
                    .map_err(ChangesError::lower("look at", &path))?,
                None => None,
            };
            if let Some(found) = found {
                self.compare(path, found, below, folder.hidden, pending)?;
            }
        }
        if folder.hidden && lower.is_some() {
            self.hidden(at, &names.into_iter().collect())?;
        }
        Ok(())
    }

    /// What of the host a folder hides that does not let it show through.
    fn hidden(&mut self, at: &Path, kept: &BTreeSet<CString>) -> Result<(), ChangesError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let lower = beneath::open(self.layers.lower.as_fd(), at, flags)
            .map_err(ChangesError::lower("open the folder", at))?;
        let names =
            beneath::names(lower.as_fd()).map_err(ChangesError::lower("list the folder", at))?;
        for name in names.iter().filter(|name| !kept.contains(*name)) {
            let path = at.join(OsStr::from_bytes(name.to_bytes()));
            let stat = beneath::look(lower.as_fd(), name)
                .map_err(ChangesError::lower("look at", &path))?;
            if let Some(stat) = stat {
                self.deleted(path, stat);
            }
        }
        Ok(())
    }

    fn deleted(&mut self, path: PathBuf, lower: Stat) {
        self.entries.push(Entry {
            change: Change {
                path,
                kind: Kind::Deleted,
                is_folder: type_of(&lower) == FileType::Directory,
                withheld: None,
            },
            stat: lower,
            lower: Some(type_of(&lower)),
        });
    }

    /// Takes note of an entry of the upper layer, if it differs from the lower.
    fn compare(
        &mut self,
        path: PathBuf,
        upper: Stat,
        lower: Option<Stat>,
        hidden: bool,
        pending: &mut Vec<Pending>,
    ) -> Result<(), ChangesError> {
        let kind = type_of(&upper);
        // How overlayfs marks what was deleted
        // (Documentation/filesystems/overlayfs.rst). A program cannot make it.
        if kind == FileType::CharacterDevice && upper.st_rdev == 0 {
            if let Some(lower) = lower {
                self.deleted(path, lower);
            }
            return Ok(());
        }
        let lower_kind = lower.as_ref().map(type_of);
        let same = match (kind, &lower) {
            (FileType::Directory, _) => {
                self.folders.insert(path.clone(), upper);
                pending.push(Pending {
                    path: path.clone(),
                    has_lower: lower_kind == Some(kind),
                    hidden,
                });
                lower.is_some_and(|lower| lower.st_mode == upper.st_mode)
            }
            (FileType::RegularFile, Some(lower)) if lower_kind == Some(kind) => {
                looks_same(&upper, lower) && self.same_file(&path)?
            }
            (FileType::Symlink, Some(_)) if lower_kind == Some(kind) => self.same_link(&path)?,
            _ => false,
        };
        if same {
            return Ok(());
        }
        let withheld = self.withheld(&path, kind, &upper)?;
        self.entries.push(Entry {
            change: Change {
                path,
                kind: if lower.is_some() {
                    Kind::Modified
                } else {
                    Kind::Added
                },
                is_folder: kind == FileType::Directory,
                withheld,
            },
            stat: upper,
            lower: lower_kind,
        });
        Ok(())
    }

    fn withheld(
        &self,
        path: &Path,
        kind: FileType,
        upper: &Stat,
    ) -> Result<Option<Withheld>, ChangesError> {
        const SET_IDS: u32 = 0o6000;
        match kind {
            FileType::RegularFile if upper.st_mode & SET_IDS != 0 => {
                return Ok(Some(Withheld::SetId));
            }
            FileType::RegularFile | FileType::Directory => {}
            FileType::Symlink => return Ok(None),
            _ => return Ok(Some(Withheld::Special)),
        }
        if self.marks().carries_acls {
            return Ok(None);
        }
        let names = beneath::open_private(self.upper.as_fd(), path)
            .and_then(|file| beneath::attributes(file.as_fd()))
            .map_err(ChangesError::upper("read the attributes of", path))?;
        let acl = names.iter().any(|name| is_acl(name));
        Ok(acl.then_some(Withheld::Acl))
    }

    /// Whether two files that look the same are.
    fn same_file(&self, path: &Path) -> Result<bool, ChangesError> {
        let lower = match beneath::open(self.layers.lower.as_fd(), path, OFlags::RDONLY) {
            Ok(lower) => File::from(lower),
            // It cannot be compared: whoever made a copy could read it.
            Err(Errno::ACCESS) => return Ok(false),
            Err(errno) => return Err(ChangesError::lower("open", path)(errno)),
        };
        let upper = beneath::open_private(self.upper.as_fd(), path)
            .map(File::from)
            .map_err(ChangesError::upper("open", path))?;
        let marks = self.marks();
        let same_attributes = marks.carried(upper.as_fd()) == marks.carried(lower.as_fd());
        Ok(same_attributes
            && beneath::same_content(&upper, &lower)
                .map_err(ChangesError::upper("compare", path))?)
    }

    fn same_link(&self, path: &Path) -> Result<bool, ChangesError> {
        let target = |root: BorrowedFd<'_>| {
            let link = beneath::open(root, path, OFlags::PATH)?;
            rustix::fs::readlinkat(link, c"", Vec::new())
        };
        let upper =
            target(self.upper.as_fd()).map_err(ChangesError::upper("read the link", path))?;
        let lower = target(self.layers.lower.as_fd())
            .map_err(ChangesError::lower("read the link", path))?;
        Ok(upper == lower)
    }

    /// How this overlay marks its files.
    pub(super) const fn marks(&self) -> Marks {
        Marks {
            user: self.layers.user_xattr,
            carries_acls: !matches!(self.layers.owner, Owner::One(..)),
        }
    }
}

/// A folder of the upper layer that is still to be read.
struct Pending {
    path: PathBuf,
    /// There is a folder on the host, too.
    has_lower: bool,
    /// It is not seen through this one.
    hidden: bool,
}

/// Whether size, mode and time are the same.
fn looks_same(upper: &Stat, lower: &Stat) -> bool {
    let looks = |stat: &Stat| {
        (
            stat.st_size,
            stat.st_mode,
            stat.st_mtime,
            stat.st_mtime_nsec,
        )
    };
    looks(upper) == looks(lower)
}

/// Which extended attributes are the file's own, and which overlayfs's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Marks {
    user: bool,
    /// ACLs name ids, which are others in a sandbox that root made.
    carries_acls: bool,
}

impl Marks {
    const fn opaque(self) -> &'static CStr {
        if self.user {
            c"user.overlay.opaque"
        } else {
            c"trusted.overlay.opaque"
        }
    }

    /// The attributes that belong to a file's content. Those of `security.*`
    /// give privileges, those of `trusted.*` are root's.
    pub(super) fn carried(self, file: BorrowedFd<'_>) -> Result<Vec<(CString, Vec<u8>)>, Errno> {
        let mut carried = Vec::new();
        for name in beneath::attributes(file)? {
            let bytes = name.to_bytes();
            let own = bytes.starts_with(b"user.") && !bytes.starts_with(b"user.overlay.");
            if (own || (self.carries_acls && is_acl(&name)))
                && let Some(value) = beneath::attribute(file, &name)?
            {
                carried.push((name, value));
            }
        }
        Ok(carried)
    }
}

fn is_acl(name: &CStr) -> bool {
    name.to_bytes().starts_with(b"system.posix_acl_")
}

impl ChangesError {
    pub(super) fn upper<E: Into<io::Error>>(
        what: &'static str,
        path: &Path,
    ) -> impl FnOnce(E) -> Self {
        move |source| Self::Upper {
            what,
            path: named(path),
            source: source.into(),
        }
    }

    pub(super) fn lower<E: Into<io::Error>>(
        what: &'static str,
        path: &Path,
    ) -> impl FnOnce(E) -> Self {
        move |source| Self::Lower {
            what,
            path: named(path),
            source: source.into(),
        }
    }
}

/// A path for people: the folder itself has a name, too.
fn named(path: &Path) -> PathBuf {
    if path.as_os_str().is_empty() {
        PathBuf::from(".")
    } else {
        path.to_owned()
    }
}

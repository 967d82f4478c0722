//! Finds out what the program has changed.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, OFlags, Stat};
use rustix::io::Errno;

use super::attributes::{self, Attributes, CAPABILITY, Marks, is_user};
use super::beneath::{self, type_of};
use super::{Change, Kind, Layers, Withheld, stage};
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
    pub(super) lower: Option<Stat>,
    /// Its own attributes, as a commit makes them.
    pub(super) attributes: Attributes,
}

impl Entry {
    /// What is there on the host.
    pub(super) fn lower_kind(&self) -> Option<FileType> {
        self.lower.as_ref().map(type_of)
    }

    /// Whether nothing of it is committed.
    pub(super) const fn is_left_out(&self) -> bool {
        matches!(
            self.change.withheld,
            Some(Withheld::Special | Withheld::Reserved)
        )
    }
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
        changes.compare_itself()?;
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
        let opaque = beneath::attribute(upper.as_fd(), Marks::of(&self.layers).opaque())
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
            lower: Some(lower),
            attributes: Attributes::new(),
        });
    }

    /// Takes note of the folder itself, if its mode or attributes changed.
    fn compare_itself(&mut self) -> Result<(), ChangesError> {
        let path = Path::new("");
        let upper = rustix::fs::fstat(&self.upper)
            .map_err(ChangesError::upper("look at the folder", path))?;
        let lower = rustix::fs::fstat(&self.layers.lower)
            .map_err(ChangesError::lower("look at the folder", path))?;
        let found = self.attributes(path, &upper, Some(&lower))?;
        // What the sandbox could not give to its layer was not taken away.
        let is_same = found.attributes == self.layers.attributes || found.are_the_hosts;
        if upper.st_mode & 0o1777 == lower.st_mode & 0o1777 && is_same {
            return Ok(());
        }
        self.folders.insert(path.to_owned(), upper);
        self.entries.push(Entry {
            change: Change {
                path: path.to_owned(),
                kind: Kind::Modified,
                is_folder: true,
                withheld: found.withheld,
            },
            stat: upper,
            lower: Some(lower),
            attributes: found.attributes,
        });
        Ok(())
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
        let found = self.attributes(&path, &upper, lower.as_ref())?;
        let same = match (kind, &lower) {
            (FileType::Directory, _) => {
                self.folders.insert(path.clone(), upper);
                pending.push(Pending {
                    path: path.clone(),
                    has_lower: lower_kind == Some(kind),
                    hidden,
                });
                lower.is_some_and(|lower| lower.st_mode == upper.st_mode) && found.are_the_hosts
            }
            (FileType::RegularFile, Some(lower)) if lower_kind == Some(kind) => {
                looks_same(&upper, lower) && found.are_the_hosts && self.same_file(&path)?
            }
            (FileType::Symlink, Some(_)) if lower_kind == Some(kind) => self.same_link(&path)?,
            _ => false,
        };
        if same {
            return Ok(());
        }
        let withheld = if stage::is_reserved(&path) {
            Some(Withheld::Reserved)
        } else {
            found.withheld
        };
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
            lower,
            attributes: found.attributes,
        });
        Ok(())
    }

    /// Looks at what an entry of the upper layer has beside its content.
    fn attributes(
        &self,
        path: &Path,
        upper: &Stat,
        lower: Option<&Stat>,
    ) -> Result<Found, ChangesError> {
        const SET_IDS: u32 = 0o6000;
        let mut found = Found::default();
        let kind = type_of(upper);
        match kind {
            FileType::RegularFile | FileType::Directory => {}
            FileType::Symlink => return Ok(found),
            _ => {
                found.withheld = Some(Withheld::Special);
                return Ok(found);
            }
        }
        let failed = || ChangesError::upper("read the attributes of", path);
        let file = beneath::open_private(self.upper.as_fd(), path).map_err(failed())?;
        let marks = Marks::of(&self.layers);
        for mark in marks.elsewhere() {
            if beneath::attribute(file.as_fd(), mark)
                .map_err(failed())?
                .is_some()
            {
                let path = path.to_owned();
                return Err(ChangesError::Elsewhere { path, mark });
            }
        }
        let carried = marks.carried(file.as_fd()).map_err(failed())?;
        found.attributes = carried.attributes;
        if carried.without_acl {
            found.withheld = Some(Withheld::Acl);
        }
        if kind == FileType::RegularFile && upper.st_mode & SET_IDS != 0 {
            found.withheld = Some(Withheld::SetId);
        }
        let capabilities = beneath::attribute(file.as_fd(), CAPABILITY).map_err(failed())?;
        let below = lower
            .filter(|lower| type_of(lower) == kind)
            .map(|_same_kind| self.below(path))
            .transpose()?
            .flatten();
        if let Some(below) = below {
            let failed = ChangesError::lower("read the attributes of", path);
            let (of_host, privileges) = attributes::own(below.as_fd())
                .and_then(|own| Ok((own, beneath::attribute(below.as_fd(), CAPABILITY)?)))
                .map_err(failed)?;
            if !self.layers.has_user_attributes {
                // They could not be copied; nobody has taken them away.
                let lost = of_host.iter().filter(|(name, _value)| is_user(name));
                found.attributes.extend(lost.cloned());
                found.attributes.sort();
            }
            found.are_the_hosts = found.attributes == of_host && capabilities == privileges;
            // The kernel takes them away with the first change of the content,
            // so that what has them still is the host's own program.
            let is_root = rustix::process::geteuid().is_root();
            if let Some(value) = privileges
                && is_root
                && capabilities.as_ref() == Some(&value)
            {
                found.attributes.push((CAPABILITY.to_owned(), value));
                return Ok(found);
            }
        }
        if capabilities.is_some() {
            found.withheld = found.withheld.or(Some(Withheld::Capabilities));
        }
        Ok(found)
    }

    /// The host's file or folder; `None` when this process may not read it.
    fn below(&self, path: &Path) -> Result<Option<OwnedFd>, ChangesError> {
        match beneath::open(self.layers.lower.as_fd(), path, OFlags::RDONLY) {
            Ok(below) => Ok(Some(below)),
            Err(Errno::ACCESS) => Ok(None),
            Err(errno) => Err(ChangesError::lower("open", path)(errno)),
        }
    }

    /// Whether two files that look the same are.
    fn same_file(&self, path: &Path) -> Result<bool, ChangesError> {
        // What cannot be compared: whoever made a copy could read it.
        let Some(lower) = self.below(path)?.map(File::from) else {
            return Ok(false);
        };
        let upper = beneath::open_private(self.upper.as_fd(), path)
            .map(File::from)
            .map_err(ChangesError::upper("open", path))?;
        beneath::same_content(&upper, &lower).map_err(ChangesError::upper("compare", path))
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
}

/// What an entry of the upper layer has beside its content.
#[derive(Default)]
struct Found {
    /// Its own attributes, as a commit makes them.
    attributes: Attributes,
    /// The host's entry has the same.
    are_the_hosts: bool,
    withheld: Option<Withheld>,
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

//! Rules on paths: what they mark, and how marks are found again.
//!
//! A rule is about the object that its path leads to when it becomes known, and
//! about whatever has that name in that folder later. Objects are known by
//! device and inode, and held open so that no other object gets their numbers.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockWriteGuard};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::walk;
use crate::policy::net::caller::path_of;

/// What may be done with an object, and with all that is below it where no
/// nearer mark says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathMark {
    /// All that the kernel lets the program do.
    Grant,
    /// Nothing but to look at its attributes: EACCES.
    Deny,
    /// Nothing, as if it were not there: ENOENT.
    Hide,
}

impl PathMark {
    /// An error unless it is a grant.
    pub(super) const fn ok(self) -> Result<(), Errno> {
        match self {
            Self::Grant => Ok(()),
            Self::Deny => Err(Errno::ACCESS),
            Self::Hide => Err(Errno::NOENT),
        }
    }

    /// The stricter one.
    pub(super) const fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Hide, _) | (_, Self::Hide) => Self::Hide,
            (Self::Deny, _) | (_, Self::Deny) => Self::Deny,
            (Self::Grant, Self::Grant) => Self::Grant,
        }
    }

    /// What an error below such an object may say.
    pub(super) const fn or_hidden(self, errno: Errno) -> Errno {
        match self {
            Self::Hide => Errno::NOENT,
            Self::Grant | Self::Deny => errno,
        }
    }
}

/// Why a rule cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathRuleError {
    /// It must be a path from the program's root on.
    #[error("{path:?} is not absolute: a rule's path begins at the program's root")]
    Relative {
        /// The path.
        path: PathBuf,
    },
    /// Calls that only look were not trapped from the start, and cannot be
    /// any more.
    #[error("{path:?} cannot be hidden from a program that was started without hiding; deny it")]
    NotHiding {
        /// The path.
        path: PathBuf,
    },
}

/// The rules of one program. Clones share them: they can be changed while it
/// runs, and calls that are received after a change are judged by it.
///
/// What is open already stays open; below a folder that is open every path is
/// judged anew.
#[derive(Debug, Clone, Default)]
pub struct PathRules(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    marks: RwLock<Arc<Marks>>,
    /// The program's root, known since its first call.
    root: OnceLock<OwnedFd>,
    /// Whether calls that only look are trapped; decided at the start.
    hiding: OnceLock<bool>,
}

impl PathRules {
    /// Without rules: all is granted.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Denies a path of the program's view, and all below it.
    ///
    /// # Errors
    ///
    /// It is not absolute.
    pub fn deny(&self, path: impl AsRef<Path>) -> Result<(), PathRuleError> {
        self.mark(path.as_ref(), PathMark::Deny)
    }

    /// Denies a path, and its existence. Its name still stands in the listing of
    /// its folder.
    ///
    /// # Errors
    ///
    /// It is not absolute, or the program was started without hiding.
    pub fn hide(&self, path: impl AsRef<Path>) -> Result<(), PathRuleError> {
        let path = path.as_ref();
        if self.0.hiding.get() == Some(&false) {
            return Err(PathRuleError::NotHiding {
                path: path.to_owned(),
            });
        }
        self.mark(path, PathMark::Hide)
    }

    /// Lifts a rule on a path, or makes an exception below one. It grants
    /// nothing that the program's mounts and permissions do not.
    ///
    /// # Errors
    ///
    /// It is not absolute.
    pub fn grant(&self, path: impl AsRef<Path>) -> Result<(), PathRuleError> {
        self.mark(path.as_ref(), PathMark::Grant)
    }

    fn mark(&self, path: &Path, mark: PathMark) -> Result<(), PathRuleError> {
        if !path.is_absolute() {
            return Err(PathRuleError::Relative {
                path: path.to_owned(),
            });
        }
        let mut current = self.write();
        let mut marks = Marks::clone(&current);
        let told = Rule {
            path: path.to_owned(),
            mark,
        };
        marks.told.retain(|rule| rule.path != told.path);
        marks.told.push(told.clone());
        marks.missing.retain(|rule| rule.path != told.path);
        match self.0.root.get() {
            Some(root) => marks.place(root, told),
            None => marks.missing.push(told),
        }
        *current = Arc::new(marks);
        Ok(())
    }

    /// Whether some rule hides.
    pub(super) fn hides(&self) -> bool {
        let marks = self.read();
        marks.told.iter().any(|rule| rule.mark == PathMark::Hide)
    }

    /// Decides for good whether calls that only look are trapped.
    pub(super) fn fix_hiding(&self, hiding: bool) -> bool {
        *self.0.hiding.get_or_init(|| hiding)
    }

    /// The rules, in the order in which they were given.
    pub(super) fn told(&self) -> Vec<Rule> {
        self.read().told.clone()
    }

    /// The marks as they are now. What did not exist up to now is looked for
    /// again: only calls that are judged could have made it.
    pub(crate) fn marks(&self, root: BorrowedFd<'_>) -> Result<Arc<Marks>, Errno> {
        if self.0.root.get().is_none() {
            let own = root.try_clone_to_owned();
            let own = own.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::MFILE))?;
            // Another thread may have been faster, with the same.
            let _same: Result<(), OwnedFd> = self.0.root.set(own);
        }
        let marks = self.read();
        if marks.missing.is_empty() {
            return Ok(marks);
        }
        let root = self.0.root.get().ok_or(Errno::BADF)?;
        let mut current = self.write();
        let mut marks = Marks::clone(&current);
        for rule in std::mem::take(&mut marks.missing) {
            marks.place(root, rule);
        }
        *current = Arc::new(marks);
        Ok(Arc::clone(&current))
    }

    /// Judges an object of the program's view from `root` on, by itself and by
    /// the folders above it.
    pub(crate) fn judge(&self, root: BorrowedFd<'_>, object: BorrowedFd<'_>) -> Result<(), Errno> {
        let marks = self.marks(root)?;
        let stat = rustix::fs::fstat(object)?;
        match walk::standing(&marks, root, object, &stat) {
            // Nobody knows where it is.
            Err(Errno::STALE) => Err(Errno::ACCESS),
            standing => standing?.ok(),
        }
    }

    /// Judges a name that is to be made in a folder.
    pub(crate) fn judge_name(
        &self,
        root: BorrowedFd<'_>,
        folder: BorrowedFd<'_>,
        name: &[u8],
    ) -> Result<(), Errno> {
        self.judge(root, folder)?;
        let id = FileId::of(&rustix::fs::fstat(folder)?);
        let mark = self.marks(root)?.own(None, Some((id, name)));
        mark.unwrap_or(PathMark::Grant).ok()
    }

    fn read(&self) -> Arc<Marks> {
        // A change is one assignment, so a panic leaves the rules whole.
        let marks = self.0.marks.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&marks)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Arc<Marks>> {
        self.0.marks.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A path with its mark.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub(super) path: PathBuf,
    pub(super) mark: PathMark,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.mark {
            PathMark::Grant => "grant",
            PathMark::Deny => "deny",
            PathMark::Hide => "hide",
        };
        let path = self.path.as_os_str().as_bytes().escape_ascii();
        write!(f, "{mark} {path}")
    }
}

/// Which object, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    pub(crate) const fn of(stat: &rustix::fs::Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
        }
    }
}

/// What the rules have marked.
#[derive(Debug, Clone, Default)]
pub(crate) struct Marks {
    told: Vec<Rule>,
    objects: BTreeMap<FileId, (PathMark, Arc<OwnedFd>)>,
    /// By folder, for what comes to have a name that a rule is about.
    names: BTreeMap<FileId, Names>,
    /// Rules whose folder does not exist yet.
    missing: Vec<Rule>,
}

/// The names in one folder that rules are about.
#[derive(Debug, Clone)]
struct Names {
    _pin: Arc<OwnedFd>,
    marks: BTreeMap<Vec<u8>, PathMark>,
}

impl Marks {
    /// The mark of an object of its own, where it was found by a name.
    pub(super) fn own(
        &self,
        object: Option<FileId>,
        place: Option<(FileId, &[u8])>,
    ) -> Option<PathMark> {
        let by_object = object.and_then(|id| self.objects.get(&id)).map(|it| it.0);
        let by_name = || {
            let (folder, name) = place?;
            self.names.get(&folder)?.marks.get(name).copied()
        };
        by_object.or_else(by_name)
    }

    /// The names in a folder that rules are about.
    pub(super) fn names_in(&self, folder: FileId) -> impl Iterator<Item = (&[u8], PathMark)> {
        let names = self.names.get(&folder).map(|names| &names.marks);
        names
            .into_iter()
            .flatten()
            .map(|(name, mark)| (name.as_slice(), *mark))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.names.is_empty()
    }

    /// Marks what a rule's path leads to; keeps the rule for later where there
    /// is not even a folder.
    fn place(&mut self, root: &OwnedFd, rule: Rule) {
        match Target::find(root, rule.path.as_os_str().as_bytes()) {
            Ok(target) => self.enter(target, rule.mark),
            // Whatever the reason is: until it is found, nobody else finds it
            // without the rule being tried again.
            Err(_missing) => self.missing.push(rule),
        }
    }

    fn enter(&mut self, target: Target, mark: PathMark) {
        if let Some((id, pin)) = target.object {
            self.objects.insert(id, (mark, pin));
        }
        if let Some((id, pin, name)) = target.place {
            let names = self.names.entry(id).or_insert_with(|| Names {
                _pin: pin,
                marks: BTreeMap::new(),
            });
            names.marks.insert(name, mark);
        }
    }
}

/// What a rule is about.
struct Target {
    object: Option<(FileId, Arc<OwnedFd>)>,
    /// Its folder and its name there; the root has none.
    place: Option<(FileId, Arc<OwnedFd>, Vec<u8>)>,
}

impl Target {
    fn find(root: &OwnedFd, path: &[u8]) -> Result<Self, Errno> {
        let object = match open(root, path) {
            Ok(object) => object,
            Err(Errno::NOENT) => {
                let (folder, name) = split(path).ok_or(Errno::NOENT)?;
                return Ok(Self {
                    object: None,
                    place: Some(placed(open(root, folder)?, name)?),
                });
            }
            Err(errno) => return Err(errno),
        };
        let id = FileId::of(&rustix::fs::fstat(&object)?);
        let real = path_of(object.as_fd())?;
        let place = match split(&real) {
            Some((folder, name)) => {
                let folder = open(root, folder)?;
                let there = rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
                if FileId::of(&there) != id {
                    return Err(Errno::AGAIN);
                }
                Some(placed(folder, name)?)
            }
            None => None,
        };
        Ok(Self {
            object: Some((id, Arc::new(object))),
            place,
        })
    }
}

fn placed(folder: OwnedFd, name: &[u8]) -> Result<(FileId, Arc<OwnedFd>, Vec<u8>), Errno> {
    let id = FileId::of(&rustix::fs::fstat(&folder)?);
    Ok((id, Arc::new(folder), name.to_vec()))
}

fn open(root: &OwnedFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    rustix::fs::openat2(root, path, flags, Mode::empty(), resolve)
}

/// Folder and last name of a path.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let path = Path::new(OsStr::from_bytes(path));
    let name = path.file_name()?.as_bytes();
    let folder = path.parent()?.as_os_str().as_bytes();
    Some((folder, name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    struct Place {
        folder: PathBuf,
        root: OwnedFd,
    }

    impl Place {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
            fs::create_dir(&folder).expect("a folder");
            let root = rustix::fs::open("/", OFlags::PATH, Mode::empty()).expect("a folder");
            Self { folder, root }
        }

        fn id(&self, name: &str) -> FileId {
            let stat = rustix::fs::lstat(self.folder.join(name)).expect("there");
            FileId::of(&stat)
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.folder).expect("removed");
        }
    }

    #[test]
    fn an_object_and_its_name_are_marked() {
        let place = Place::new("nucleus-marks");
        fs::write(place.folder.join("a"), "").expect("a file");
        let rules = PathRules::new();
        rules.deny(place.folder.join("a")).expect("absolute");
        let marks = rules.marks(place.root.as_fd()).expect("marks");
        let (object, folder) = (place.id("a"), place.id("."));
        assert_eq!(marks.own(Some(object), None), Some(PathMark::Deny));
        assert_eq!(marks.own(None, Some((folder, b"a"))), Some(PathMark::Deny));
        assert_eq!(marks.own(None, Some((folder, b"b"))), None);
        assert_eq!(marks.own(Some(folder), None), None);
    }

    #[test]
    fn what_is_missing_is_marked_as_soon_as_it_can_be() {
        let place = Place::new("nucleus-missing");
        let rules = PathRules::new();
        rules.deny(place.folder.join("a/b")).expect("absolute");
        let marks = rules.marks(place.root.as_fd()).expect("marks");
        assert_eq!(marks.missing.len(), 1);
        fs::create_dir(place.folder.join("a")).expect("a folder");
        let marks = rules.marks(place.root.as_fd()).expect("marks");
        assert_eq!(marks.missing.len(), 0);
        let by_name = marks.own(None, Some((place.id("a"), b"b")));
        assert_eq!(by_name, Some(PathMark::Deny));
    }

    #[test]
    fn the_last_rule_on_a_path_counts() {
        let place = Place::new("nucleus-last");
        let rules = PathRules::new();
        rules.deny(&place.folder).expect("absolute");
        rules.marks(place.root.as_fd()).expect("marks");
        rules.grant(&place.folder).expect("absolute");
        let marks = rules.marks(place.root.as_fd()).expect("marks");
        assert_eq!(marks.own(Some(place.id(".")), None), Some(PathMark::Grant));
        assert_eq!(rules.told().len(), 1);
    }

    #[test]
    fn rules_that_cannot_be_are_errors() {
        let rules = PathRules::new();
        let relative = rules.deny("etc").expect_err("relative");
        assert!(matches!(relative, PathRuleError::Relative { .. }));
        assert!(!rules.fix_hiding(false));
        let late = rules.hide("/etc").expect_err("too late");
        assert!(matches!(late, PathRuleError::NotHiding { .. }));
    }
}

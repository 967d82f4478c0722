//! Absolute paths as the kernel takes them.

use std::borrow::Cow;
use std::ffi::{CStr, CString, OsStr};
use std::fmt;
use std::ops::Deref;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::error::LaunchError;
use crate::strings::c_string;

/// An absolute path without needless parts: no `//`, no `.`, no slash at its
/// end; `..` stays.
///
/// Two of them are compared by their bytes. [`Path`] compares part by part, many
/// times slower, and a start has a hundred paths. Most of those are written in
/// this crate, and are never copied.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct CPath(Cow<'static, CStr>);

impl CPath {
    /// What is not absolute begins at the root.
    pub(crate) fn new(path: &Path) -> Result<Self, LaunchError> {
        Ok(Self::from(c_string("path", path)?))
    }

    pub(crate) fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(self.to_bytes()))
    }

    pub(crate) fn is_root(&self) -> bool {
        self.to_bytes() == b"/"
    }

    /// Whether it is this folder or something below it.
    pub(crate) fn is_in(&self, folder: &CStr) -> bool {
        below(self.to_bytes(), folder.to_bytes()).is_some()
    }

    pub(crate) fn is_in_any<Folder: Deref<Target = CStr>>(&self, folders: &[Folder]) -> bool {
        folders.iter().any(|folder| self.is_in(folder))
    }

    /// The folder that it is in.
    pub(crate) fn parent(&self) -> Option<Self> {
        above(self.to_bytes()).map(|above| Self::of(above.to_owned()))
    }

    /// What has this name, or relative path, below it.
    pub(crate) fn join(&self, name: &[u8]) -> Self {
        Self::of([self.to_bytes(), b"/", name].concat())
    }

    /// Of parts of other C strings, which hold no NUL byte.
    fn of(path: Vec<u8>) -> Self {
        Self::from(CString::new(path).unwrap_or_default())
    }
}

impl Deref for CPath {
    type Target = CStr;

    fn deref(&self) -> &CStr {
        &self.0
    }
}

impl From<CString> for CPath {
    fn from(path: CString) -> Self {
        if is_plain(path.to_bytes()) {
            return Self(Cow::Owned(path));
        }
        let parts = path.to_bytes().split(|&byte| byte == b'/');
        let parts: Vec<_> = parts.filter(|part| !is_needless(part)).collect();
        let plain = [b"/", &*parts.join(&b'/')].concat();
        Self(Cow::Owned(CString::new(plain).unwrap_or_default()))
    }
}

/// For those that are written here, without needless parts.
impl From<&'static CStr> for CPath {
    fn from(path: &'static CStr) -> Self {
        debug_assert!(is_plain(path.to_bytes()), "{path:?}");
        Self(Cow::Borrowed(path))
    }
}

impl fmt::Debug for CPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn is_needless(part: &[u8]) -> bool {
    matches!(part, b"" | b".")
}

fn is_plain(path: &[u8]) -> bool {
    match path {
        b"/" => true,
        [b'/', parts @ ..] => !parts.split(|&byte| byte == b'/').any(is_needless),
        _ => false,
    }
}

/// The path of the folder that a path is in.
pub(crate) fn above(path: &[u8]) -> Option<&[u8]> {
    let slash = path.iter().rposition(|&byte| byte == b'/')?;
    match path {
        b"/" => None,
        // The root alone ends with a slash.
        _ => path.get(..slash.max(1)),
    }
}

/// What of a path is left below a folder: nothing of the folder itself.
pub(crate) fn below<'p>(path: &'p [u8], folder: &[u8]) -> Option<&'p [u8]> {
    let folder = folder.strip_suffix(b"/").unwrap_or(folder);
    let (head, rest) = path.split_at_checked(folder.len())?;
    let rest = match rest {
        [] => rest,
        [b'/', rest @ ..] => rest,
        _ => return None,
    };
    (head == folder).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needless_parts_are_left_out() {
        let check = |path: &str, expected: &str| {
            let found = CPath::new(Path::new(path)).unwrap();
            assert_eq!(found.as_path(), Path::new(expected), "{path}");
            assert_eq!(found.to_bytes(), expected.as_bytes(), "{path}");
        };
        check("/", "/");
        check("", "/");
        check("//", "/");
        check("/usr", "/usr");
        check("/usr/", "/usr");
        check("//usr/./bin/.", "/usr/bin");
        check("/usr/../.x/...", "/usr/../.x/...");
        check("usr", "/usr");
        assert!(CPath::new(Path::new("/a\0b")).is_err());
    }

    #[test]
    fn paths_are_above_and_below_others() {
        let check = |path: &'static CStr, folder, expected| {
            let (path, folder) = (CPath::from(path), CPath::from(folder));
            assert_eq!(path.is_in(&folder), expected, "{path:?} {folder:?}");
            assert_eq!(path.as_path().starts_with(folder.as_path()), expected);
            let parent = path.parent();
            let parent = parent.as_ref().map(CPath::as_path);
            assert_eq!(parent, path.as_path().parent());
        };
        check(c"/usr", c"/usr", true);
        check(c"/usr/bin", c"/usr", true);
        check(c"/usr2", c"/usr", false);
        check(c"/usr", c"/usr/bin", false);
        check(c"/opt/usr", c"/usr", false);
        check(c"/usr", c"/", true);
        check(c"/", c"/", true);
        check(c"/", c"/usr", false);
        let join = |path: &'static CStr, name| CPath::from(path).join(name);
        assert_eq!(join(c"/", b"usr"), CPath::from(c"/usr"));
        assert_eq!(join(c"/usr", b"lib/x"), CPath::from(c"/usr/lib/x"));
        assert_eq!(join(c"/usr", b""), CPath::from(c"/usr"));
    }
}

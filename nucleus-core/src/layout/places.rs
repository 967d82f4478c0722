//! What is where in the sandbox that is being planned: a grant goes over what
//! is there, or to a place that can be made, or is refused before anything
//! happens.

use std::collections::VecDeque;
use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::cpath::{CPath, above, below};
use crate::error::TargetError;
use crate::host::{self, Node};

/// What is at a path because a step puts it there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// A folder in memory, and whatever is recorded below it.
    Memory,
    /// A folder of the host, and whatever is in it there.
    Host {
        /// Its path on the host.
        source: CPath,
        /// What is added goes to a layer above it.
        can_add: bool,
    },
    File,
    Link(CString),
}

/// The planned sandbox: what is put where, one after the other. What was put
/// last at a path, or above it, is what is there.
#[derive(Debug)]
pub(super) struct Places(Vec<(CPath, Place)>);

/// What a path leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Folder,
    File,
    Link(CString),
    /// Nothing yet, where a step can make it.
    Room,
    /// Nothing, in this folder of the host.
    Nothing(CPath),
}

impl Places {
    pub(super) fn new() -> Self {
        // As many as the default sandbox has.
        Self(Vec::with_capacity(64))
    }

    /// Something new at a path; it covers what was there.
    pub(super) fn put(&mut self, path: CPath, place: Place) {
        self.0.push((path, place));
    }

    /// Where `asked` leads, links of the sandbox followed, once it is sure
    /// that a folder or file can be put there.
    pub(super) fn target(
        &self,
        what: &'static str,
        asked: &Path,
        is_folder: bool,
    ) -> Result<PathBuf, TargetError> {
        let path = absolute(what, asked)?;
        let links = || TargetError::Links {
            what,
            path: asked.to_owned(),
        };
        let mut rest: VecDeque<OsString> = parts(path);
        let mut current = PathBuf::from("/");
        // As many as the kernel follows.
        let mut links_left = 40;
        while let Some(part) = rest.pop_front() {
            if part == ".." {
                current.pop();
                continue;
            }
            let next = current.join(part);
            if is_reserved(&next) || (rest.is_empty() && next == Path::new("/dev")) {
                return Err(TargetError::Reserved {
                    what,
                    path: asked.to_owned(),
                });
            }
            match self.at(next.as_os_str().as_bytes()) {
                Found::Link(target) => {
                    let target = Path::new(OsStr::from_bytes(target.to_bytes()));
                    links_left -= 1;
                    if links_left == 0 {
                        return Err(links());
                    }
                    if target.is_absolute() {
                        current = PathBuf::from("/");
                    }
                    for part in parts(target).into_iter().rev() {
                        rest.push_front(part);
                    }
                    continue;
                }
                Found::File if !rest.is_empty() => {
                    return Err(TargetError::BelowFile {
                        what,
                        path: asked.to_owned(),
                        file: next,
                    });
                }
                Found::File if is_folder => return Err(kind(what, asked, is_folder)),
                Found::Folder if rest.is_empty() && !is_folder => {
                    return Err(kind(what, asked, is_folder));
                }
                Found::Nothing(folder) => {
                    return Err(TargetError::Missing {
                        what,
                        path: asked.to_owned(),
                        missing: next,
                        folder: folder.as_path().to_owned(),
                    });
                }
                Found::File | Found::Folder | Found::Room => {}
            }
            current = next;
        }
        match current.parent() {
            Some(_above) => Ok(current),
            None => Err(links()),
        }
    }

    /// Whether a folder that something is put in need not be made.
    pub(super) fn has_folder(&self, path: &[u8]) -> bool {
        // Most things go where the last one went, which needed the folder too.
        let last = self.0.last();
        last.and_then(|(last, _place)| above(last.to_bytes())) == Some(path)
            || self.at(path) == Found::Folder
    }

    /// What an absolute path without needless parts leads to.
    pub(super) fn at(&self, path: &[u8]) -> Found {
        if path == b"/" {
            return Found::Folder;
        }
        let mut last = self.0.iter().rev();
        let last = last.find_map(|(at, place)| Some((below(path, at.to_bytes())?, place)));
        match last {
            Some((b"", Place::Memory | Place::Host { .. })) => Found::Folder,
            Some((b"", Place::File)) => Found::File,
            Some((b"", Place::Link(target))) => Found::Link(target.clone()),
            Some((rest, Place::Host { source, can_add })) => on_host(source, *can_add, rest),
            Some(_) | None => Found::Room,
        }
    }
}

/// What there is in a folder of the host.
fn on_host(folder: &CPath, can_add: bool, name: &[u8]) -> Found {
    match host::node(&folder.join(name)) {
        Some(Node::Folder) => Found::Folder,
        Some(Node::File) => Found::File,
        Some(Node::Link(target)) => Found::Link(target),
        None if can_add => Found::Room,
        None => Found::Nothing(folder.clone()),
    }
}

fn kind(what: &'static str, path: &Path, is_folder: bool) -> TargetError {
    TargetError::Kind {
        what,
        path: path.to_owned(),
        is_folder,
    }
}

/// What a path is made of, below its root.
fn parts(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir))
        .map(|part| part.as_os_str().to_owned())
        .collect()
}

pub(super) fn absolute<'p>(what: &'static str, path: &'p Path) -> Result<&'p Path, TargetError> {
    let plain = path
        .components()
        .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if path.is_absolute() && plain && path.parent().is_some() {
        return Ok(path);
    }
    Err(TargetError::Path {
        what,
        path: path.to_owned(),
    })
}

/// What a sandbox does not work without, or works in while it is made.
fn is_reserved(path: &Path) -> bool {
    const TREES: &[&str] = &[
        "/.image",
        "/.nucleus",
        "/dev/fd",
        "/dev/full",
        "/dev/null",
        "/dev/ptmx",
        "/dev/pts",
        "/dev/random",
        "/dev/stderr",
        "/dev/stdin",
        "/dev/stdout",
        "/dev/tty",
        "/dev/urandom",
        "/dev/zero",
        "/proc",
    ];
    TREES.iter().any(|tree| path.starts_with(tree))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// A small sandbox: programs of the host, links to them, folders in memory.
    fn places(host: &Path) -> Places {
        fs::create_dir_all(host.join("bin")).unwrap();
        fs::write(host.join("bin/true"), "").unwrap();
        symlink("bin", host.join("sbin")).unwrap();
        let mut places = Places::new();
        let source = CPath::new(host).unwrap();
        let can_add = false;
        places.put(c"/usr".into(), Place::Host { source, can_add });
        places.put(c"/bin".into(), Place::Link(c"usr/bin".into()));
        places.put(c"/loop".into(), Place::Link(c"/loop".into()));
        places.put(c"/up".into(), Place::Link(c"..".into()));
        places.put(c"/dev/fd".into(), Place::Link(c"/proc/self/fd".into()));
        places.put(c"/etc/passwd".into(), Place::File);
        places.put(c"/tmp".into(), Place::Memory);
        places
    }

    #[test]
    fn a_grant_goes_where_the_path_leads() {
        let host = tempfile::tempdir().unwrap();
        let places = places(host.path());
        let check = |asked: &str, is_folder, expected: &str| {
            let found = places.target("volume", Path::new(asked), is_folder);
            assert_eq!(found.unwrap(), Path::new(expected), "{asked}");
        };
        check("/new/er", true, "/new/er");
        check("//new/", false, "/new");
        check("/tmp", true, "/tmp");
        check("/usr/bin/true", false, "/usr/bin/true");
        check("/bin/true", false, "/usr/bin/true");
        check("/usr/sbin/true", false, "/usr/bin/true");
        check("/bin", true, "/usr/bin");
        check("/etc/passwd", false, "/etc/passwd");
        check("/etc", true, "/etc");
        check("/dev/shm", true, "/dev/shm");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let host = tempfile::tempdir().unwrap();
        let places = places(host.path());
        let check = |asked: &str, is_folder, expected: &str| {
            let error = places.target("volume", Path::new(asked), is_folder);
            let error = error.unwrap_err().to_string();
            assert!(error.contains(expected), "{asked}: {error}");
        };
        check("/", true, "absolute path below /");
        check("a", true, "absolute path below /");
        check("/a/../b", true, "absolute path below /");
        check(
            "/usr/bin/new",
            false,
            "\"/usr/bin/new\", which is not there",
        );
        check("/bin/a/b", true, "\"/usr/bin/a\", which is not there");
        check("/usr/bin", false, "is a file, and there is a folder");
        check("/bin/true", true, "is a folder, and there is a file");
        check("/etc/passwd/a", true, "below \"/etc/passwd\"");
        check("/proc/self/x", false, "the sandbox's own");
        check("/proc", true, "the sandbox's own");
        check("/dev", true, "the sandbox's own");
        check("/dev/null", false, "the sandbox's own");
        check("/dev/fd/3", false, "the sandbox's own");
        check("/loop/a", true, "too many symbolic links");
        check("/up", true, "or out of /");
    }

    #[test]
    fn what_is_covered_is_forgotten() {
        let host = tempfile::tempdir().unwrap();
        let mut places = places(host.path());
        let source = CPath::new(host.path()).unwrap();
        let can_add = false;
        places.put(c"/etc".into(), Place::Host { source, can_add });
        let error = places.target("volume", Path::new("/etc/passwd"), false);
        assert!(matches!(error, Err(TargetError::Missing { .. })));
        places.put(c"/tmp/a/b".into(), Place::File);
        assert!(matches!(places.at(b"/tmp/a/b"), Found::File));
        places.put(c"/tmp2".into(), Place::File);
        places.put(c"/tmp/a".into(), Place::Memory);
        assert!(matches!(places.at(b"/tmp/a/b"), Found::Room));
        assert!(matches!(places.at(b"/tmp/a"), Found::Folder));
        assert!(matches!(places.at(b"/tmp2"), Found::File));
        places.put(c"/".into(), Place::Memory);
        assert!(matches!(places.at(b"/tmp2"), Found::Room));
        assert!(matches!(places.at(b"/"), Found::Folder));
    }
}

//! What is where in the sandbox that is being planned: a grant goes over what
//! is there, or to a place that can be made, or is refused before anything
//! happens.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

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
        source: PathBuf,
        /// What is added goes to a layer above it.
        can_add: bool,
    },
    File,
    Link(PathBuf),
}

/// The planned sandbox, by path. The paths are kept as text, which is compared
/// many times faster: a start has a hundred of them.
#[derive(Debug, Default)]
pub(super) struct Places(BTreeMap<OsString, Place>);

/// What a path leads to.
enum Found {
    Folder,
    File,
    Link(PathBuf),
    /// Nothing yet, where a step can make it.
    Room,
    /// Nothing, in this folder of the host.
    Nothing(PathBuf),
}

impl Places {
    /// Something new at a path; it covers what was there.
    pub(super) fn put(&mut self, path: &Path, place: Place) {
        let path = plain(path);
        // Those below come one after the other.
        let mut folder = path.to_os_string();
        folder.push("/");
        while let Some((next, _place)) = self.0.range::<OsString, _>(&folder..).next()
            && next.as_bytes().starts_with(folder.as_bytes())
        {
            let below = next.clone();
            self.0.remove(&below);
        }
        self.0.insert(path.into_owned(), place);
    }

    /// Whether a folder must be made at a path, or may be one without harm; it
    /// is there from now on.
    pub(super) fn make(&mut self, path: &Path) -> bool {
        match self.at(path) {
            Found::Folder => false,
            Found::Room => {
                self.0.insert(plain(path).into_owned(), Place::Memory);
                true
            }
            // A link of an image may lead to one.
            Found::File | Found::Link(_) | Found::Nothing(_) => true,
        }
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
            match self.at(&next) {
                Found::Link(target) => {
                    links_left -= 1;
                    if links_left == 0 {
                        return Err(links());
                    }
                    if target.is_absolute() {
                        current = PathBuf::from("/");
                    }
                    for part in parts(&target).into_iter().rev() {
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
                        folder,
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

    fn get(&self, path: &Path) -> Option<&Place> {
        self.0.get(&*plain(path))
    }

    fn at(&self, path: &Path) -> Found {
        if path.parent().is_none() {
            return Found::Folder;
        }
        match self.get(path) {
            Some(Place::Memory | Place::Host { .. }) => return Found::Folder,
            Some(Place::File) => return Found::File,
            Some(Place::Link(target)) => return Found::Link(target.clone()),
            None => {}
        }
        let above = path.ancestors().skip(1).find_map(|above| {
            let place = self.get(above)?;
            Some((path.strip_prefix(above).ok()?, place))
        });
        let Some((rest, Place::Host { source, can_add })) = above else {
            return Found::Room;
        };
        match host::node(&source.join(rest)) {
            Some(Node::Folder) => Found::Folder,
            Some(Node::File) => Found::File,
            Some(Node::Link(target)) => Found::Link(target),
            None if *can_add => Found::Room,
            None => Found::Nothing(source.clone()),
        }
    }
}

fn kind(what: &'static str, path: &Path, is_folder: bool) -> TargetError {
    TargetError::Kind {
        what,
        path: path.to_owned(),
        is_folder,
    }
}

/// A path as text without what [`Path`] passes over when it compares.
fn plain(path: &Path) -> Cow<'_, OsStr> {
    let text = path.as_os_str();
    let mut parts = text.as_bytes().split(|&byte| byte == b'/').skip(1);
    if parts.any(|part| part.is_empty() || part == b".") {
        Cow::Owned(path.components().collect::<PathBuf>().into())
    } else {
        Cow::Borrowed(text)
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
        let mut places = Places::default();
        let source = host.to_owned();
        let can_add = false;
        places.put(Path::new("/usr"), Place::Host { source, can_add });
        places.put(Path::new("/bin"), Place::Link("usr/bin".into()));
        places.put(Path::new("/loop"), Place::Link("/loop".into()));
        places.put(Path::new("/up"), Place::Link("..".into()));
        places.put(Path::new("/dev/fd"), Place::Link("/proc/self/fd".into()));
        places.put(Path::new("/etc/passwd"), Place::File);
        places.put(Path::new("/tmp"), Place::Memory);
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
        let (source, can_add) = (host.path().to_owned(), false);
        places.put(Path::new("/etc"), Place::Host { source, can_add });
        let error = places.target("volume", Path::new("/etc/passwd"), false);
        assert!(matches!(error, Err(TargetError::Missing { .. })));
        places.put(Path::new("/tmp/a/b"), Place::File);
        places.put(Path::new("/tmp2"), Place::File);
        places.put(Path::new("//tmp/./a/"), Place::Memory);
        assert!(matches!(places.at(Path::new("/tmp/a/b")), Found::Room));
        assert!(matches!(places.at(Path::new("/tmp/a")), Found::Folder));
        assert!(matches!(places.at(Path::new("/tmp2")), Found::File));
    }
}

//! From a path to the object that it leads to, one step at a time.
//!
//! Each step opens one name in a folder that is held open, so that nothing is
//! looked up twice: renaming a folder, or putting a link in its place, changes
//! where later walks lead and never what this one has judged. The kernel checks
//! each step as the caller's; the links of proc that it could follow for this
//! process only are followed in the caller's place.

mod judge;
mod standing;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, StatxFlags};
use rustix::io::Errno;

pub(super) use self::judge::{Asking, Beyond};
pub(super) use self::standing::standing;
use super::proc::{self, Link};
use super::rules::{FileId, Marks, PathMark};
use super::subject::{Acting, Subject, duplicate};
use crate::policy::net::caller::own_name;

/// How many symbolic links one path may lead through (`MAXSYMLINKS`).
const LINKS_MAX: u32 = 40;

/// What is wanted of a path's last name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Last {
    /// What it leads to.
    Followed,
    /// A link itself, unless a slash is behind it.
    Link,
    /// The name, to make or to remove it.
    Name,
}

impl Last {
    pub(super) const fn unless(nofollow: bool) -> Self {
        if nofollow { Self::Link } else { Self::Followed }
    }

    const fn follows(self, slash: bool) -> bool {
        match self {
            Self::Followed => true,
            Self::Link => slash,
            Self::Name => false,
        }
    }
}

/// A path of a call, with what it begins at.
#[derive(Debug)]
pub(super) struct Spot {
    /// The folder of a relative path, or the object of an empty one.
    pub(super) base: Option<OwnedFd>,
    pub(super) path: Vec<u8>,
}

/// What is at the end of a path, opened without access to its content.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) fd: Rc<OwnedFd>,
    pub(super) kind: FileType,
    pub(super) id: FileId,
    /// What the rules say of it.
    pub(super) mark: PathMark,
}

impl AsFd for Object {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A folder on the way.
#[derive(Debug, Clone)]
struct Folder {
    fd: Rc<OwnedFd>,
    id: FileId,
    mark: PathMark,
}

/// Where a name is.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) folder: Rc<OwnedFd>,
    /// What the rules say of the folder.
    pub(super) mark: PathMark,
    pub(super) name: Vec<u8>,
}

/// The end of a walk.
#[derive(Debug)]
pub(super) struct Found {
    /// `None` where the path ends with a link of proc, or in a folder by `.` or
    /// `..` or nothing: there is no name to make or to remove then.
    pub(super) place: Option<Place>,
    pub(super) object: Option<Object>,
    /// What the rules say of the object, or of one that would be made.
    pub(super) mark: PathMark,
    /// The path ends with a slash: only a folder will do.
    pub(super) slash: bool,
}

/// Walks as a caller.
pub(super) struct Walk<'w> {
    pub(super) subject: &'w Subject<'w>,
    pub(super) acting: &'w Acting<'w>,
    pub(super) marks: &'w Marks,
    /// Restrictions of `openat2(2)`.
    resolve: ResolveFlags,
    links: u32,
    pub(super) asking: Asking<'w>,
}

impl<'w> Walk<'w> {
    pub(super) const fn new(
        subject: &'w Subject<'w>,
        acting: &'w Acting<'w>,
        marks: &'w Marks,
        asking: Asking<'w>,
    ) -> Self {
        Self {
            subject,
            acting,
            marks,
            resolve: ResolveFlags::empty(),
            links: 0,
            asking,
        }
    }

    /// With restrictions of `openat2(2)`.
    pub(super) const fn restrict(&mut self, resolve: ResolveFlags) {
        self.resolve = resolve;
    }

    /// What is at a path. An empty path is the base itself.
    pub(super) fn find(&mut self, spot: &Spot, wanted: Last) -> Result<Found, Errno> {
        self.links = 0;
        if spot.path.is_empty() {
            let base = spot.base.as_ref().ok_or(Errno::NOENT)?;
            let object = self.arrived(duplicate(base)?)?;
            return Ok(end_of(object, false));
        }
        let start = self.start(spot)?;
        self.walk(start, &spot.path, wanted)
    }

    fn start(&self, spot: &Spot) -> Result<Folder, Errno> {
        let in_base = self.resolve.contains(ResolveFlags::IN_ROOT);
        match &spot.base {
            Some(base) if in_base || !spot.path.starts_with(b"/") => self.folder(duplicate(base)?),
            _ if self.resolve.contains(ResolveFlags::BENEATH) => Err(Errno::XDEV),
            _ => self.folder(duplicate(&self.subject.root)?),
        }
    }

    fn walk(&mut self, start: Folder, path: &[u8], wanted: Last) -> Result<Found, Errno> {
        let in_base = self.resolve.contains(ResolveFlags::IN_ROOT);
        let top = start.clone();
        let mut slash = path.ends_with(b"/");
        let mut here = start;
        let mut todo = reversed(path);
        while let Some(name) = todo.pop() {
            let last = todo.is_empty();
            match name.as_slice() {
                b"." => continue,
                b".." => {
                    here = self.above(&here, &top)?;
                    continue;
                }
                _ => {}
            }
            let object = match self.step(&here, &name) {
                Ok(object) => object,
                Err(Errno::NOENT) if last => {
                    let own = self.marks.own(None, Some((here.id, &name)));
                    return Ok(Found {
                        mark: own.unwrap_or(here.mark),
                        place: Some(here.place(name)),
                        object: None,
                        slash,
                    });
                }
                Err(errno) => return Err(here.mark.or_hidden(errno)),
            };
            match object.kind {
                FileType::Symlink if !last || wanted.follows(slash) => {
                    self.links += 1;
                    let refused = self.resolve.contains(ResolveFlags::NO_SYMLINKS);
                    if refused || self.links > LINKS_MAX {
                        return Err(object.mark.or_hidden(Errno::LOOP));
                    }
                    object.mark.ok()?;
                    match self.target(&here, &name, &object)? {
                        Link::Text(text) if text.is_empty() => return Err(Errno::NOENT),
                        Link::Text(text) => {
                            slash |= last && text.ends_with(b"/");
                            todo.extend(reversed(&text));
                            if !text.starts_with(b"/") {
                                continue;
                            }
                            if self.resolve.contains(ResolveFlags::BENEATH) {
                                return Err(Errno::XDEV);
                            }
                            here = if in_base {
                                top.clone()
                            } else {
                                self.folder(duplicate(&self.subject.root)?)?
                            };
                        }
                        Link::Object(fd) => {
                            let refused = ResolveFlags::NO_MAGICLINKS
                                | ResolveFlags::BENEATH
                                | ResolveFlags::IN_ROOT;
                            if self.resolve.intersects(refused) {
                                return Err(Errno::LOOP);
                            }
                            let object = self.arrived(fd)?;
                            if last {
                                return Ok(end_of(object, slash));
                            }
                            here = object.into_folder()?;
                        }
                    }
                }
                _ if last => {
                    return Ok(Found {
                        place: Some(here.place(name)),
                        mark: object.mark,
                        object: Some(object),
                        slash,
                    });
                }
                FileType::Directory => here = object.into_folder()?,
                _ => return Err(object.mark.or_hidden(Errno::NOTDIR)),
            }
        }
        // The path ends in a folder without naming it. A step to itself asks
        // the kernel whether the caller may be there.
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&here.fd, c".", flags, Mode::empty());
        let fd = fd.map_err(|errno| here.mark.or_hidden(errno))?;
        let object = Object {
            fd: Rc::new(fd),
            kind: FileType::Directory,
            id: here.id,
            mark: here.mark,
        };
        Ok(end_of(object, slash))
    }

    /// One name further.
    fn step(&self, here: &Folder, name: &[u8]) -> Result<Object, Errno> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&here.fd, name, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&fd)?;
        let id = FileId::of(&stat);
        self.same_mount(here, fd.as_fd())?;
        let own = self.marks.own(Some(id), Some((here.id, name)));
        let own = own.or_else(|| self.alike(here, id));
        Ok(Object {
            fd: Rc::new(fd),
            kind: FileType::from_raw_mode(stat.st_mode),
            id,
            mark: own.unwrap_or(here.mark),
        })
    }

    /// The mark of a name of the same object in the same folder: where case does
    /// not matter, a name has many.
    fn alike(&self, here: &Folder, id: FileId) -> Option<PathMark> {
        let mut names = self.marks.names_in(here.id);
        names.find_map(|(name, mark)| {
            let there = rustix::fs::statat(&here.fd, name, AtFlags::SYMLINK_NOFOLLOW);
            there
                .is_ok_and(|there| FileId::of(&there) == id)
                .then_some(mark)
        })
    }

    fn same_mount(&self, here: &Folder, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        if !self.resolve.contains(ResolveFlags::NO_XDEV) {
            return Ok(());
        }
        let mount = |fd| {
            rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)
                .map(|stat| stat.stx_mnt_id)
        };
        if mount(here.fd.as_fd())? == mount(fd)? {
            Ok(())
        } else {
            Err(Errno::XDEV)
        }
    }

    /// The folder above, but not above the root.
    fn above(&self, here: &Folder, top: &Folder) -> Result<Folder, Errno> {
        // What is denied is nothing to find a way through.
        here.mark.ok()?;
        let root = FileId::of(&rustix::fs::fstat(&self.subject.root)?);
        if here.id == top.id {
            if self.resolve.contains(ResolveFlags::BENEATH) {
                return Err(Errno::XDEV);
            }
            if self.resolve.contains(ResolveFlags::IN_ROOT) {
                return Ok(here.clone());
            }
        }
        if here.id == root {
            return Ok(here.clone());
        }
        let above = self.folder(parent(here.fd.as_fd())?)?;
        self.same_mount(here, above.fd.as_fd())?;
        Ok(above)
    }

    fn target(&self, here: &Folder, name: &[u8], link: &Object) -> Result<Link, Errno> {
        if proc::is_of_proc(link.fd.as_fd())? {
            return self
                .acting
                .ourselves(|| proc::target(self.subject, here.fd.as_fd(), name, link.fd.as_fd()));
        }
        let text = rustix::fs::readlinkat(&link.fd, c"", Vec::new())?;
        Ok(Link::Text(text.into_bytes()))
    }

    /// A folder that was not come to by a name.
    fn folder(&self, fd: OwnedFd) -> Result<Folder, Errno> {
        self.arrived(fd)?.into_folder()
    }

    /// An object that was not come to by a name.
    fn arrived(&self, fd: OwnedFd) -> Result<Object, Errno> {
        let stat = rustix::fs::fstat(&fd)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let mark = if self.marks.is_empty() {
            PathMark::Grant
        } else {
            self.acting.ourselves(|| self.standing(fd.as_fd(), &stat))?
        };
        Ok(Object {
            fd: Rc::new(fd),
            kind,
            id: FileId::of(&stat),
            mark,
        })
    }
}

impl Object {
    /// A path for it, which leads to nothing else.
    pub(super) fn name(&self) -> String {
        own_name(self.as_fd())
    }

    fn into_folder(self) -> Result<Folder, Errno> {
        if self.kind != FileType::Directory {
            return Err(self.mark.or_hidden(Errno::NOTDIR));
        }
        Ok(Folder {
            fd: self.fd,
            id: self.id,
            mark: self.mark,
        })
    }
}

impl Folder {
    fn place(self, name: Vec<u8>) -> Place {
        Place {
            folder: self.fd,
            mark: self.mark,
            name,
        }
    }
}

const fn end_of(object: Object, slash: bool) -> Found {
    Found {
        place: None,
        mark: object.mark,
        object: Some(object),
        slash,
    }
}

/// The names of a path, the last one first.
fn reversed(path: &[u8]) -> Vec<Vec<u8>> {
    let names = path.split(|&byte| byte == b'/').rev();
    let names = names.filter(|name| !name.is_empty());
    names.map(<[u8]>::to_vec).collect()
}

fn parent(folder: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(folder, c"..", flags, Mode::empty())
}

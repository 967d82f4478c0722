//! From a path to the object that it leads to, one step at a time.
//!
//! Each step opens one name in a folder that is held open, so that nothing is
//! looked up twice: renaming a folder, or putting a link in its place, changes
//! where later walks lead and never what this one has judged. The kernel checks
//! each step as the caller's; the links of proc that it could follow for this
//! process only are followed in the caller's place.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, StatxFlags};
use rustix::io::Errno;

use super::proc::{self, Link};
use super::restriction::{self, Restrictions};
use super::rules::{FileId, Marks, PathMark};
use super::subject::{Acting, Subject, duplicate};
use crate::Denial;
use crate::callback::{Arbiter, Category, Event};
use crate::policy::net::caller::{own_name, path_of};
use crate::policy::net::patience::RESTART;

/// How many symbolic links one path may lead through (`MAXSYMLINKS`).
const LINKS_MAX: u32 = 40;

/// How often a file's folder is looked for while others rename it.
const TRIES: u32 = 8;

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

impl Found {
    /// Where it is, after all links.
    fn path(&self) -> Result<Vec<u8>, Errno> {
        match (&self.object, &self.place) {
            (Some(object), _) => path_of(object.as_fd()),
            (None, Some(place)) => {
                let folder = path_of(place.folder.as_fd())?;
                Ok([folder.as_slice(), &place.name].join(&b'/'))
            }
            (None, None) => Err(Errno::NOENT),
        }
    }
}

/// What is asked about.
#[derive(Clone, Copy)]
pub(super) struct Asking<'w> {
    pub(super) call: &'static str,
    /// Whom to ask about what the rules allow, and what that one has taken away.
    pub(super) asked: Option<(&'w Arbiter, &'w Restrictions)>,
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

    /// The object, if it may be used.
    pub(super) fn usable(&self, found: Found) -> Result<Object, Errno> {
        self.judge(&found, found.mark)?;
        let object = found.object.ok_or(Errno::NOENT)?;
        if found.slash && object.kind != FileType::Directory {
            return Err(Errno::NOTDIR);
        }
        Ok(object)
    }

    /// The place, if its name may be made, given to another object or removed.
    /// `without` is what the kernel says to a path without a last name.
    pub(super) fn changeable<'f>(
        &self,
        found: &'f Found,
        without: Errno,
    ) -> Result<&'f Place, Errno> {
        let place = found.place.as_ref().ok_or(without);
        let folder = place.map_or(PathMark::Grant, |place| place.mark);
        self.judge(found, found.mark.or(folder))?;
        place
    }

    /// Holds a mark against what was found, and asks whoever is to be asked.
    fn judge(&self, found: &Found, mark: PathMark) -> Result<(), Errno> {
        if mark != PathMark::Grant {
            self.say_why(found, mark)?;
        }
        let Some((arbiter, restrictions)) = self.asking.asked else {
            return mark.ok();
        };
        let thread = self.subject.outer.thread;
        let request = self.subject.caller.request;
        self.acting.ourselves(|| {
            let mut event = Event::new(self.asking.call, Category::Path, thread);
            let path = PathBuf::from(OsString::from_vec(found.path()?));
            event.path = Some(path);
            let root = self.subject.root.as_fd();
            let within = || {
                let process = self.subject.outer.process;
                let denied = restrictions.of(arbiter.context(), process, root)?;
                restriction::judge(&denied, root, found)
            };
            if let Err(errno) = mark.ok().and_then(|()| within()) {
                arbiter.tell_denied(event);
                return Err(errno);
            }
            let waits = || request.is_waiting().unwrap_or(false);
            let verdict = arbiter.ask_and_wait(event, waits).ok_or(RESTART)?;
            // It may have been taken away meanwhile, by the verdict itself.
            within()?;
            verdict.ok()
        })
    }

    fn say_why(&self, found: &Found, mark: PathMark) -> Result<(), Errno> {
        let Some(path) = self.acting.ourselves(|| Ok(found.path().ok()))? else {
            return Ok(());
        };
        let path = path.escape_ascii();
        let rule = match mark {
            PathMark::Hide => "a rule hides it (--path-hide)",
            PathMark::Deny | PathMark::Grant => "a rule denies it (--path-deny)",
        };
        self.subject.caller.request.denied_because(Denial {
            what: format!("{} of {path}", self.asking.call),
            why: rule.to_owned(),
            remedy: Some(format!("add --path-grant {path}")),
        });
        Ok(())
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
        Ok(Object {
            fd: Rc::new(fd),
            kind: FileType::from_raw_mode(stat.st_mode),
            id,
            mark: own.unwrap_or(here.mark),
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

impl Walk<'_> {
    fn standing(&self, fd: BorrowedFd<'_>, stat: &rustix::fs::Stat) -> Result<PathMark, Errno> {
        match standing(self.marks, self.subject.root.as_fd(), fd, stat) {
            // Opened by somebody outside, and inherited: no rule of this view
            // can be about it.
            Err(Errno::STALE) if self.subject.is_foreign(fd)? => Ok(PathMark::Grant),
            Err(Errno::STALE) => Err(Errno::ACCESS),
            standing => standing,
        }
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

/// What the rules say of an object, by itself and by the folders above it;
/// ESTALE where the folder of a file cannot be found.
///
/// Nothing on the way up to a denied folder can be moved by the program, since
/// all of it is below that folder and denied, too.
pub(super) fn standing(
    marks: &Marks,
    root: BorrowedFd<'_>,
    object: BorrowedFd<'_>,
    stat: &rustix::fs::Stat,
) -> Result<PathMark, Errno> {
    let id = FileId::of(stat);
    if let Some(own) = marks.own(Some(id), None) {
        return Ok(own);
    }
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return above(marks, duplicate(&object)?, id);
    }
    for _ in 0..TRIES {
        let (folder, name) = match holder(root, object, stat) {
            Ok(Some(holder)) => holder,
            Ok(None) => return Ok(PathMark::Grant),
            // Renamed meanwhile: look again.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
            Err(errno) => return Err(errno),
        };
        let there = rustix::fs::statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW);
        if !there.is_ok_and(|there| FileId::of(&there) == id) {
            continue;
        }
        let folder_id = FileId::of(&rustix::fs::fstat(&folder)?);
        if let Some(own) = marks.own(None, Some((folder_id, &name))) {
            return Ok(own);
        }
        return match marks.own(Some(folder_id), None) {
            Some(mark) => Ok(mark),
            None => above(marks, folder, folder_id),
        };
    }
    Err(Errno::STALE)
}

/// The folder that a file is in and its name there; `None` for one that no
/// folder holds, such as a pipe or what was removed.
fn holder(
    root: BorrowedFd<'_>,
    object: BorrowedFd<'_>,
    stat: &rustix::fs::Stat,
) -> Result<Option<(OwnedFd, Vec<u8>)>, Errno> {
    let path = path_of(object)?;
    let cut = path.iter().rposition(|&byte| byte == b'/');
    let Some(cut) = cut.filter(|_| path.starts_with(b"/") && stat.st_nlink > 0) else {
        return Ok(None);
    };
    let (folder, name) = (&path[..=cut], &path[cut + 1..]);
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::openat2(root, folder, flags, Mode::empty(), resolve)?;
    Ok(Some((folder, name.to_vec())))
}

/// The mark of the nearest folder above a folder that has none itself.
fn above(marks: &Marks, folder: OwnedFd, id: FileId) -> Result<PathMark, Errno> {
    let (mut here, mut id) = (folder, id);
    loop {
        let over = parent(here.as_fd())?;
        let over_id = FileId::of(&rustix::fs::fstat(&over)?);
        if over_id == id {
            return Ok(PathMark::Grant);
        }
        for (name, mark) in marks.names_in(over_id) {
            let there = rustix::fs::statat(&over, name, AtFlags::SYMLINK_NOFOLLOW);
            if there.is_ok_and(|there| FileId::of(&there) == id) {
                return Ok(mark);
            }
        }
        if let Some(mark) = marks.own(Some(over_id), None) {
            return Ok(mark);
        }
        (here, id) = (over, over_id);
    }
}

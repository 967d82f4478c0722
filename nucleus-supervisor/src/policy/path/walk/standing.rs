//! What the rules say of an object that was not come to by a name: by itself, and
//! by the folders above it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::{Walk, parent};
use crate::policy::net::caller::path_of;
use crate::policy::path::rules::{FileId, Marks, PathMark};
use crate::policy::path::subject::duplicate;

/// How often a file's folder is looked for while others rename it.
const TRIES: u32 = 8;

impl Walk<'_> {
    pub(super) fn standing(
        &self,
        fd: BorrowedFd<'_>,
        stat: &rustix::fs::Stat,
    ) -> Result<PathMark, Errno> {
        match standing(self.marks, self.subject.root.as_fd(), fd, stat) {
            // Opened by somebody outside, and inherited: no rule of this view
            // can be about it.
            Err(Errno::STALE) if self.subject.is_foreign(fd)? => Ok(PathMark::Grant),
            Err(Errno::STALE) => Err(Errno::ACCESS),
            standing => standing,
        }
    }
}

/// What the rules say of an object, by itself and by the folders above it;
/// ESTALE where the folder of a file cannot be found.
///
/// Nothing on the way up to a denied folder can be moved by the program, since
/// all of it is below that folder and denied, too.
pub(in crate::policy::path) fn standing(
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

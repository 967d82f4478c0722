//! Calls that only look, done in the program's place where something is hidden.

use std::os::fd::AsFd;

use rustix::fs::{Access, AtFlags, CWD, FileType, StatxFlags};
use rustix::io::Errno;

use super::ids::Map;
use super::proc::{self, Link};
use super::scene::{Scene, done, value};
use super::walk::{Last, Spot};
use crate::policy::net::caller::path_of;
use crate::{Decision, Failure, sys};

type Answer = Result<Decision, Failure>;

/// What else the stat family may be told: how fresh it is to be.
const SYNC_FLAGS: i32 = libc::AT_NO_AUTOMOUNT | 0x6000;

pub(super) fn stat(scene: &Scene<'_>) -> Answer {
    give_stat(scene, &scene.spot(0)?, Last::Followed, scene.long(1))
}

pub(super) fn lstat(scene: &Scene<'_>) -> Answer {
    give_stat(scene, &scene.spot(0)?, Last::Link, scene.long(1))
}

pub(super) fn newfstatat(scene: &Scene<'_>) -> Answer {
    let (spot, last) = spot_and_flags(scene, 3)?;
    give_stat(scene, &spot, last, scene.long(2))
}

/// Path and flags of the newer calls: folder, path, ..., flags.
fn spot_and_flags(scene: &Scene<'_>, flags: usize) -> Result<(Spot, Last), Failure> {
    let known = libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW | SYNC_FLAGS;
    if scene.has(flags, !known) {
        return Err(Failure(Errno::INVAL));
    }
    let last = Last::unless(scene.has(flags, libc::AT_SYMLINK_NOFOLLOW));
    Ok((scene.spot_or_empty(0, 1, flags)?, last))
}

fn give_stat(scene: &Scene<'_>, spot: &Spot, last: Last, address: u64) -> Answer {
    let (users, groups) = (
        Map::of_users(&scene.subject)?,
        Map::of_groups(&scene.subject)?,
    );
    let mut stat = scene.act(|walk| {
        let object = walk.find(spot, last)?;
        let object = walk.usable(object)?;
        sys::stat(object.as_fd())
    })?;
    stat.st_uid = users.inside(stat.st_uid);
    stat.st_gid = groups.inside(stat.st_gid);
    scene.give(address, sys::stat_bytes(&stat))?;
    done()
}

pub(super) fn statx(scene: &Scene<'_>) -> Answer {
    let (spot, last) = spot_and_flags(scene, 2)?;
    let mask = StatxFlags::from_bits_retain(scene.int(3));
    let flags = scene.int(2).cast_signed() & SYNC_FLAGS | libc::AT_EMPTY_PATH;
    let (users, groups) = (
        Map::of_users(&scene.subject)?,
        Map::of_groups(&scene.subject)?,
    );
    let mut stat = scene.act(|walk| {
        let object = walk.find(&spot, last)?;
        let object = walk.usable(object)?;
        sys::statx(object.as_fd(), flags, mask.bits())
    })?;
    stat.stx_uid = users.inside(stat.stx_uid);
    stat.stx_gid = groups.inside(stat.stx_gid);
    scene.give(scene.long(4), sys::statx_bytes(&stat))?;
    done()
}

pub(super) fn access(scene: &Scene<'_>) -> Answer {
    look_whether(scene, &scene.spot(0)?, Last::Followed, scene.int(1))
}

pub(super) fn faccessat(scene: &Scene<'_>) -> Answer {
    look_whether(scene, &scene.spot_at(0, 1)?, Last::Followed, scene.int(2))
}

pub(super) fn faccessat2(scene: &Scene<'_>) -> Answer {
    let known = libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW | libc::AT_EACCESS;
    if scene.has(3, !known) {
        return Err(Failure(Errno::INVAL));
    }
    let last = Last::unless(scene.has(3, libc::AT_SYMLINK_NOFOLLOW));
    let spot = scene.spot_or_empty(0, 1, 3)?;
    look_whether(scene, &spot, last, scene.int(2))
}

/// By the effective ids, which are the real ones where no program can change
/// its ids.
fn look_whether(scene: &Scene<'_>, spot: &Spot, last: Last, mode: u32) -> Answer {
    let mode = Access::from_bits(mode).ok_or(Errno::INVAL)?;
    scene.act(|walk| {
        let object = walk.find(spot, last)?;
        let object = walk.usable(object)?;
        let name = object.name();
        rustix::fs::accessat(CWD, name, mode, AtFlags::EACCESS)
    })?;
    done()
}

pub(super) fn readlink(scene: &Scene<'_>) -> Answer {
    give_link(scene, &scene.spot(0)?, [1, 2])
}

pub(super) fn readlinkat(scene: &Scene<'_>) -> Answer {
    let path = scene.request.memory().path(scene.long(1))?;
    if path.is_empty() {
        // The link that the descriptor itself is.
        let base = scene.subject.base(scene.int(0).cast_signed())?;
        let spot = Spot {
            base: Some(base),
            path,
        };
        return give_link(scene, &spot, [2, 3]);
    }
    give_link(scene, &scene.spot_at(0, 1)?, [2, 3])
}

fn give_link(scene: &Scene<'_>, spot: &Spot, [address, size]: [usize; 2]) -> Answer {
    let size = scene.int(size).cast_signed();
    let size = usize::try_from(size).map_err(|_negative| Errno::INVAL)?;
    if size == 0 {
        return Err(Failure(Errno::INVAL));
    }
    let text = scene.act(|walk| {
        let found = walk.find(spot, Last::Link)?;
        let place = found.place.as_ref();
        let place = place.map(|place| (place.folder.clone(), place.name.clone()));
        let object = walk.usable(found)?;
        if object.kind != FileType::Symlink {
            return Err(Errno::INVAL);
        }
        if let Some((folder, name)) = place
            && proc::is_of_proc(object.as_fd())?
        {
            let (subject, link) = (walk.subject, object.as_fd());
            return walk.acting.ourselves(|| {
                match proc::target(subject, folder.as_fd(), &name, link)? {
                    Link::Text(text) => Ok(text),
                    Link::Object(object) => path_of(object.as_fd()),
                }
            });
        }
        let text = rustix::fs::readlinkat(&object.fd, c"", Vec::new())?;
        Ok(text.into_bytes())
    })?;
    let text = &text[..text.len().min(size)];
    scene.give(scene.long(address), text)?;
    value(i64::try_from(text.len()).map_err(|_wide| Errno::NAMETOOLONG)?)
}

pub(super) fn statfs(scene: &Scene<'_>) -> Answer {
    let spot = scene.spot(0)?;
    let stat = scene.act(|walk| {
        let object = walk.find(&spot, Last::Followed)?;
        let object = walk.usable(object)?;
        sys::statfs(object.as_fd())
    })?;
    scene.give(scene.long(1), sys::statfs_bytes(&stat))?;
    done()
}

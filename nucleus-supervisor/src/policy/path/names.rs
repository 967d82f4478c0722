//! Calls that make, move and remove names.
//!
//! Each is done with the folder that was judged, held open, and one name in it.
//! That another object comes to have the name in between changes nothing: what
//! is denied has its names for good, as far as the program is concerned.

use rustix::fs::{AtFlags, CWD, FileType, Mode, RenameFlags};
use rustix::io::Errno;

use super::scene::{Scene, done};
use super::walk::{Found, Last, Place, Spot};
use crate::{Decision, Failure};

type Answer = Result<Decision, Failure>;

const SYMLINK_LIMIT_MODE: u32 = 0o7777;

/// A name as the kernel is told it: the slash behind it says that it is to be a
/// folder's.
fn told(place: &Place, slash: bool) -> Vec<u8> {
    let mut name = place.name.clone();
    if slash {
        name.push(b'/');
    }
    name
}

fn permissions(mode: u32) -> Mode {
    Mode::from_bits_retain(mode & SYMLINK_LIMIT_MODE)
}

pub(super) fn mkdir(scene: &Scene<'_>) -> Answer {
    make_folder(scene, &scene.spot(0)?, scene.int(1))
}

pub(super) fn mkdirat(scene: &Scene<'_>) -> Answer {
    make_folder(scene, &scene.spot_at(0, 1)?, scene.int(2))
}

fn make_folder(scene: &Scene<'_>, spot: &Spot, mode: u32) -> Answer {
    scene.act(|walk| {
        let found = walk.find(spot, Last::Name)?;
        let place = walk.changeable(&found, Errno::EXIST)?;
        rustix::fs::mkdirat(&place.folder, told(place, found.slash), permissions(mode))
    })?;
    done()
}

pub(super) fn mknod(scene: &Scene<'_>) -> Answer {
    make_node(scene, &scene.spot(0)?, scene.int(1), scene.int(2))
}

pub(super) fn mknodat(scene: &Scene<'_>) -> Answer {
    make_node(scene, &scene.spot_at(0, 1)?, scene.int(2), scene.int(3))
}

fn make_node(scene: &Scene<'_>, spot: &Spot, mode: u32, device: u32) -> Answer {
    // No type is a file (mknod(2)).
    let kind = match mode & libc::S_IFMT {
        0 => FileType::RegularFile,
        kind => FileType::from_raw_mode(kind),
    };
    scene.act(|walk| {
        let found = walk.find(spot, Last::Name)?;
        let place = walk.changeable(&found, Errno::EXIST)?;
        let name = told(place, found.slash);
        rustix::fs::mknodat(&place.folder, name, kind, permissions(mode), device.into())
    })?;
    done()
}

pub(super) fn symlink(scene: &Scene<'_>) -> Answer {
    make_symlink(scene, &scene.text(0)?, &scene.spot(1)?)
}

pub(super) fn symlinkat(scene: &Scene<'_>) -> Answer {
    make_symlink(scene, &scene.text(0)?, &scene.spot_at(1, 2)?)
}

/// What the link says is nobody's business before it is followed.
fn make_symlink(scene: &Scene<'_>, text: &[u8], spot: &Spot) -> Answer {
    scene.act(|walk| {
        let found = walk.find(spot, Last::Name)?;
        let place = walk.changeable(&found, Errno::EXIST)?;
        rustix::fs::symlinkat(text, &place.folder, told(place, found.slash))
    })?;
    done()
}

pub(super) fn link(scene: &Scene<'_>) -> Answer {
    make_link(scene, &scene.spot(0)?, Last::Link, &scene.spot(1)?)
}

pub(super) fn linkat(scene: &Scene<'_>) -> Answer {
    if scene.has(4, !(libc::AT_EMPTY_PATH | libc::AT_SYMLINK_FOLLOW)) {
        return Err(Failure(Errno::INVAL));
    }
    let last = Last::unless(!scene.has(4, libc::AT_SYMLINK_FOLLOW));
    let old = scene.spot_or_empty(0, 1, 4)?;
    make_link(scene, &old, last, &scene.spot_at(2, 3)?)
}

fn make_link(scene: &Scene<'_>, old: &Spot, last: Last, new: &Spot) -> Answer {
    scene.act(|walk| {
        let object = walk.find(old, last)?;
        let object = walk.usable(object)?;
        let found = walk.find(new, Last::Name)?;
        let place = walk.changeable(&found, Errno::EXIST)?;
        // By the link of proc it is the object that was judged.
        rustix::fs::linkat(
            CWD,
            object.name(),
            &place.folder,
            told(place, found.slash),
            AtFlags::SYMLINK_FOLLOW,
        )
    })?;
    done()
}

pub(super) fn unlink(scene: &Scene<'_>) -> Answer {
    remove(scene, &scene.spot(0)?, AtFlags::empty())
}

pub(super) fn rmdir(scene: &Scene<'_>) -> Answer {
    remove(scene, &scene.spot(0)?, AtFlags::REMOVEDIR)
}

pub(super) fn unlinkat(scene: &Scene<'_>) -> Answer {
    if scene.has(2, !libc::AT_REMOVEDIR) {
        return Err(Failure(Errno::INVAL));
    }
    let flags = if scene.has(2, libc::AT_REMOVEDIR) {
        AtFlags::REMOVEDIR
    } else {
        AtFlags::empty()
    };
    remove(scene, &scene.spot_at(0, 1)?, flags)
}

fn remove(scene: &Scene<'_>, spot: &Spot, flags: AtFlags) -> Answer {
    let without = if flags.is_empty() {
        Errno::ISDIR
    } else {
        Errno::INVAL
    };
    scene.act(|walk| {
        let found = walk.find(spot, Last::Name)?;
        let place = walk.changeable(&found, without)?;
        rustix::fs::unlinkat(&place.folder, told(place, found.slash), flags)
    })?;
    done()
}

pub(super) fn rename(scene: &Scene<'_>) -> Answer {
    give_name(scene, &scene.spot(0)?, &scene.spot(1)?, 0)
}

pub(super) fn renameat(scene: &Scene<'_>) -> Answer {
    give_name(scene, &scene.spot_at(0, 1)?, &scene.spot_at(2, 3)?, 0)
}

pub(super) fn renameat2(scene: &Scene<'_>) -> Answer {
    let (old, new) = (scene.spot_at(0, 1)?, scene.spot_at(2, 3)?);
    give_name(scene, &old, &new, scene.int(4))
}

fn give_name(scene: &Scene<'_>, old: &Spot, new: &Spot, flags: u32) -> Answer {
    let flags = RenameFlags::from_bits_retain(flags);
    scene.act(|walk| {
        let from: Found = walk.find(old, Last::Name)?;
        let from_place = walk.changeable(&from, Errno::BUSY)?;
        let to = walk.find(new, Last::Name)?;
        let to_place = walk.changeable(&to, Errno::BUSY)?;
        rustix::fs::renameat_with(
            &from_place.folder,
            told(from_place, from.slash),
            &to_place.folder,
            told(to_place, to.slash),
            flags,
        )
    })?;
    done()
}

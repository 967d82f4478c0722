//! Calls that change an object, and not its name.
//!
//! Each is done on the object that was judged, through the descriptor that
//! holds it.

use rustix::fs::inotify::WatchFlags;
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};

use super::ids::Map;
use super::scene::{Scene, done, value};
use super::walk::{Last, Spot};
use crate::{Decision, Failure, sys};

type Answer = Result<Decision, Failure>;

/// What chown(2) takes for "leave it".
const SAME: u32 = u32::MAX;

pub(super) fn truncate(scene: &Scene<'_>) -> Answer {
    let length = scene.long(1).cast_signed();
    let length = u64::try_from(length).map_err(|_negative| Errno::INVAL)?;
    let spot = scene.spot(0)?;
    // The caller's limit, and not ours, which would be a signal for us.
    let most = sys::file_size_limit(scene.subject.outer.process)?;
    scene.act(|walk| {
        let object = walk.find(&spot, Last::Followed)?;
        let object = walk.usable(object)?;
        if length > most && FileType::RegularFile == object.kind {
            return Err(Errno::FBIG);
        }
        sys::truncate(&object.name(), length)
    })?;
    done()
}

pub(super) fn chmod(scene: &Scene<'_>) -> Answer {
    set_mode(scene, &scene.spot(0)?, Last::Followed, scene.int(1))
}

pub(super) fn fchmodat(scene: &Scene<'_>) -> Answer {
    set_mode(scene, &scene.spot_at(0, 1)?, Last::Followed, scene.int(2))
}

pub(super) fn fchmodat2(scene: &Scene<'_>) -> Answer {
    let (spot, last) = spot_and_flags(scene, 3)?;
    set_mode(scene, &spot, last, scene.int(2))
}

fn set_mode(scene: &Scene<'_>, spot: &Spot, last: Last, mode: u32) -> Answer {
    let mode = Mode::from_bits_retain(mode & 0o7777);
    scene.act(|walk| {
        let object = walk.find(spot, last)?;
        let object = walk.usable(object)?;
        let name = object.name();
        rustix::fs::chmodat(CWD, name, mode, AtFlags::empty())
    })?;
    done()
}

pub(super) fn chown(scene: &Scene<'_>) -> Answer {
    set_owner(scene, &scene.spot(0)?, Last::Followed, [1, 2])
}

pub(super) fn lchown(scene: &Scene<'_>) -> Answer {
    set_owner(scene, &scene.spot(0)?, Last::Link, [1, 2])
}

pub(super) fn fchownat(scene: &Scene<'_>) -> Answer {
    let (spot, last) = spot_and_flags(scene, 4)?;
    set_owner(scene, &spot, last, [2, 3])
}

fn set_owner(scene: &Scene<'_>, spot: &Spot, last: Last, [user, group]: [usize; 2]) -> Answer {
    let outside = |map: Result<Map, Errno>, index| match scene.int(index) {
        SAME => Ok(None),
        inside => map?.outside(inside).ok_or(Errno::INVAL).map(Some),
    };
    let user = outside(Map::of_users(&scene.subject), user)?;
    let group = outside(Map::of_groups(&scene.subject), group)?;
    scene.act(|walk| {
        let object = walk.find(spot, last)?;
        let object = walk.usable(object)?;
        rustix::fs::chownat(
            &object.fd,
            c"",
            user.map(Uid::from_raw),
            group.map(Gid::from_raw),
            AtFlags::EMPTY_PATH,
        )
    })?;
    done()
}

/// Path and flags of the newer calls: folder, path, ..., flags.
fn spot_and_flags(scene: &Scene<'_>, flags: usize) -> Result<(Spot, Last), Failure> {
    if scene.has(flags, !(libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW)) {
        return Err(Failure(Errno::INVAL));
    }
    let last = Last::unless(scene.has(flags, libc::AT_SYMLINK_NOFOLLOW));
    Ok((scene.spot_or_empty(0, 1, flags)?, last))
}

/// Now, as `utimensat(2)` says it.
const NOW: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: rustix::fs::UTIME_NOW,
};

pub(super) fn utime(scene: &Scene<'_>) -> Answer {
    let times = times(scene, 1, |bytes: [u8; 16]| {
        let [access, change] = longs(&bytes);
        Ok([(access, 0), (change, 0)])
    })?;
    set_times(scene, &scene.spot(0)?, Last::Followed, &times)
}

pub(super) fn utimes(scene: &Scene<'_>) -> Answer {
    let times = times(scene, 1, in_microseconds)?;
    set_times(scene, &scene.spot(0)?, Last::Followed, &times)
}

pub(super) fn futimesat(scene: &Scene<'_>) -> Answer {
    let times = times(scene, 2, in_microseconds)?;
    set_times(scene, &scene.spot_at(0, 1)?, Last::Followed, &times)
}

pub(super) fn utimensat(scene: &Scene<'_>) -> Answer {
    let times = times(scene, 2, |bytes: [u8; 32]| {
        let [access, access_part, change, change_part] = longs(&bytes);
        Ok([(access, access_part), (change, change_part)])
    })?;
    let (spot, last) = spot_and_flags(scene, 3)?;
    set_times(scene, &spot, last, &times)
}

fn in_microseconds(bytes: [u8; 32]) -> Result<[(i64, i64); 2], Errno> {
    let [access, access_part, change, change_part] = longs(&bytes);
    if [access_part, change_part]
        .iter()
        .any(|part| !(0..1_000_000).contains(part))
    {
        return Err(Errno::INVAL);
    }
    Ok([(access, access_part * 1000), (change, change_part * 1000)])
}

fn longs<const N: usize>(bytes: &[u8]) -> [i64; N] {
    let mut words = bytes.as_chunks::<8>().0.iter();
    std::array::from_fn(|_| words.next().map_or(0, |word| i64::from_ne_bytes(*word)))
}

fn times<const N: usize>(
    scene: &Scene<'_>,
    index: usize,
    parse: impl FnOnce([u8; N]) -> Result<[(i64, i64); 2], Errno>,
) -> Result<Timestamps, Failure> {
    let time = |(tv_sec, tv_nsec)| Timespec { tv_sec, tv_nsec };
    let [last_access, last_modification] = match scene.long(index) {
        0 => [NOW, NOW],
        address => parse(scene.bytes(address)?)?.map(time),
    };
    Ok(Timestamps {
        last_access,
        last_modification,
    })
}

fn set_times(scene: &Scene<'_>, spot: &Spot, last: Last, times: &Timestamps) -> Answer {
    scene.act(|walk| {
        let object = walk.find(spot, last)?;
        let object = walk.usable(object)?;
        let name = object.name();
        rustix::fs::utimensat(CWD, name, times, AtFlags::empty())
    })?;
    done()
}

/// The events of a folder tell the names in it.
pub(super) fn inotify_add_watch(scene: &Scene<'_>) -> Answer {
    let flags = WatchFlags::from_bits_retain(scene.int(2));
    let last = Last::unless(flags.contains(WatchFlags::DONT_FOLLOW));
    let spot = scene.spot(1)?;
    let watcher = scene.subject.caller.descriptor(scene.int(0))?;
    let number = scene.act(|walk| {
        let object = walk.find(&spot, last)?;
        let object = walk.usable(object)?;
        let flags = flags - WatchFlags::DONT_FOLLOW;
        rustix::fs::inotify::add_watch(&watcher, object.name(), flags)
    })?;
    value(number.into())
}

/// A working directory or a root is where paths begin, and each of those is
/// judged: it is only looked at whether it may be there.
pub(super) fn enter(scene: &Scene<'_>) -> Answer {
    let spot = scene.spot(0)?;
    scene.act(|walk| {
        let object = walk.find(&spot, Last::Followed)?;
        walk.usable(object)
    })?;
    Ok(Decision::Pass(crate::Grounds::NothingSensitive(
        "a folder to begin at gives access to nothing: what begins there is judged",
    )))
}

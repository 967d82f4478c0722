//! Calls on extended attributes.

use rustix::fs::XattrFlags;
use rustix::io::Errno;

use super::scene::{Scene, XATTR_MAX, done, value};
use super::walk::{Last, Spot};
use crate::{Decision, Failure};

type Answer = Result<Decision, Failure>;

/// Longest name with its NUL (`XATTR_NAME_MAX`).
const NAME_MAX: usize = 256;

/// `struct xattr_args` of 6.13.
struct Value {
    address: u64,
    size: u64,
    flags: u32,
}

impl Value {
    /// Behind the pointer of one argument, with its size in the next one.
    fn read(scene: &Scene<'_>, index: usize) -> Result<Self, Failure> {
        if scene.long(index + 1) != 16 {
            return Err(Failure(Errno::INVAL));
        }
        let bytes: [u8; 16] = scene.bytes(scene.long(index))?;
        let (address, rest) = bytes.split_at(8);
        let (size, flags) = rest.split_at(4);
        let int = |bytes: &[u8]| bytes.first_chunk().map_or(0, |it| u32::from_ne_bytes(*it));
        Ok(Self {
            address: address
                .first_chunk()
                .map_or(0, |it| u64::from_ne_bytes(*it)),
            size: int(size).into(),
            flags: int(flags),
        })
    }
}

/// Path and flags of the calls of 6.13: folder, path, flags.
fn spot_at(scene: &Scene<'_>) -> Result<(Spot, Last), Failure> {
    if scene.has(2, !(libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW)) {
        return Err(Failure(Errno::INVAL));
    }
    let last = Last::unless(scene.has(2, libc::AT_SYMLINK_NOFOLLOW));
    Ok((scene.spot_or_empty(0, 1, 2)?, last))
}

/// A name; those of the kernel's security modules and of administrators are
/// nothing to set in somebody's place.
fn name(scene: &Scene<'_>, index: usize, sets: bool) -> Result<Vec<u8>, Failure> {
    let name = match scene.string(index, NAME_MAX) {
        Err(Failure(Errno::NAMETOOLONG)) => return Err(Failure(Errno::RANGE)),
        name => name?,
    };
    if name.is_empty() {
        return Err(Failure(Errno::RANGE));
    }
    let reserved = [&b"security."[..], b"trusted."];
    if sets && reserved.iter().any(|prefix| name.starts_with(prefix)) {
        return Err(Failure(Errno::PERM));
    }
    Ok(name)
}

pub(super) fn setxattr(scene: &Scene<'_>) -> Answer {
    set(scene, &scene.spot(0)?, Last::Followed)
}

pub(super) fn lsetxattr(scene: &Scene<'_>) -> Answer {
    set(scene, &scene.spot(0)?, Last::Link)
}

fn set(scene: &Scene<'_>, spot: &Spot, last: Last) -> Answer {
    let value = Value {
        address: scene.long(2),
        size: scene.long(3),
        flags: scene.int(4),
    };
    set_value(scene, spot, last, &name(scene, 1, true)?, &value)
}

pub(super) fn setxattrat(scene: &Scene<'_>) -> Answer {
    let (spot, last) = spot_at(scene)?;
    let value = Value::read(scene, 4)?;
    set_value(scene, &spot, last, &name(scene, 3, true)?, &value)
}

fn set_value(scene: &Scene<'_>, spot: &Spot, last: Last, name: &[u8], value: &Value) -> Answer {
    let size = usize::try_from(value.size).map_err(|_large| Errno::TOOBIG)?;
    if size > XATTR_MAX {
        return Err(Failure(Errno::TOOBIG));
    }
    let mut bytes = vec![0; size];
    scene.request.memory().read(value.address, &mut bytes)?;
    let flags = XattrFlags::from_bits_retain(value.flags);
    scene.act(|walk| {
        let object = walk.find(spot, last)?;
        let object = walk.usable(object)?;
        rustix::fs::setxattr(object.name(), name, &bytes, flags)
    })?;
    done()
}

pub(super) fn getxattr(scene: &Scene<'_>) -> Answer {
    get(scene, &scene.spot(0)?, Last::Followed)
}

pub(super) fn lgetxattr(scene: &Scene<'_>) -> Answer {
    get(scene, &scene.spot(0)?, Last::Link)
}

fn get(scene: &Scene<'_>, spot: &Spot, last: Last) -> Answer {
    let name = name(scene, 1, false)?;
    give(scene, spot, last, Some(&name), scene.long(2), scene.long(3))
}

pub(super) fn getxattrat(scene: &Scene<'_>) -> Answer {
    let (spot, last) = spot_at(scene)?;
    let value = Value::read(scene, 4)?;
    if value.flags != 0 {
        return Err(Failure(Errno::INVAL));
    }
    let name = name(scene, 3, false)?;
    give(scene, &spot, last, Some(&name), value.address, value.size)
}

pub(super) fn listxattr(scene: &Scene<'_>) -> Answer {
    let spot = scene.spot(0)?;
    give(
        scene,
        &spot,
        Last::Followed,
        None,
        scene.long(1),
        scene.long(2),
    )
}

pub(super) fn llistxattr(scene: &Scene<'_>) -> Answer {
    let spot = scene.spot(0)?;
    give(scene, &spot, Last::Link, None, scene.long(1), scene.long(2))
}

pub(super) fn listxattrat(scene: &Scene<'_>) -> Answer {
    let (spot, last) = spot_at(scene)?;
    give(scene, &spot, last, None, scene.long(3), scene.long(4))
}

/// Writes a value, or the list of names, to a place of `size` bytes; its length
/// alone where that is 0.
fn give(
    scene: &Scene<'_>,
    spot: &Spot,
    last: Last,
    name: Option<&[u8]>,
    address: u64,
    size: u64,
) -> Answer {
    let most = usize::try_from(size).unwrap_or(XATTR_MAX).min(XATTR_MAX);
    let mut bytes = vec![0; most];
    let length = scene.act(|walk| {
        let object = walk.find(spot, last)?;
        let object = walk.usable(object)?;
        let path = object.name();
        match name {
            Some(name) => rustix::fs::getxattr(path, name, bytes.as_mut_slice()),
            None => rustix::fs::listxattr(path, bytes.as_mut_slice()),
        }
    })?;
    if let Some(written) = bytes.get(..length) {
        scene.give(address, written)?;
    }
    value(i64::try_from(length).map_err(|_wide| Errno::TOOBIG)?)
}

pub(super) fn removexattr(scene: &Scene<'_>) -> Answer {
    remove(
        scene,
        &scene.spot(0)?,
        Last::Followed,
        &name(scene, 1, true)?,
    )
}

pub(super) fn lremovexattr(scene: &Scene<'_>) -> Answer {
    remove(scene, &scene.spot(0)?, Last::Link, &name(scene, 1, true)?)
}

pub(super) fn removexattrat(scene: &Scene<'_>) -> Answer {
    let (spot, last) = spot_at(scene)?;
    remove(scene, &spot, last, &name(scene, 3, true)?)
}

fn remove(scene: &Scene<'_>, spot: &Spot, last: Last, name: &[u8]) -> Answer {
    scene.act(|walk| {
        let object = walk.find(spot, last)?;
        let object = walk.usable(object)?;
        rustix::fs::removexattr(object.name(), name)
    })?;
    done()
}

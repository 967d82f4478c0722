//! The links and files of proc(5) that are different for everyone who looks.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use super::subject::{Ids, Subject};
use crate::policy::net::caller::path_of;
use crate::process::number;

/// `PROC_SUPER_MAGIC` (`include/uapi/linux/magic.h`).
const PROC_SUPER_MAGIC: i64 = 0x9fa0;

/// The inode of the root of every proc (`PROC_ROOT_INO`).
const PROC_ROOT_INO: u64 = 1;

/// Files that only the process itself may read, or who may trace it, decided
/// when they are opened (`fs/proc/base.c`).
const PRIVATE: &[&[u8]] = &[
    b"auxv",
    b"environ",
    b"io",
    b"maps",
    b"mem",
    b"numa_maps",
    b"personality",
    b"smaps",
    b"smaps_rollup",
    b"syscall",
    b"timers",
    b"timerslack_ns",
];

/// Others of that kind, which are nothing to open in a caller's place: they
/// look at the capabilities of whoever opened them.
const NEVER: &[&[u8]] = &[b"pagemap", b"stack", b"uid_map", b"gid_map", b"projid_map"];

/// What a link leads to.
#[derive(Debug)]
pub(super) enum Link {
    /// A path to go on with.
    Text(Vec<u8>),
    /// This object, whatever its name.
    Object(OwnedFd),
}

/// Whether something is on a proc.
pub(super) fn is_of_proc(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    let found = rustix::fs::fstatfs(fd)?.f_type;
    #[allow(
        clippy::unnecessary_cast,
        reason = "the type differs between architectures"
    )]
    Ok(found as i64 == PROC_SUPER_MAGIC)
}

/// What the link `name` in `folder` leads the subject to. Links of other
/// processes are EACCES: whether they may be followed depends on who asks.
pub(super) fn target(
    subject: &Subject<'_>,
    folder: BorrowedFd<'_>,
    name: &[u8],
    link: BorrowedFd<'_>,
) -> Result<Link, Errno> {
    let own = own_ids(subject, folder)?;
    let position = position(folder)?;
    let words: Vec<&[u8]> = position.iter().map(Vec::as_slice).collect();
    match words.as_slice() {
        [] if name == b"self" => Ok(Link::Text(own.process.to_string().into_bytes())),
        [] if name == b"thread-self" => {
            let Ids { process, thread } = own;
            Ok(Link::Text(format!("{process}/task/{thread}").into_bytes()))
        }
        [process, rest @ ..] if number::<u32>(process).is_some() => {
            if number(process) != Some(own.process) {
                return Err(Errno::ACCESS);
            }
            follow(subject, rest, name)
        }
        _ => {
            let text = rustix::fs::readlinkat(link, c"", Vec::new())?;
            Ok(Link::Text(text.into_bytes()))
        }
    }
}

/// Follows a link in the subject's own folder; `rest` is the way to it.
fn follow(subject: &Subject<'_>, rest: &[&[u8]], name: &[u8]) -> Result<Link, Errno> {
    let rest = match rest {
        [b"task", _thread, rest @ ..] => rest,
        rest => rest,
    };
    match rest {
        [b"fd"] => {
            let number = number(name).ok_or(Errno::NOENT)?;
            subject.caller.descriptor(number).map(Link::Object)
        }
        [] | [b"ns"] => {
            let name = [rest.first().copied().unwrap_or_default(), name].join(&b'/');
            subject.own_link(&name).map(Link::Object)
        }
        _ => Err(Errno::ACCESS),
    }
}

/// A file of proc, opened for the subject, where that is different from opening
/// it as whoever we are; `None` where it is not. As this process.
pub(super) fn open(
    subject: &Subject<'_>,
    folder: BorrowedFd<'_>,
    name: &[u8],
    flags: OFlags,
) -> Result<Option<OwnedFd>, Errno> {
    let position = position(folder)?;
    let words: Vec<&[u8]> = position.iter().map(Vec::as_slice).collect();
    let [process, rest @ ..] = words.as_slice() else {
        return Ok(None);
    };
    let inside = match rest {
        [b"task", _thread, inside @ ..] => inside,
        inside => inside,
    };
    let private = match inside {
        [] => PRIVATE.contains(&name),
        [b"fdinfo" | b"map_files"] => true,
        _ => false,
    };
    if number::<u32>(process).is_none() || !(private || NEVER.contains(&name)) {
        return Ok(None);
    }
    if !private || number(process) != Some(own_ids(subject, folder)?.process) {
        return Err(Errno::ACCESS);
    }
    let opened = rustix::fs::openat(folder, name, flags | OFlags::NOFOLLOW, Mode::empty())?;
    Ok(Some(opened))
}

/// What the subject is called in this proc: it is the one that we see, or that
/// of the innermost namespace, which cannot see others.
fn own_ids(subject: &Subject<'_>, folder: BorrowedFd<'_>) -> Result<Ids, Errno> {
    let device = |stat: rustix::fs::Stat| stat.st_dev;
    let ours = rustix::fs::statat(CWD, c"/proc", rustix::fs::AtFlags::empty()).map(device)?;
    if device(rustix::fs::fstat(folder)?) == ours {
        Ok(subject.outer)
    } else {
        Ok(subject.inner)
    }
}

/// The names from the root of a proc to one of its folders. They do not change:
/// nobody renames anything there.
fn position(folder: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>, Errno> {
    let mut depth = 0;
    let mut here = super::subject::duplicate(&folder)?;
    while rustix::fs::fstat(&here)?.st_ino != PROC_ROOT_INO {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        here = rustix::fs::openat(&here, c"..", flags, Mode::empty())?;
        depth += 1;
        if depth > 16 {
            return Err(Errno::ACCESS);
        }
    }
    let path = path_of(folder)?;
    let names: Vec<Vec<u8>> = path
        .split(|&byte| byte == b'/')
        .map(<[u8]>::to_vec)
        .collect();
    Ok(names[names.len().saturating_sub(depth)..].to_vec())
}

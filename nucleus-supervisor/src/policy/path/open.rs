//! The calls that open.

use std::os::fd::{AsFd, OwnedFd};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags};

use super::proc;
use super::scene::Scene;
use super::subject::duplicate;
use super::walk::{Last, Object, Spot, Walk};
use crate::policy::net::caller::own_name;
use crate::policy::net::patience::{RESTART, has_signal};
use crate::process::{after_name, number};
use crate::{Decision, Failure, NewFd, Reply};

type Answer = Result<Decision, Failure>;

/// Every flag that open(2) knows (`VALID_OPEN_FLAGS`).
const KNOWN: i32 = libc::O_ACCMODE
    | libc::O_CREAT
    | libc::O_EXCL
    | libc::O_NOCTTY
    | libc::O_TRUNC
    | libc::O_APPEND
    | libc::O_NONBLOCK
    | libc::O_SYNC
    | libc::O_DSYNC
    | libc::O_ASYNC
    | libc::O_DIRECT
    | LARGEFILE
    | libc::O_DIRECTORY
    | libc::O_NOFOLLOW
    | libc::O_NOATIME
    | libc::O_CLOEXEC
    | libc::O_PATH
    | libc::O_TMPFILE;

/// `O_LARGEFILE` as the kernel has it; libc has 0 where it goes without saying.
#[cfg(target_arch = "x86_64")]
const LARGEFILE: i32 = 0o100_000;
#[cfg(target_arch = "aarch64")]
const LARGEFILE: i32 = 0o400_000;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const LARGEFILE: i32 = 0o100_000;

/// What goes with `O_PATH` (`O_PATH_FLAGS`).
const WITH_PATH: OFlags = OFlags::PATH
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// How often a name may come and go while it is opened.
const TRIES: u32 = 64;

/// Longest pause between two looks at a FIFO.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// `/dev/tty`: whatever terminal the opener has.
const DEV_TTY: u64 = libc::makedev(5, 0);

/// Every restriction that openat2(2) knows (`VALID_RESOLVE_FLAGS`, 6.18).
const KNOWN_RESOLVE: u64 = 0x3f;

/// `struct open_how`, judged by the kernel's rules.
struct How {
    flags: OFlags,
    mode: Mode,
    resolve: ResolveFlags,
}

impl How {
    /// As open(2) takes flags: what it does not know does not count.
    fn lenient(flags: u32, mode: u32) -> Self {
        let flags = flags & KNOWN.cast_unsigned();
        let mut flags = OFlags::from_bits_retain(flags);
        if flags.contains(OFlags::PATH) {
            flags &= WITH_PATH;
        }
        Self {
            flags,
            mode: Mode::from_bits_retain(mode & 0o7777),
            resolve: ResolveFlags::empty(),
        }
    }

    /// As openat2(2) does.
    fn strict(words: [u64; 3]) -> Result<Self, Errno> {
        let [flags, mode, resolve] = words;
        let flags = u32::try_from(flags).map_err(|_unknown| Errno::INVAL)?;
        let makes = flags & (libc::O_CREAT | TMPFILE_ALONE).cast_unsigned() != 0;
        let mode_is_right = if makes { mode <= 0o7777 } else { mode == 0 };
        let how = OFlags::from_bits_retain(flags);
        let path_is_right = !how.contains(OFlags::PATH) || (how - WITH_PATH).is_empty();
        if resolve & !KNOWN_RESOLVE != 0 {
            return Err(Errno::INVAL);
        }
        let resolve = ResolveFlags::from_bits_retain(resolve);
        let both = ResolveFlags::BENEATH | ResolveFlags::IN_ROOT;
        if flags & !KNOWN.cast_unsigned() != 0
            || !mode_is_right
            || !path_is_right
            || resolve.contains(both)
        {
            return Err(Errno::INVAL);
        }
        // What the kernel has at hand is nothing that we know of.
        if resolve.contains(ResolveFlags::CACHED) {
            return Err(Errno::AGAIN);
        }
        Ok(Self {
            flags: how,
            mode: Mode::from_bits_retain(u32::try_from(mode).map_err(|_wide| Errno::INVAL)?),
            resolve,
        })
    }

    fn has(&self, flag: OFlags) -> bool {
        self.flags.contains(flag)
    }
}

/// `O_TMPFILE` without the `O_DIRECTORY` in it.
const TMPFILE_ALONE: i32 = libc::O_TMPFILE & !libc::O_DIRECTORY;

pub(super) fn creat(scene: &Scene<'_>) -> Answer {
    let flags = libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC;
    let how = How::lenient(flags.cast_unsigned(), scene.int(1));
    answer(scene, &scene.spot(0)?, &how)
}

pub(super) fn open(scene: &Scene<'_>) -> Answer {
    let how = How::lenient(scene.int(1), scene.int(2));
    answer(scene, &scene.spot(0)?, &how)
}

pub(super) fn openat(scene: &Scene<'_>) -> Answer {
    let how = How::lenient(scene.int(2), scene.int(3));
    answer(scene, &scene.spot_at(0, 1)?, &how)
}

pub(super) fn openat2(scene: &Scene<'_>) -> Answer {
    /// `OPEN_HOW_SIZE_VER0`, and a page: the least and the most.
    const SIZES: std::ops::RangeInclusive<u64> = 24..=4096;
    let (address, size) = (scene.long(2), scene.long(3));
    if size < *SIZES.start() {
        return Err(Failure(Errno::INVAL));
    }
    let size = usize::try_from(size).map_err(|_large| Errno::TOOBIG)?;
    let mut bytes = [0; 4096];
    let bytes = bytes.get_mut(..size).ok_or(Errno::TOOBIG)?;
    scene.request.memory().read(address, bytes)?;
    let (known, rest) = bytes.split_at(24);
    if rest.iter().any(|&byte| byte != 0) {
        return Err(Failure(Errno::TOOBIG));
    }
    let word = |at: usize| {
        let word = known.get(at..).and_then(<[u8]>::first_chunk);
        word.map_or(0, |word| u64::from_ne_bytes(*word))
    };
    let how = How::strict([word(0), word(8), word(16)])?;
    answer(scene, &scene.spot_at(0, 1)?, &how)
}

fn answer(scene: &Scene<'_>, spot: &Spot, how: &How) -> Answer {
    let opened = scene.act(|walk| {
        walk.restrict(how.resolve);
        open_at(walk, spot, how)
    })?;
    Ok(Decision::Answer(Reply::Fd(NewFd {
        close_on_exec: how.has(OFlags::CLOEXEC),
        ..NewFd::new(opened)
    })))
}

fn open_at(walk: &mut Walk<'_>, spot: &Spot, how: &How) -> Result<OwnedFd, Errno> {
    let makes = how.has(OFlags::CREATE);
    let new_alone = makes && how.has(OFlags::EXCL);
    let last = match how.has(OFlags::NOFOLLOW) || new_alone {
        true if makes => Last::Name,
        nofollow => Last::unless(nofollow),
    };
    if makes && how.has(OFlags::DIRECTORY) {
        return Err(Errno::INVAL);
    }
    for _ in 0..TRIES {
        let found = walk.find(spot, last)?;
        if makes && found.slash {
            found.mark.ok()?;
            return Err(Errno::ISDIR);
        }
        if makes && found.object.is_none() {
            let place = walk.changeable(&found, Errno::ISDIR)?;
            // Made by us or by nobody: what another one has put there meanwhile
            // is judged in the next round.
            let flags = ours(how.flags) | OFlags::EXCL | OFlags::NOFOLLOW;
            match rustix::fs::openat(&place.folder, &place.name, flags, how.mode) {
                Err(Errno::EXIST) if !new_alone => continue,
                made => return made,
            }
        }
        if new_alone {
            found.mark.ok()?;
            return Err(Errno::EXIST);
        }
        let place = found.place.as_ref();
        let place = place.map(|place| (place.folder.clone(), place.name.clone()));
        let object = walk.usable(found)?;
        check_kind(&object, how, makes)?;
        if how.has(OFlags::PATH) {
            return duplicate(&object);
        }
        if let Some((folder, name)) = place
            && proc::is_of_proc(object.as_fd())?
        {
            let (folder, flags) = (folder.as_fd(), again(how.flags));
            let private = |walk: &Walk<'_>| proc::open(walk.subject, folder, &name, flags);
            if let Some(opened) = walk.acting.ourselves(|| private(walk))? {
                return Ok(opened);
            }
        }
        return match object.kind {
            FileType::Fifo => open_fifo(walk, &object, how),
            FileType::CharacterDevice => open_device(walk, &object, how),
            _ => reopen(&object, again(how.flags), how.mode),
        };
    }
    Err(Errno::AGAIN)
}

fn check_kind(object: &Object, how: &How, makes: bool) -> Result<(), Errno> {
    match object.kind {
        FileType::Symlink if how.has(OFlags::DIRECTORY) => Err(Errno::NOTDIR),
        FileType::Symlink if !how.has(OFlags::PATH) => Err(Errno::LOOP),
        FileType::Directory if makes => Err(Errno::ISDIR),
        FileType::Directory => Ok(()),
        _ if how.has(OFlags::DIRECTORY) => Err(Errno::NOTDIR),
        _ => Ok(()),
    }
}

/// What every file is opened with here: a terminal would become this process's.
fn ours(flags: OFlags) -> OFlags {
    flags | OFlags::CLOEXEC | OFlags::NOCTTY
}

/// The flags for an object that is there.
fn again(flags: OFlags) -> OFlags {
    ours(flags) - OFlags::CREATE - OFlags::EXCL - OFlags::NOFOLLOW
}

/// Opens what was judged, whatever its name is by now.
fn reopen(object: &Object, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(CWD, object.name(), flags, mode)
}

fn open_device(walk: &Walk<'_>, object: &Object, how: &How) -> Result<OwnedFd, Errno> {
    let device = rustix::fs::fstat(object)?.st_rdev;
    if device != DEV_TTY {
        return reopen(object, again(how.flags), how.mode);
    }
    // It would be this process's terminal. The caller's is among its first
    // descriptors, or among those that shells keep it at.
    let stat = walk.subject.caller.read_proc("stat")?;
    let terminal = after_name(&stat).filter(|word| !word.is_empty()).nth(4);
    let terminal: i32 = terminal.and_then(number).ok_or(Errno::NXIO)?;
    let terminal = u64::from(terminal.cast_unsigned());
    for descriptor in [0, 1, 2, 3, 10, 255] {
        let Ok(fd) = walk
            .acting
            .ourselves(|| walk.subject.caller.descriptor(descriptor))
        else {
            continue;
        };
        let stat = rustix::fs::fstat(&fd)?;
        let is_device = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
        if is_device && stat.st_rdev == terminal && terminal != 0 {
            return rustix::fs::openat(CWD, own_name(fd.as_fd()), again(how.flags), how.mode);
        }
    }
    Err(Errno::NXIO)
}

/// Opens a FIFO, which waits for its other side: in steps, so that the caller
/// can be interrupted.
fn open_fifo(walk: &Walk<'_>, object: &Object, how: &How) -> Result<OwnedFd, Errno> {
    let flags = again(how.flags);
    if flags.contains(OFlags::NONBLOCK) || flags.contains(OFlags::RDWR) {
        return reopen(object, flags, how.mode);
    }
    let mut pause = Duration::from_micros(200);
    let mut wait = |fifo: Option<&OwnedFd>| {
        let request = walk.subject.caller.request;
        if !request.is_waiting()? || has_signal(request.thread()) {
            return Err(RESTART);
        }
        match fifo {
            Some(fifo) => {
                let time = Timespec::try_from(pause).map_err(|_long| Errno::INVAL)?;
                let mut polled = [PollFd::new(fifo, PollFlags::IN)];
                rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, Some(&time)))?;
            }
            None => thread::sleep(pause),
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
        Ok(())
    };
    let opened = if flags.contains(OFlags::WRONLY) {
        loop {
            match reopen(object, flags | OFlags::NONBLOCK, how.mode) {
                Err(Errno::NXIO) => wait(None)?,
                opened => break opened?,
            }
        }
    } else {
        let opened = reopen(object, flags | OFlags::NONBLOCK, how.mode)?;
        let probe = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        while !has_writer(&opened, &probe.1)? {
            wait(Some(&opened))?;
        }
        opened
    };
    let status = rustix::fs::fcntl_getfl(&opened)?;
    rustix::fs::fcntl_setfl(&opened, status - OFlags::NONBLOCK)?;
    Ok(opened)
}

/// Whether a FIFO that was opened to read has, or has had, a writer. Copying
/// from it to another pipe tells without taking anything.
fn has_writer(fifo: &OwnedFd, probe: &OwnedFd) -> Result<bool, Errno> {
    match rustix::pipe::tee(fifo, probe, 1, SpliceFlags::NONBLOCK) {
        Ok(0) => {
            let mut polled = [PollFd::new(fifo, PollFlags::IN)];
            let now = Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            };
            rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, Some(&now)))?;
            Ok(!polled[0].revents().is_empty())
        }
        Ok(_) | Err(Errno::AGAIN) => Ok(true),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openat2_is_strict() {
        let check = |words, expected: Result<(), Errno>| {
            assert_eq!(How::strict(words).map(drop), expected, "{words:?}");
        };
        check([0, 0, 0], Ok(()));
        check([0o100, 0o644, 0], Ok(()));
        check([0, 0o644, 0], Err(Errno::INVAL));
        check([0o100, 0o10000, 0], Err(Errno::INVAL));
        check([1 << 30, 0, 0], Err(Errno::INVAL));
        check([1 << 40, 0, 0], Err(Errno::INVAL));
        check([0, 0, 0x100], Err(Errno::INVAL));
        check([0, 0, 0x18], Err(Errno::INVAL));
        check([0, 0, 0x20], Err(Errno::AGAIN));
    }

    #[test]
    fn a_fifo_shows_its_writer_and_keeps_its_bytes() {
        let path = std::env::temp_dir().join(format!("nucleus-fifo-{}", std::process::id()));
        let mode = Mode::RUSR | Mode::WUSR;
        rustix::fs::mknodat(CWD, &path, FileType::Fifo, mode, 0).expect("a FIFO");
        let (_copy, probe) = rustix::pipe::pipe().expect("a pipe");
        let open = |flags| rustix::fs::open(&path, flags | OFlags::NONBLOCK, Mode::empty());
        let reader = open(OFlags::RDONLY).expect("open");
        assert_eq!(has_writer(&reader, &probe), Ok(false));
        let writer = open(OFlags::WRONLY).expect("open");
        assert_eq!(has_writer(&reader, &probe), Ok(true));
        rustix::io::write(&writer, b"x").expect("room");
        assert_eq!(has_writer(&reader, &probe), Ok(true));
        let mut byte = [0];
        assert_eq!(rustix::io::read(&reader, &mut byte), Ok(1));
        drop(writer);
        assert_eq!(has_writer(&reader, &probe), Ok(true));
        std::fs::remove_file(&path).expect("removed");
    }
}

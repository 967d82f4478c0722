//! Files of random numbers: the devices, and the kernel's UUIDs.

use std::os::fd::OwnedFd;

use nucleus_seccomp::Syscall;
use rustix::fs::{FileType, Mode, OFlags, major, minor};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use super::SharedStreams;
use super::feeder::Feeder;
use super::seed::Stream;
use crate::limits::everywhere;
use crate::{
    Decision, Enforced, Failure, FdResult, Grounds, Handler, NewFd, Policy, PolicyError, Registry,
    Reply, Request, When,
};

/// Gives programs pipes of seeded bytes in place of `/dev/urandom`,
/// `/dev/random` and the UUIDs of `/proc/sys/kernel/random`.
///
/// Made by [`Determinism::random_files`](crate::Determinism::random_files).
#[derive(Debug)]
pub struct RandomFiles {
    streams: SharedStreams,
}

/// Why an open that is none of these goes on.
const OTHER_FILE: Grounds =
    Grounds::NothingSensitive("a program that swaps the name gets the kernel's random numbers");

/// `UNNAMED_MAJOR` is 0; the memory devices, of which these two are some, have 1.
const MEMORY_DEVICES: u32 = 1;
const RANDOM: u32 = 8;
const URANDOM: u32 = 9;

impl RandomFiles {
    pub(super) const fn new(streams: SharedStreams) -> Self {
        Self { streams }
    }
}

impl Policy for RandomFiles {
    /// The tracer's half speaks for both.
    fn enforced(&self) -> Vec<Enforced> {
        Vec::new()
    }

    fn register(self: Box<Self>, registry: &mut Registry) -> Result<(), PolicyError> {
        let opener = std::sync::Arc::new(Opener {
            streams: self.streams,
            feeder: Feeder::start()?,
        });
        for call in ["open", "openat", "openat2"]
            .into_iter()
            .flat_map(everywhere)
        {
            registry.add(call, When::Always, Opening(std::sync::Arc::clone(&opener)))?;
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Opener {
    streams: SharedStreams,
    feeder: Feeder,
}

struct Opening(std::sync::Arc<Opener>);

/// What is opened, of what is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RandomFile {
    /// Endless bytes.
    Device,
    /// A new UUID.
    Uuid,
    /// The UUID of this boot.
    BootId,
}

impl Handler for Opening {
    /// Only to follow another name than the usual ones, which may lead anywhere.
    fn may_wait(&self, request: &Request) -> bool {
        let open = request.call().and_then(|call| Open::of(request, call));
        let path = open.and_then(|open| request.memory().path(open.path).ok());
        path.is_some_and(|path| named(&path).is_none() && has_device_name(&path))
    }

    fn handle(&self, request: &Request) -> Result<Decision, Failure> {
        let pass = Ok(Decision::Pass(OTHER_FILE));
        let Some(open) = request.call().and_then(|call| Open::of(request, call)) else {
            return pass;
        };
        // What cannot be read is the kernel's to refuse.
        let Ok(path) = request.memory().path(open.path) else {
            return pass;
        };
        let Some(file) = named(&path).or_else(|| leads_to_device(request, open.folder, &path))
        else {
            return pass;
        };
        let unusual = OFlags::PATH | OFlags::DIRECTORY | OFlags::WRONLY;
        if open.flags.intersects(unusual) || !request.is_waiting()? {
            return pass;
        }
        let thread = u32::try_from(request.thread()).map_err(|_none| Failure(Errno::SRCH))?;
        let fd = self.0.open(file, thread)?;
        Ok(Decision::Answer(Reply::Fd(NewFd {
            fd,
            number: None,
            close_on_exec: open.flags.contains(OFlags::CLOEXEC),
            result: FdResult::Number,
            told: None,
        })))
    }
}

impl Opener {
    fn open(&self, file: RandomFile, thread: u32) -> Result<OwnedFd, Errno> {
        let mut streams = self.streams.lock();
        match file {
            RandomFile::Device => self.feeder.pipe(streams.of(thread).file()),
            RandomFile::Uuid => text(&uuid(&mut streams.of(thread).file())),
            RandomFile::BootId => text(&uuid(&mut streams.common())),
        }
    }
}

/// The arguments of a call that opens a file.
struct Open {
    folder: Option<i32>,
    path: u64,
    flags: OFlags,
}

impl Open {
    fn of(request: &Request, call: Syscall) -> Option<Self> {
        let flags = |bits: u32| OFlags::from_bits_retain(bits);
        let folder = match request.int(0).cast_signed() {
            libc::AT_FDCWD => None,
            folder => Some(folder),
        };
        let [first, second, third, ..] = request.data().args;
        match call.name()? {
            "open" => Some(Self {
                folder: None,
                path: first,
                flags: flags(request.int(1)),
            }),
            "openat" => Some(Self {
                folder,
                path: second,
                flags: flags(request.int(2)),
            }),
            _ => {
                // struct open_how begins with the flags.
                let mut how = [0; 8];
                request.memory().read(third, &mut how).ok()?;
                let bits = u32::try_from(u64::from_le_bytes(how)).ok()?;
                Some(Self {
                    folder,
                    path: second,
                    flags: flags(bits),
                })
            }
        }
    }
}

/// What a path is by its text alone, as nearly every program writes it.
fn named(path: &[u8]) -> Option<RandomFile> {
    match path {
        b"/dev/urandom" | b"/dev/random" => Some(RandomFile::Device),
        b"/proc/sys/kernel/random/uuid" => Some(RandomFile::Uuid),
        b"/proc/sys/kernel/random/boot_id" => Some(RandomFile::BootId),
        _ => None,
    }
}

fn has_device_name(path: &[u8]) -> bool {
    let name = path.rsplit(|&byte| byte == b'/').next();
    matches!(name, Some(b"urandom" | b"random"))
}

/// Whether another path with the device's name at its end leads to it. A link
/// of another name is not followed: that would be to open every file twice.
fn leads_to_device(request: &Request, folder: Option<i32>, path: &[u8]) -> Option<RandomFile> {
    has_device_name(path).then_some(())?;
    let thread = request.thread();
    let base = match folder {
        _ if path.starts_with(b"/") => format!("/proc/{thread}/root"),
        None => format!("/proc/{thread}/cwd/"),
        Some(folder) => format!("/proc/{thread}/fd/{folder}/"),
    };
    let path = [base.as_bytes(), path].concat();
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let found = rustix::fs::open(path, flags, Mode::empty()).ok()?;
    let stat = rustix::fs::fstat(&found).ok()?;
    let device = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && major(stat.st_rdev) == MEMORY_DEVICES
        && matches!(minor(stat.st_rdev), RANDOM | URANDOM);
    device.then_some(RandomFile::Device)
}

/// A file with this text, which fits into a pipe.
fn text(text: &str) -> Result<OwnedFd, Errno> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    rustix::io::write(&write, text.as_bytes())?;
    Ok(read)
}

/// A UUID of version 4 as the kernel writes it (RFC 9562).
fn uuid(stream: &mut Stream) -> String {
    let mut bytes = [0; 16];
    stream.fill(&mut bytes);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut text = String::new();
    for (at, byte) in bytes.iter().enumerate() {
        let dash = if matches!(at, 4 | 6 | 8 | 10) {
            "-"
        } else {
            ""
        };
        text = format!("{text}{dash}{byte:02x}");
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::determinism::seed::Streams;

    #[test]
    fn uuids_are_of_version_4() {
        let mut stream = Streams::new("1".parse().expect("a seed")).common();
        let (one, other) = (uuid(&mut stream), uuid(&mut stream));
        assert_ne!(one, other);
        for text in [one, other] {
            let parts: Vec<_> = text.trim_end().split('-').map(str::len).collect();
            assert_eq!(parts, [8, 4, 4, 4, 12], "{text}");
            assert_eq!(text.as_bytes()[14], b'4', "{text}");
            assert!(b"89ab".contains(&text.as_bytes()[19]), "{text}");
        }
    }
}

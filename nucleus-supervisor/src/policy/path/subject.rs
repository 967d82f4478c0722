//! Who makes a call, and acting as that one.

use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::policy::net::caller::{Caller, Identity};
use crate::process::{number, status_field};
use crate::{Failure, Request};

/// The caller of a request, with what its paths begin at.
#[derive(Debug)]
pub(super) struct Subject<'a> {
    pub(super) caller: Caller<'a>,
    pub(super) identity: Identity,
    /// Its capabilities in this process's user namespace.
    powers: CapabilitySet,
    pub(super) root: OwnedFd,
    /// Its ids in the innermost PID namespace that it is in.
    pub(super) inner: Ids,
    /// And here.
    pub(super) outer: Ids,
}

/// What a thread calls itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ids {
    pub(super) process: u32,
    pub(super) thread: u32,
}

impl<'a> Subject<'a> {
    pub(super) fn of(request: &'a Request) -> Result<Self, Failure> {
        let caller = Caller::of(request)?;
        let status = caller.read_proc("status")?;
        let identity = Identity::parse(&status).ok_or(Errno::SRCH)?;
        let (outer, inner) = ids(&status).ok_or(Errno::SRCH)?;
        let subject = Self {
            root: open_folder(request, "root")?,
            powers: powers(request, &status, &identity)?,
            caller,
            identity,
            inner,
            outer,
        };
        subject.confirm()?;
        Ok(subject)
    }

    /// Where relative paths begin: the working directory or a descriptor.
    pub(super) fn base(&self, folder: i32) -> Result<OwnedFd, Errno> {
        if folder == libc::AT_FDCWD {
            let base = open_folder(self.caller.request, "cwd")?;
            self.confirm()?;
            return Ok(base);
        }
        self.caller.descriptor(folder.cast_unsigned())
    }

    /// What one of the links in its own folder of proc leads to.
    pub(super) fn own_link(&self, name: &[u8]) -> Result<OwnedFd, Errno> {
        let place = format!("/proc/{}/", self.outer.thread).into_bytes();
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(CWD, [&place, name].concat(), flags, Mode::empty())?;
        self.confirm()?;
        Ok(opened)
    }

    /// Whether an object is of a mount of this process's that the subject has
    /// not, as what it inherited is. That the subject has it not is not enough:
    /// with a root or mounts of its own it sees but some of the program's.
    pub(super) fn is_foreign(&self, fd: BorrowedFd<'_>) -> Result<bool, Errno> {
        let stat = rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
        let failed = |error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
        let ours = std::fs::read("/proc/self/mountinfo").map_err(failed)?;
        let theirs = self.caller.read_proc("mountinfo")?;
        self.confirm()?;
        let has = |mounts: &[u8]| {
            let mut lines = mounts.split(|&byte| byte == b'\n');
            lines.any(|line| {
                let id = line.split(|&byte| byte == b' ').next();
                id.and_then(number) == Some(stat.stx_mnt_id)
            })
        };
        let namespace = |process: &str| {
            let link = format!("/proc/{process}/ns/mnt");
            rustix::fs::readlink(link, Vec::new())
        };
        // A program that shares this process's mounts inherits nothing foreign.
        let thread = self.outer.thread.to_string();
        let apart = namespace("self")? != namespace(&thread)?;
        self.confirm()?;
        Ok(apart && has(&ours) && !has(&theirs))
    }

    /// That what was found under its ids was its own.
    fn confirm(&self) -> Result<(), Errno> {
        if self.caller.request.is_waiting()? {
            Ok(())
        } else {
            Err(Errno::INTR)
        }
    }

    /// Runs something with the caller's user, groups and umask, so that the
    /// kernel's checks are those of the caller. Capabilities are not had
    /// meanwhile where this process is root and the caller is not.
    pub(super) fn act<R>(
        &self,
        act: impl FnOnce(&Acting<'_>) -> Result<R, Errno>,
    ) -> Result<R, Errno> {
        own_umask(self.identity.umask)?;
        let acting = Acting::new(self)?;
        act(&acting)
    }
}

/// Outer and inner ids from `/proc/PID/status`.
fn ids(status: &[u8]) -> Option<(Ids, Ids)> {
    let all = |name: &[u8]| -> Option<Vec<u32>> {
        let words = status_field(status, name)?.split(u8::is_ascii_whitespace);
        let words = words.filter(|word| !word.is_empty());
        words.map(number).collect()
    };
    let (processes, threads) = (all(b"NStgid:")?, all(b"NSpid:")?);
    let ids = |processes: Option<&u32>, threads: Option<&u32>| {
        Some(Ids {
            process: *processes?,
            thread: *threads?,
        })
    };
    let outer = ids(processes.first(), threads.first())?;
    Some((outer, ids(processes.last(), threads.last())?))
}

/// A caller in a user namespace of its own has no capability outside.
fn powers(request: &Request, status: &[u8], identity: &Identity) -> Result<CapabilitySet, Errno> {
    // They matter where they would be fewer than ours.
    let ours = rustix::thread::capabilities(None)?.effective;
    if ours.is_empty() || !identity.is_ours() {
        return Ok(CapabilitySet::empty());
    }
    let namespace = |of: &str| rustix::fs::stat(format!("/proc/{of}/ns/user"));
    let theirs = namespace(&request.thread().to_string())?;
    if theirs.st_ino != namespace("thread-self")?.st_ino {
        return Ok(CapabilitySet::empty());
    }
    let text = status_field(status, b"CapEff:").ok_or(Errno::SRCH)?;
    let text = str::from_utf8(text.trim_ascii()).map_err(|_not_ascii| Errno::SRCH)?;
    let bits = u64::from_str_radix(text, 16).map_err(|_no_number| Errno::SRCH)?;
    Ok(CapabilitySet::from_bits_retain(bits))
}

fn open_folder(request: &Request, name: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let path = format!("/proc/{}/{name}", request.thread());
    rustix::fs::openat(CWD, path, flags, Mode::empty())
}

/// Gives this thread a umask of its own, which it has from its first call on.
fn own_umask(umask: Mode) -> Result<(), Errno> {
    thread_local! {
        static IS_OWN: Cell<bool> = const { Cell::new(false) };
    }
    if !IS_OWN.get() {
        crate::sys::own_directory()?;
        IS_OWN.set(true);
    }
    rustix::process::umask(umask);
    Ok(())
}

/// That this thread acts as the caller, until it is dropped.
#[derive(Debug)]
pub(super) struct Acting<'s> {
    subject: &'s Subject<'s>,
    before: Before,
}

/// What to go back to.
#[derive(Debug)]
enum Before {
    /// The caller is whom we are.
    Same,
    /// And has fewer capabilities.
    Powers(CapabilitySets),
    User {
        user: Uid,
        group: Gid,
        groups: Vec<Gid>,
    },
}

impl<'s> Acting<'s> {
    fn new(subject: &'s Subject<'s>) -> Result<Self, Errno> {
        let before = if subject.identity.is_ours() {
            let powers = rustix::thread::capabilities(None)?;
            if (powers.effective - subject.powers).is_empty() {
                Before::Same
            } else {
                Before::Powers(powers)
            }
        } else {
            Before::User {
                user: rustix::process::geteuid(),
                group: rustix::process::getegid(),
                groups: rustix::process::getgroups()?,
            }
        };
        // Dropped at the first failure, which goes back.
        let acting = Self { subject, before };
        acting.assume()?;
        Ok(acting)
    }

    fn assume(&self) -> Result<(), Errno> {
        match &self.before {
            Before::Same => Ok(()),
            Before::Powers(powers) => {
                let effective = powers.effective & self.subject.powers;
                let fewer = CapabilitySets {
                    effective,
                    ..*powers
                };
                rustix::thread::set_capabilities(None, fewer)
            }
            Before::User { .. } => {
                let identity = &self.subject.identity;
                rustix::thread::set_thread_groups(&identity.groups)?;
                rustix::thread::set_thread_res_gid(None, identity.group, None)?;
                // The capabilities go with root's id.
                rustix::thread::set_thread_res_uid(None, identity.user, None)
            }
        }
    }

    fn back(&self) {
        let back = match &self.before {
            Before::Same => Ok(()),
            Before::Powers(powers) => rustix::thread::set_capabilities(None, *powers),
            Before::User {
                user,
                group,
                groups,
            } => rustix::thread::set_thread_res_uid(None, *user, None)
                .and_then(|()| rustix::thread::set_thread_res_gid(None, *group, None))
                .and_then(|()| rustix::thread::set_thread_groups(groups)),
        };
        if back.is_err() {
            // What is gone back to was never given up, so this does not
            // happen; nor may a thread that is somebody else answer others.
            std::process::abort();
        }
    }

    /// Runs something as this process in between.
    pub(super) fn ourselves<R>(&self, run: impl FnOnce() -> Result<R, Errno>) -> Result<R, Errno> {
        self.back();
        let result = run();
        self.assume()?;
        result
    }
}

impl Drop for Acting<'_> {
    fn drop(&mut self) {
        self.back();
    }
}

/// A duplicate of a descriptor of ours.
pub(super) fn duplicate(fd: &impl AsFd) -> Result<OwnedFd, Errno> {
    rustix::io::fcntl_dupfd_cloexec(fd, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_of_the_outermost_and_the_innermost_namespace() {
        let status = b"Name:\tx\nTgid:\t10\nNStgid:\t10\t5\t1\nNSpid:\t12\t6\t2\n";
        let found = ids(status).expect("whole");
        let expected = |process, thread| Ids { process, thread };
        assert_eq!(found, (expected(10, 12), expected(1, 2)));
    }
}

//! The process that made a call: its sockets, its identity, its files.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::net::{SocketType, sockopt};
use rustix::process::{Gid, Pid, PidfdFlags, PidfdGetfdFlags, Uid};

use crate::process::{number, status_field, thread_group};
use crate::{Failure, Request};

/// `PIDFD_THREAD` (6.9; `include/uapi/linux/pidfd.h`).
const PIDFD_THREAD: PidfdFlags = PidfdFlags::from_bits_retain(libc::O_EXCL.cast_unsigned());

/// A caller that was seen to wait after it was opened.
#[derive(Debug)]
pub(in crate::policy) struct Caller<'a> {
    pub(in crate::policy) request: &'a Request,
    pidfd: OwnedFd,
}

/// A duplicate of a caller's socket: the same socket, under a number that the
/// caller cannot turn into another one.
#[derive(Debug)]
pub(in crate::policy) struct Socket {
    fd: OwnedFd,
    pub(in crate::policy) family: u16,
    pub(super) kind: SocketType,
    pub(super) protocol: u32,
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Socket {
    /// Another one of the same kind.
    pub(super) fn replaced_by(&self, fd: OwnedFd) -> Self {
        Self { fd, ..*self }
    }
}

impl From<Socket> for OwnedFd {
    fn from(socket: Socket) -> Self {
        socket.fd
    }
}

impl<'a> Caller<'a> {
    /// Of a request.
    ///
    /// # Errors
    ///
    /// It is gone, or cannot be opened.
    pub(in crate::policy) fn of(request: &'a Request) -> Result<Self, Failure> {
        let open = |id, flags| {
            let id = Pid::from_raw(id).ok_or(Errno::SRCH)?;
            rustix::process::pidfd_open(id, flags)
        };
        let pidfd = match open(request.thread(), PIDFD_THREAD) {
            // Before 6.9: by the process. Should this thread have a table of
            // descriptors of its own, the process's is used; either is the
            // program's.
            Err(Errno::INVAL) => {
                let process = thread_group(request.thread()).ok_or(Errno::SRCH)?;
                open(process, PidfdFlags::empty())?
            }
            opened => opened?,
        };
        if request.is_waiting()? {
            Ok(Self { request, pidfd })
        } else {
            Err(Failure(Errno::INTR))
        }
    }

    /// A duplicate of one of its descriptors.
    pub(in crate::policy) fn descriptor(&self, number: u32) -> Result<OwnedFd, Errno> {
        let number = i32::try_from(number).map_err(|_negative| Errno::BADF)?;
        rustix::process::pidfd_getfd(&self.pidfd, number, PidfdGetfdFlags::empty())
    }

    /// A duplicate of one of its sockets.
    pub(in crate::policy) fn socket(&self, number: u32) -> Result<Socket, Errno> {
        let fd = self.descriptor(number)?;
        Ok(Socket {
            family: sockopt::socket_domain(&fd)?.as_raw(),
            kind: sockopt::socket_type(&fd)?,
            protocol: sockopt::socket_protocol(&fd)?.map_or(0, |it| it.as_raw().get()),
            fd,
        })
    }

    /// Whether one of its descriptors is closed when it executes a program.
    pub(super) fn closes_on_exec(&self, number: u32) -> Result<bool, Errno> {
        let info = self.read_proc(&format!("fdinfo/{number}"))?;
        let flags = status_field(&info, b"flags:").map(<[u8]>::trim_ascii);
        let flags = flags.and_then(|flags| str::from_utf8(flags).ok());
        let flags = flags.and_then(|flags| u32::from_str_radix(flags, 8).ok());
        let flags = flags.ok_or(Errno::BADF)?;
        Ok(flags & OFlags::CLOEXEC.bits() != 0)
    }

    /// Runs something as the caller: with its user and groups, so that the
    /// kernel's checks of permission, and what a peer sees of us, are those of
    /// the caller.
    ///
    /// The one thing that stays ours is the process number.
    pub(super) fn act<R: Send>(
        &self,
        act: impl FnOnce(&Files) -> Result<R, Errno> + Send,
    ) -> Result<R, Errno> {
        let status = self.read_proc("status")?;
        let identity = Identity::parse(&status).ok_or(Errno::SRCH)?;
        let files = Files::of(self, identity.umask)?;
        if !self.request.is_waiting()? {
            return Err(Errno::INTR);
        }
        // On a thread of its own: identity and directory are a thread's, and
        // end with it.
        thread::scope(|scope| {
            let actor = thread::Builder::new().spawn_scoped(scope, || {
                identity.assume()?;
                act(&files)
            });
            let actor = actor.map_err(|_none_to_be_had| Errno::AGAIN)?;
            actor.join().unwrap_or(Err(Errno::IO))
        })
    }

    /// Runs something that touches no file as the caller, on this thread.
    pub(super) fn speak<R>(&self, speak: impl FnOnce() -> Result<R, Errno>) -> Result<R, Errno> {
        let status = self.read_proc("status")?;
        let identity = Identity::parse(&status).ok_or(Errno::SRCH)?;
        if identity.is_ours() {
            return speak();
        }
        let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
        rustix::thread::set_thread_res_gid(None, identity.group, None)?;
        let spoken =
            rustix::thread::set_thread_res_uid(None, identity.user, None).and_then(|()| speak());
        let back = rustix::thread::set_thread_res_uid(None, user, None)
            .and_then(|()| rustix::thread::set_thread_res_gid(None, group, None));
        if back.is_err() {
            // The real and the saved ids were never given up, so this does not
            // happen; nor may a thread that is somebody else answer others.
            std::process::abort();
        }
        spoken
    }

    pub(in crate::policy) fn read_proc(&self, file: &str) -> Result<Vec<u8>, Errno> {
        std::fs::read(format!("/proc/{}/{file}", self.request.thread()))
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::SRCH))
    }
}

/// Who a thread is, as the kernel checks it.
#[derive(Debug)]
pub(in crate::policy) struct Identity {
    pub(in crate::policy) user: Uid,
    pub(in crate::policy) group: Gid,
    pub(in crate::policy) groups: Vec<Gid>,
    pub(in crate::policy) umask: Mode,
}

impl Identity {
    /// From `/proc/PID/status`, as this process's user namespace sees it.
    pub(in crate::policy) fn parse(status: &[u8]) -> Option<Self> {
        let words = |name: &[u8]| {
            let field = status_field(status, name)?;
            let words = field.split(u8::is_ascii_whitespace);
            Some(words.filter(|word| !word.is_empty()))
        };
        let umask = words(b"Umask:")?.next()?;
        let umask = u32::from_str_radix(str::from_utf8(umask).ok()?, 8).ok()?;
        Some(Self {
            user: Uid::from_raw(words(b"Uid:")?.nth(3).and_then(number)?),
            group: Gid::from_raw(words(b"Gid:")?.nth(3).and_then(number)?),
            groups: words(b"Groups:")?
                .map(|word| number(word).map(Gid::from_raw))
                .collect::<Option<_>>()?,
            umask: Mode::from_bits_retain(umask),
        })
    }

    pub(in crate::policy) fn is_ours(&self) -> bool {
        self.user == rustix::process::geteuid() && self.group == rustix::process::getegid()
    }

    /// Makes the calling thread this one. The capabilities go with root's id.
    fn assume(&self) -> Result<(), Errno> {
        if self.is_ours() {
            return Ok(());
        }
        rustix::thread::set_thread_groups(&self.groups)?;
        rustix::thread::set_thread_res_gid(None, self.group, None)?;
        rustix::thread::set_thread_res_uid(None, self.user, None)
    }
}

/// A caller's view of files.
#[derive(Debug)]
pub(super) struct Files {
    root: OwnedFd,
    /// The working directory, from the root.
    folder: Vec<u8>,
    umask: Mode,
}

impl Files {
    fn of(caller: &Caller<'_>, umask: Mode) -> Result<Self, Errno> {
        let thread = caller.request.thread();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(format!("/proc/{thread}/root"), flags, Mode::empty())?;
        let folder = rustix::fs::readlink(format!("/proc/{thread}/cwd"), Vec::new())?;
        Ok(Self {
            root,
            folder: folder.into_bytes(),
            umask,
        })
    }

    /// The caller's root.
    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Opens what a path of the caller names, without access to its content.
    pub(super) fn open(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let whole = if path.starts_with(b"/") {
            path.to_vec()
        } else {
            [&self.folder, &b"/"[..], path].concat()
        };
        // A magic link of proc would be one of ours.
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        rustix::fs::openat2(&self.root, whole, flags, Mode::empty(), resolve)
    }

    /// Enters the folder of a path that is to be made, with the caller's umask;
    /// the last part of the path. Only on a thread of [`Caller::act`].
    pub(super) fn enter_folder_of<'p>(&self, path: &'p [u8]) -> Result<&'p [u8], Errno> {
        let cut = path.iter().rposition(|&byte| byte == b'/');
        let (folder, name) = match cut {
            Some(cut) => (&path[..=cut], &path[cut + 1..]),
            None => (&b"."[..], path),
        };
        let folder = self.open(folder)?;
        crate::sys::own_directory()?;
        rustix::process::fchdir(folder)?;
        rustix::process::umask(self.umask);
        Ok(name)
    }
}

/// Where a descriptor of ours leads.
pub(in crate::policy) fn path_of(fd: BorrowedFd<'_>) -> Result<Vec<u8>, Errno> {
    rustix::fs::readlinkat(CWD, own_name(fd), Vec::new()).map(std::ffi::CString::into_bytes)
}

/// A name for a descriptor of ours.
pub(in crate::policy) fn own_name(fd: BorrowedFd<'_>) -> String {
    use std::os::fd::AsRawFd;
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_the_one_for_files() {
        let status = b"Name:\tx\nUmask:\t0027\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\n\
            Groups:\t9 10 \n";
        let identity = Identity::parse(status).expect("whole");
        assert_eq!(identity.user, Uid::from_raw(4));
        assert_eq!(identity.group, Gid::from_raw(8));
        assert_eq!(identity.groups, [9, 10].map(Gid::from_raw));
        assert_eq!(identity.umask.bits(), 0o27);
        assert!(Identity::parse(b"Name:\tx\n").is_none());
        let own = std::fs::read("/proc/thread-self/status").expect("readable");
        assert!(Identity::parse(&own).expect("whole").is_ours());
    }
}

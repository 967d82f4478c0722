//! The listener of a filter: where notifications come from.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::thread;

use nucleus_seccomp::{Action, Insn, InstallFlags, KernelVersion, Program};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use crate::sys::{self, Buffer, Sizes};
use crate::{Error, Request};

/// `SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP` (6.6; `include/uapi/linux/seccomp.h`).
const SYNC_WAKE_UP: usize = 1;

/// Since this kernel a receive that waits ends with the last task; before, it
/// never does, and must be kept from waiting.
const RECEIVE_ENDS: KernelVersion = KernelVersion::new(6, 11);

const NOW: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// The descriptor that installing a filter with `NEW_LISTENER` returned.
#[derive(Debug)]
pub struct Listener {
    fd: OwnedFd,
    sizes: Sizes,
    sync: bool,
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Listener {
    /// Takes the descriptor, and asks for `SYNC_WAKE_UP` where the kernel has
    /// it: supervisor and caller then take turns on one CPU, which saves most of
    /// the cost of a notification.
    ///
    /// # Errors
    ///
    /// The kernel does not say how large notifications are.
    pub fn new(fd: OwnedFd) -> Result<Self, Error> {
        let sizes = sys::sizes().map_err(|source| Error::Sizes { source })?;
        let sync = sys::set_flags(fd.as_fd(), SYNC_WAKE_UP).is_ok();
        Ok(Self { fd, sizes, sync })
    }

    /// Whether a filter of a program that is started here can have a listener:
    /// not where one of this process's own has (EBUSY), such as that of a
    /// sandbox around it. It is tried on a thread of its own.
    #[must_use]
    pub fn can_be_had() -> bool {
        let tried = thread::spawn(|| {
            rustix::thread::set_no_new_privs(true)?;
            let all = Program::new(vec![Insn::ret(Action::Allow)]).map_err(io::Error::other)?;
            let installed = all.install(InstallFlags::NEW_LISTENER);
            installed.map_err(|error| io::Error::from_raw_os_error(error.errno()))
        });
        matches!(tried.join(), Ok(Ok(Some(_listener))))
    }

    /// Whether the kernel agreed to `SYNC_WAKE_UP` (6.6).
    #[must_use]
    pub const fn is_synchronous(&self) -> bool {
        self.sync
    }

    pub(crate) const fn response_size(&self) -> usize {
        self.sizes.response
    }
}

/// Receives the notifications of a listener, one after the other.
///
/// Only one receiver may be at work on a listener: receiving relies on a
/// notification that was announced still being there.
#[derive(Debug)]
pub struct Receiver {
    listener: Arc<Listener>,
    buffer: Buffer,
    poll_first: bool,
}

impl Receiver {
    /// Of this listener.
    #[must_use]
    pub fn new(listener: Arc<Listener>) -> Self {
        let buffer = Buffer::for_type::<libc::seccomp_notif>(listener.sizes.notification);
        let running = KernelVersion::running();
        Self {
            listener,
            buffer,
            poll_first: running.is_none_or(|running| running < RECEIVE_ENDS),
        }
    }

    /// Waits for the next request; `None` when the last task under the filter is
    /// gone.
    ///
    /// A caller that dies or is interrupted between its notification and our
    /// receiving it leaves nothing behind (ENOENT), and is passed over.
    ///
    /// # Errors
    ///
    /// The kernel refuses for a reason that no caller's fate explains.
    pub fn receive(&mut self) -> Result<Option<Request>, Error> {
        let failed = |source| Error::Receive { source };
        loop {
            if self.poll_first && self.is_over(None).map_err(failed)? {
                return Ok(None);
            }
            match sys::receive(self.listener.as_fd(), &mut self.buffer) {
                Ok(notification) => {
                    return Ok(Some(Request::new(
                        Arc::clone(&self.listener),
                        &notification,
                    )));
                }
                Err(Errno::INTR) => {}
                Err(Errno::NOENT) => {
                    if self.is_over(Some(&NOW)).map_err(failed)? {
                        return Ok(None);
                    }
                }
                Err(errno) => return Err(failed(errno)),
            }
        }
    }

    /// Waits for a notification or the end of the last task; whether it was
    /// the end (POLLHUP, 5.9).
    fn is_over(&self, timeout: Option<&Timespec>) -> Result<bool, Errno> {
        let mut polled = [PollFd::new(&*self.listener, PollFlags::IN)];
        rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, timeout))?;
        let ready = polled[0].revents();
        Ok(ready.contains(PollFlags::HUP) && !ready.contains(PollFlags::IN))
    }
}

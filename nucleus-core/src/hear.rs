//! What the parent hears over its sockets to the child's two processes:
//! descriptors, process numbers, and that an end is closed.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use rustix::process::{WaitId, WaitIdOptions};

use crate::message::Message;

/// Waits until the other end is closed. What was sent before stays to be read;
/// an error shows in that.
pub(crate) fn await_hangup(gate: &OwnedFd) {
    let mut fds = [PollFd::new(gate, PollFlags::empty())];
    let _ready = rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, None));
}

/// Waits for the init process; true if SIGKILL ended it. Where a tracer on the
/// same thread, or a library user's own wait(2) loop, was faster, nobody knows.
pub(crate) fn reap(init: &OwnedFd) -> bool {
    let options = WaitIdOptions::EXITED;
    let status =
        rustix::io::retry_on_intr(|| rustix::process::waitid(WaitId::PidFd(init.as_fd()), options));
    matches!(status, Ok(Some(status)) if status.terminating_signal() == Some(libc::SIGKILL))
}

/// The descriptor that comes with a message of this length, and another one if
/// there is: the program's pidfd with [`Message::Spawned`] and an upper layer, or
/// its terminal. `None` when the sender ended before.
pub(crate) fn receive_fds(
    socket: &OwnedFd,
    length: usize,
) -> io::Result<Option<(OwnedFd, Option<OwnedFd>)>> {
    let mut bytes = [0; Message::SIZE];
    // A socket may add the sender's number, too.
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2), ScmCredentials(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::io::retry_on_intr(|| {
        let buffer = bytes.get_mut(..length).unwrap_or_default();
        rustix::net::recvmsg(
            socket,
            &mut [IoSliceMut::new(buffer)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )
    });
    match received {
        Ok(message) if message.bytes == length => {}
        Ok(_) | Err(Errno::CONNRESET) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    }
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(mut fds) = message {
            return Ok(fds.next().map(|first| (first, fds.next())));
        }
    }
    Ok(None)
}

/// The sender of the next byte, as `SO_PASSCRED` adds it (unix(7)); `None` at
/// end of file.
pub(crate) fn receive_pid(gate: &OwnedFd) -> io::Result<Option<u32>> {
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(
            gate,
            &mut [IoSliceMut::new(&mut byte)],
            &mut control,
            RecvFlags::empty(),
        )
    });
    match received {
        Ok(message) if message.bytes > 0 => {}
        // A reset is how the end looks when a release was not read any more.
        Ok(_) | Err(Errno::CONNRESET) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    }
    let pid = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmCredentials(sender) => Some(sender.pid),
        _ => None,
    });
    match pid.map(|pid| pid.as_raw_nonzero().get().unsigned_abs()) {
        Some(pid) => Ok(Some(pid)),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}

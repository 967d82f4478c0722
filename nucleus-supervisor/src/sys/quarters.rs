//! A process that has a network of its own and hands out its sockets.

use std::io;
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags,
    SocketType,
};

/// The port of name servers.
const PORT: u16 = 53;

/// Starts it; the other end of a socket on which it answers. First it says how
/// the start went, with a UDP socket bound to port 53 of `address`, a loopback
/// one. Then each byte it gets, a family, is answered by one, 0 or an errno, and
/// a new UDP socket. It ends when this end is closed.
///
/// The user namespace is its own, too: any user may bind to any port there.
pub(crate) fn start(address: Ipv4Addr) -> io::Result<OwnedFd> {
    let (ours, theirs) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    // SAFETY: other threads' locks stay locked in the child for ever: it does
    // system calls on values prepared beforehand and nothing else.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            // Its parent ends at once, so that it is nobody's child here, whom
            // this process would have to wait for.
            // SAFETY: as above.
            if unsafe { libc::fork() } == 0 {
                serve(&theirs, address);
            }
            // SAFETY: ends the process without anything that was registered to
            // be done at its end.
            unsafe { libc::_exit(0) }
        }
        child => {
            drop(theirs);
            let mut status = 0;
            // SAFETY: the kernel writes to `status` alone.
            while unsafe { libc::waitpid(child, &raw mut status, 0) } < 0
                && super::last_errno() == Errno::INTR
            {}
            Ok(ours)
        }
    }
}

/// Allocates nothing and takes no lock.
fn serve(asked: &OwnedFd, address: Ipv4Addr) {
    // Signals for the program's job are none for it; nothing of its maker may
    // stay open by it.
    let on_its_own = rustix::process::setsid();
    // SAFETY: nothing here uses standard input.
    if on_its_own.is_err() || unsafe { libc::dup2(asked.as_raw_fd(), 0) } != 0 {
        return;
    }
    // SAFETY: nothing here uses any of them.
    if unsafe { libc::close_range(1, u32::MAX, 0) } != 0 {
        return;
    }
    // SAFETY: it stays open to the end of the process.
    let asked = unsafe { BorrowedFd::borrow_raw(0) };
    let first = settle(address);
    let settled = first.is_ok();
    if answer(asked, first).is_err() || !settled {
        return;
    }
    let mut family = [0];
    while let Ok((1, _)) = rustix::net::recv(asked, &mut family, RecvFlags::empty()) {
        let socket = super::socket(family[0].into(), libc::SOCK_DGRAM.cast_unsigned(), 0);
        if answer(asked, socket).is_err() {
            return;
        }
    }
}

fn answer(asked: BorrowedFd<'_>, socket: Result<OwnedFd, Errno>) -> Result<usize, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let (code, fds) = match &socket {
        Ok(socket) => (0, Some([std::os::fd::AsFd::as_fd(socket)])),
        Err(errno) => (u8::try_from(errno.raw_os_error()).unwrap_or(u8::MAX), None),
    };
    if let Some(fds) = &fds {
        control.push(SendAncillaryMessage::ScmRights(fds));
    }
    let data = [code];
    let data = [io::IoSlice::new(&data)];
    rustix::net::sendmsg(asked, &data, &mut control, SendFlags::NOSIGNAL)
}

/// Enters the network and binds the first socket.
fn settle(address: Ipv4Addr) -> Result<OwnedFd, Errno> {
    // SAFETY: this process has one thread, and neither flag unshares memory or
    // descriptors.
    if unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET) } < 0 {
        return Err(super::last_errno());
    }
    let (family, kind) = (
        libc::AF_INET.cast_unsigned(),
        libc::SOCK_DGRAM.cast_unsigned(),
    );
    let socket = super::socket(family, kind, 0)?;
    bring_up_loopback(&socket)?;
    rustix::net::bind(&socket, &SocketAddrV4::new(address, PORT))?;
    Ok(socket)
}

/// `netdevice(7)`.
fn bring_up_loopback(socket: &OwnedFd) -> Result<(), Errno> {
    // SAFETY: a request of zeroes is a valid one.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(*b"lo") {
        *place = byte.cast_signed() as libc::c_char;
    }
    let up = libc::IFF_UP | libc::IFF_RUNNING;
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(up).unwrap_or(0);
    // SAFETY: the kernel reads the request, which lives until it returns.
    let ret = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    if ret < 0 {
        Err(super::last_errno())
    } else {
        Ok(())
    }
}

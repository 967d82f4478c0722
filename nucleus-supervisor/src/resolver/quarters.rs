//! A network in which port 53 is free, for those who insist on it.
//!
//! A user may not bind to port 53 of the host's network, so the resolver is at
//! another port, and whoever means port 53 is led there. A program that then
//! compares where an answer comes from (musl does) takes none. Its socket is
//! replaced by one of a small network of the resolver's own, in which the
//! resolver is where it is looked for.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendFlags};

use crate::sys;

/// The network, for as long as this lives.
#[derive(Debug)]
pub(super) struct Quarters {
    /// The process that is in it; a question and its answer belong together.
    maker: Mutex<OwnedFd>,
    /// Which network it is, where the kernel tells (5.14).
    cookie: Option<u64>,
}

impl Quarters {
    /// With the socket that the resolver is to serve.
    pub(super) fn open(address: Ipv4Addr) -> io::Result<(Self, UdpSocket)> {
        let maker = sys::quarters::start(address)?;
        let socket = receive(&maker)?;
        let quarters = Self {
            maker: Mutex::new(maker),
            cookie: sys::network_cookie(socket.as_fd()).ok(),
        };
        Ok((quarters, socket.into()))
    }

    /// A UDP socket of that network, closed on exec.
    pub(super) fn socket(&self, family: u16) -> Result<OwnedFd, Errno> {
        // Nothing panics between the two.
        let maker = self.maker.lock().unwrap_or_else(PoisonError::into_inner);
        let family = u8::try_from(family).map_err(|_unknown| Errno::AFNOSUPPORT)?;
        rustix::net::send(&*maker, &[family], SendFlags::NOSIGNAL)?;
        receive(&maker)
    }

    /// Whether a socket is of that network.
    pub(super) fn holds(&self, socket: BorrowedFd<'_>) -> bool {
        self.cookie.is_some() && sys::network_cookie(socket).ok() == self.cookie
    }
}

fn receive(maker: &OwnedFd) -> Result<OwnedFd, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut code = [0];
    let mut data = [IoSliceMut::new(&mut code)];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received =
        rustix::io::retry_on_intr(|| rustix::net::recvmsg(maker, &mut data, &mut control, flags))?;
    if received.bytes != 1 || received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(Errno::PIPE);
    }
    let mut sockets = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    match (code[0], sockets.next()) {
        (0, Some(socket)) => Ok(socket),
        (0, None) => Err(Errno::PIPE),
        (code, _) => Err(Errno::from_raw_os_error(code.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn port_53_is_where_it_is_looked_for() {
        let address = Ipv4Addr::new(127, 3, 2, 1);
        let (quarters, server) = match Quarters::open(address) {
            Ok(opened) => opened,
            // No user namespaces here.
            Err(error) => {
                assert!(matches!(
                    Errno::from_io_error(&error),
                    Some(Errno::PERM | Errno::NOSPC | Errno::ACCESS | Errno::INVAL)
                ));
                return;
            }
        };
        let client = UdpSocket::from(quarters.socket(2).expect("a socket"));
        for socket in [&server, &client] {
            assert!(quarters.holds(socket.as_fd()));
            socket
                .set_read_timeout(Some(Duration::from_secs(10)))
                .expect("set");
        }
        let outside = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        assert!(!quarters.holds(outside.as_fd()));
        client.send_to(b"question", (address, 53)).expect("sent");
        let mut buffer = [0; 16];
        let (_, asker) = server.recv_from(&mut buffer).expect("received");
        server.send_to(b"answer", asker).expect("sent");
        let (_, from) = client.recv_from(&mut buffer).expect("received");
        assert_eq!(from, (address, 53).into());
    }
}

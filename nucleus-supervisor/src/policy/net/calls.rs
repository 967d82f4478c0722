//! socket, connect, bind and listen, done in the program's place.

use std::os::fd::AsFd;

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::net::{SocketType, sockopt};

use super::Guard;
use super::address::{AF_NETLINK, AF_UNIX, Address, unix_bytes};
use super::caller::{Caller, Socket, own_name};
use super::consult::About;
use super::patience::{Patience, is_blocking};
use crate::{Decision, Failure, FdResult, NewFd, Reply, Request, sys};

/// A socket in the supervisor's network: the program's own has no way out.
pub(super) fn socket(_guard: &Guard, request: &Request) -> Result<Decision, Failure> {
    let [family, kind, protocol] = [0, 1, 2].map(|index| request.int(index));
    let socket = sys::socket(family, kind, protocol)?;
    Ok(Decision::Answer(Reply::Fd(NewFd {
        close_on_exec: kind & libc::SOCK_CLOEXEC.cast_unsigned() != 0,
        result: FdResult::Number,
        ..NewFd::new(socket)
    })))
}

/// The address is judged on a copy, which is then the one that is used.
pub(super) fn connect(guard: &Guard, request: &Request) -> Result<Decision, Failure> {
    let caller = Caller::of(request)?;
    let socket = caller.socket(request.int(0))?;
    let bytes = address_of(request)?;
    match guard.meant(request, &socket, &bytes)? {
        Meant::Inet(bytes) => wait_connect(&caller, &socket, &bytes)?,
        Meant::Path(path) => caller.act(|files| {
            let peer = files.open(&path)?;
            guard.may_reach(request, files, &peer)?;
            let name = unix_bytes(own_name(peer.as_fd()).as_bytes())?;
            wait_connect(&caller, &socket, &name)
        })?,
        Meant::AsItIs => caller.act(|_files| wait_connect(&caller, &socket, &bytes))?,
        Meant::Plainly => sys::connect(socket.as_fd(), &bytes)?,
    }
    done()
}

/// What is to be done with an address.
#[derive(Debug)]
pub(super) enum Meant {
    /// Use these bytes.
    Inet(Vec<u8>),
    /// Find the socket of this path in the caller's files.
    Path(Vec<u8>),
    /// Use it as it is, as the caller.
    AsItIs,
    /// Use it as it is: whoever does it makes no difference.
    Plainly,
}

impl Guard {
    /// Judges an address for a socket.
    pub(super) fn meant(
        &self,
        request: &Request,
        socket: &Socket,
        bytes: &[u8],
    ) -> Result<Meant, Errno> {
        let address = Address::parse(bytes)?;
        match (socket.family, address) {
            (AF_UNIX, Address::UnixPath(path)) => Ok(Meant::Path(path)),
            (AF_UNIX, Address::UnixAbstract) => {
                self.may_be_abstract(socket)?;
                Ok(Meant::AsItIs)
            }
            (AF_UNIX, Address::Unspecified) => Ok(Meant::AsItIs),
            (AF_UNIX, _) => Err(Errno::INVAL),
            (AF_NETLINK, _) => Ok(Meant::AsItIs),
            (_, address) if socket.is_inet() => match address {
                Address::Unspecified => Ok(Meant::Plainly),
                Address::Inet(peer) => self
                    .destination(request, socket, peer, bytes)
                    .map(Meant::Inet),
                _ => Err(Errno::AFNOSUPPORT),
            },
            _ => Err(Errno::ACCESS),
        }
    }
}

/// Connects; where the caller would block, waits for as long as the caller
/// would.
pub(in crate::policy) fn wait_connect(
    caller: &Caller<'_>,
    socket: &Socket,
    address: &[u8],
) -> Result<(), Errno> {
    let fd = socket.as_fd();
    let stream = socket.kind != SocketType::DGRAM;
    let connected = rustix::net::getpeername(fd).is_ok_and(|peer| peer.is_some());
    if !stream || connected || !is_blocking(socket)? {
        return sys::connect(fd, address);
    }
    let mut patience = Patience::new(caller.request, socket)?;
    loop {
        match connect_at_once(socket, address) {
            // A unix socket with a full backlog: nothing tells when to go on.
            Err(Errno::AGAIN) if socket.family == AF_UNIX => patience.pause()?,
            Err(Errno::INPROGRESS | Errno::ALREADY) => break,
            done => return done,
        }
    }
    match patience.writable(socket) {
        Ok(()) => sockopt::socket_error(socket)?,
        // As connect(2) says when SO_SNDTIMEO is over.
        Err(Errno::AGAIN) => Err(Errno::INPROGRESS),
        Err(errno) => Err(errno),
    }
}

/// Connects a blocking socket without blocking. The flag belongs to the open
/// file, which is the caller's: it is off again at once.
fn connect_at_once(socket: &Socket, address: &[u8]) -> Result<(), Errno> {
    let fd = socket.as_fd();
    let flags = rustix::fs::fcntl_getfl(fd)?;
    rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK)?;
    let connected = sys::connect(fd, address);
    rustix::fs::fcntl_setfl(fd, flags)?;
    connected
}

/// Binds to a port that may be bound to, or to a name in the caller's files.
pub(super) fn bind(guard: &Guard, request: &Request) -> Result<Decision, Failure> {
    let caller = Caller::of(request)?;
    let socket = caller.socket(request.int(0))?;
    let bytes = address_of(request)?;
    let fd = socket.as_fd();
    match (socket.family, Address::parse(&bytes)?) {
        (AF_UNIX, Address::UnixPath(path)) => caller.act(|files| {
            let name = files.enter_folder_of(&path)?;
            guard.may_make_here(request, files, name)?;
            sys::bind(fd, &unix_bytes(name)?)
        })?,
        // A name that the kernel chooses is nobody's.
        (AF_UNIX, Address::UnixAbstract) if bytes.len() > 2 => {
            guard.may_be_abstract(&socket)?;
            caller.act(|_files| sys::bind(fd, &bytes))?;
        }
        (AF_UNIX | AF_NETLINK, _) => caller.act(|_files| sys::bind(fd, &bytes))?,
        (_, Address::Inet(own)) if socket.is_inet() => {
            let transport = socket.transport().ok_or(Errno::ACCESS)?;
            let allowed = guard.judge.may_bind(own.port());
            guard.consult(request, allowed, About::Own(transport, own))?;
            sys::bind(fd, &bytes)?;
        }
        (_, _) if socket.is_inet() => return Err(Failure(Errno::AFNOSUPPORT)),
        _ => return Err(Failure(Errno::ACCESS)),
    }
    done()
}

/// Listens at a port that may be listened at: a socket that was not bound gets
/// one from the kernel.
pub(super) fn listen(guard: &Guard, request: &Request) -> Result<Decision, Failure> {
    let caller = Caller::of(request)?;
    let socket = caller.socket(request.int(0))?;
    let backlog = request.int(1).cast_signed();
    match socket.family {
        AF_UNIX => caller.act(|_files| rustix::net::listen(&socket, backlog))?,
        _ if socket.is_inet() => {
            let transport = socket.transport().ok_or(Errno::ACCESS)?;
            let own = guard.may_listen(request, &socket)?;
            guard.consult(request, true, About::Own(transport, own))?;
            rustix::net::listen(&socket, backlog)?;
            // It may have been unbound meanwhile, and got another port.
            if let Err(errno) = guard.may_listen(request, &socket) {
                rustix::net::shutdown(&socket, rustix::net::Shutdown::Both)?;
                return Err(Failure(errno));
            }
        }
        _ => return Err(Failure(Errno::ACCESS)),
    }
    done()
}

pub(in crate::policy) fn address_of(request: &Request) -> Result<Vec<u8>, Failure> {
    let bytes = request
        .memory()
        .socket_address(request.data().args[1], request.int(2))?;
    Ok(bytes)
}

fn done() -> Result<Decision, Failure> {
    Ok(Decision::Answer(Reply::Value(0)))
}

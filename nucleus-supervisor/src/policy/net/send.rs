//! sendto, sendmsg and sendmmsg, done in the program's place.

use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::net::sockopt::Timeout;
use rustix::net::{SocketType, sockopt};

use super::address::{AF_UNIX, Address, unix_bytes};
use super::caller::{Caller, Socket, own_name};
use super::calls::Meant;
use super::control::{self, Control};
use super::patience::{Patience, RESTART, is_blocking};
use super::{Guard, Protocol};
use crate::process::thread_group;
use crate::{Decision, Failure, FdResult, MessageHeader, NewFd, Piece, Reply, Request, sys};

/// Bytes of a stream that are copied at a time.
const CHUNK: usize = 256 * 1024;

/// Longest single message; the kernel's own limits are below.
const MESSAGE_MOST: u64 = 16 * 1024 * 1024;

/// Most control data; `net.core.optmem_max` is below.
const CONTROL_MOST: u64 = 256 * 1024;

/// Most messages of one sendmmsg (`UIO_MAXIOV`); more are not looked at.
const MESSAGES_MOST: u32 = 1024;

/// `struct mmsghdr` of a 64-bit machine, and where in it the length stands.
const MMSGHDR: u64 = 64;
const MMSGHDR_LENGTH: u64 = 56;

const DONTWAIT: u32 = libc::MSG_DONTWAIT.cast_unsigned();
const NOSIGNAL: u32 = libc::MSG_NOSIGNAL.cast_unsigned();
const FASTOPEN: u32 = libc::MSG_FASTOPEN.cast_unsigned();
const ZEROCOPY: u32 = libc::MSG_ZEROCOPY.cast_unsigned();

pub(super) fn sendto(guard: &Guard, request: &Request) -> Result<Decision, Failure> {
    let args = request.data().args;
    let name = Piece {
        address: args[4],
        length: request.int(5).into(),
    };
    let data = Piece {
        address: args[1],
        length: args[2],
    };
    let mut sender = Sender::new(guard, request)?;
    let sent = sender.send(name, vec![data], NO_CONTROL, request.int(3))?;
    sender.answer(sent)
}

pub(super) fn sendmsg(guard: &Guard, request: &Request) -> Result<Decision, Failure> {
    let mut sender = Sender::new(guard, request)?;
    let header = request.memory().message_header(request.data().args[1])?;
    let sent = sender.send_message(&header, request.int(2))?;
    sender.answer(sent)
}

pub(super) fn sendmmsg(guard: &Guard, request: &Request) -> Result<Decision, Failure> {
    let mut sender = Sender::new(guard, request)?;
    let memory = request.memory();
    let mut sent = 0;
    for index in 0..request.int(2).min(MESSAGES_MOST) {
        let at = request.data().args[1].wrapping_add(u64::from(index) * MMSGHDR);
        let one = memory
            .message_header(at)
            .map_err(Failure::from)
            .and_then(|header| sender.send_message(&header, request.int(3)))
            .and_then(|length| {
                let length = u32::try_from(length).unwrap_or(u32::MAX);
                let place = at.wrapping_add(MMSGHDR_LENGTH);
                Ok(memory.write(place, &length.to_ne_bytes())?)
            });
        match one {
            Ok(()) => sent += 1,
            // As the kernel: what was sent counts, the failure comes again.
            Err(_later) if sent > 0 => break,
            Err(failure) => return Err(failure),
        }
    }
    sender.answer(sent)
}

const NO_CONTROL: Piece = Piece {
    address: 0,
    length: 0,
};

/// A caller that sends by one of its sockets.
struct Sender<'a> {
    guard: &'a Guard,
    caller: Caller<'a>,
    socket: Socket,
    /// The socket is one to give to the caller in place of its own.
    exchanged: bool,
}

/// To whom, in the kernel's form.
enum To {
    /// The socket's peer where there are none, or these bytes.
    Bytes(Vec<u8>),
    /// The socket of this path in the caller's files.
    Path(Vec<u8>),
}

impl<'a> Sender<'a> {
    fn new(guard: &'a Guard, request: &'a Request) -> Result<Self, Failure> {
        let caller = Caller::of(request)?;
        let socket = caller.socket(request.int(0))?;
        Ok(Self {
            guard,
            caller,
            socket,
            exchanged: false,
        })
    }

    fn answer(self, sent: usize) -> Result<Decision, Failure> {
        let sent = i64::try_from(sent).map_err(|_too_large| Failure(Errno::OVERFLOW))?;
        if !self.exchanged {
            return Ok(Decision::Answer(Reply::Value(sent)));
        }
        let number = self.caller.request.int(0);
        Ok(Decision::Answer(Reply::Fd(NewFd {
            number: Some(number),
            close_on_exec: self.caller.closes_on_exec(number)?,
            result: FdResult::Value(sent),
            ..NewFd::new(self.socket.into())
        })))
    }

    /// Takes another socket for one that is to ask the resolver and has no peer,
    /// so that it will look where an answer comes from: it comes from there
    /// then.
    fn exchange(&mut self, peer: &[u8]) -> Result<(), Errno> {
        let socket = &self.socket;
        if socket.transport() != Some(Protocol::Udp) {
            return Ok(());
        }
        let Address::Inet(peer) = Address::parse(peer)? else {
            return Ok(());
        };
        let resolver = &self.guard.resolver;
        if resolver.is_own(socket.as_fd())
            || rustix::net::getpeername(socket).is_ok_and(|peer| peer.is_some())
        {
            return Ok(());
        }
        let Some(own) = resolver.socket_for(peer, socket.family) else {
            return Ok(());
        };
        let flags = rustix::fs::fcntl_getfl(socket)?;
        rustix::fs::fcntl_setfl(&own, flags)?;
        for which in [Timeout::Recv, Timeout::Send] {
            let timeout = sockopt::socket_timeout(socket, which)?;
            sockopt::set_socket_timeout(&own, which, timeout)?;
        }
        self.socket = socket.replaced_by(own);
        self.exchanged = true;
        Ok(())
    }

    fn send_message(&mut self, header: &MessageHeader, flags: u32) -> Result<usize, Failure> {
        let memory = self.caller.request.memory();
        let pieces = memory.pieces(header.pieces.address, header.pieces.length)?;
        self.send(header.name, pieces, header.control, flags)
    }

    /// Sends one message.
    fn send(
        &mut self,
        name: Piece,
        data: Vec<Piece>,
        control: Piece,
        flags: u32,
    ) -> Result<usize, Failure> {
        if flags & ZEROCOPY != 0 {
            // The kernel would go on to use our copy after the answer; so it
            // says itself when it has no room for that.
            return Err(Failure(Errno::NOBUFS));
        }
        let to = self.to(name, flags)?;
        let control = self.control(control)?;
        let sent = self.send_all(&to, &data, &control, flags);
        if sent == Err(Errno::PIPE) && flags & NOSIGNAL == 0 {
            self.raise_pipe()?;
        }
        Ok(sent?)
    }

    fn to(&mut self, name: Piece, flags: u32) -> Result<To, Failure> {
        if name.address == 0 || name.length == 0 {
            return Ok(To::Bytes(Vec::new()));
        }
        let length = u32::try_from(name.length).map_err(|_too_long| Errno::INVAL)?;
        let memory = self.caller.request.memory();
        let bytes = memory.socket_address(name.address, length)?;
        self.exchange(&bytes)?;
        let socket = &self.socket;
        // A connected stream has one peer, and the kernel does not look here.
        if socket.is_inet() && socket.kind == SocketType::STREAM && flags & FASTOPEN == 0 {
            return Ok(To::Bytes(Vec::new()));
        }
        // With sendto(2) this family means an IPv4 address to some sockets.
        if socket.is_inet() && Address::parse(&bytes)? == Address::Unspecified {
            return Err(Failure(Errno::AFNOSUPPORT));
        }
        Ok(
            match self.guard.meant(self.caller.request, socket, &bytes)? {
                Meant::Inet(bytes) => To::Bytes(bytes),
                Meant::Path(path) => To::Path(path),
                Meant::AsItIs | Meant::Plainly => To::Bytes(bytes),
            },
        )
    }

    fn control(&self, control: Piece) -> Result<Control, Failure> {
        if control.length > CONTROL_MOST {
            return Err(Failure(Errno::NOBUFS));
        }
        let mut bytes = vec![0; usize::try_from(control.length).unwrap_or(usize::MAX)];
        self.caller
            .request
            .memory()
            .read(control.address, &mut bytes)?;
        Ok(control::rewrite(&self.caller, self.socket.family, &bytes)?)
    }

    /// Sends the data: a message whole, a stream piece by piece.
    fn send_all(
        &self,
        to: &To,
        data: &[Piece],
        control: &Control,
        flags: u32,
    ) -> Result<usize, Errno> {
        let total = data
            .iter()
            .try_fold(0_u64, |sum, piece| sum.checked_add(piece.length));
        let total = total.ok_or(Errno::INVAL)?;
        if self.socket.kind != SocketType::STREAM {
            if total > MESSAGE_MOST {
                return Err(Errno::MSGSIZE);
            }
            let message = self.copy(data, 0, usize::try_from(total).unwrap_or(usize::MAX))?;
            return self.hand_over(to, &message, &control.bytes, flags);
        }
        let mut sent = 0;
        loop {
            let part = self.copy(data, sent, CHUNK);
            // Descriptors go with the first byte alone, as does the start.
            let control = match sent {
                0 => control.bytes.as_slice(),
                _ => &[],
            };
            let length = part.as_ref().map_or(0, Vec::len);
            let flags = if sent > 0 { flags & !FASTOPEN } else { flags };
            match part.and_then(|part| self.hand_over(to, &part, control, flags)) {
                Ok(count) => {
                    sent += count;
                    let rest = total.saturating_sub(u64::try_from(sent).unwrap_or(u64::MAX));
                    if rest == 0 || count < length {
                        return Ok(sent);
                    }
                }
                Err(_later) if sent > 0 => return Ok(sent),
                Err(errno) => return Err(errno),
            }
        }
    }

    /// A copy of the data from an offset on, at most so many bytes.
    fn copy(&self, data: &[Piece], offset: usize, most: usize) -> Result<Vec<u8>, Errno> {
        let memory = self.caller.request.memory();
        let mut skip = u64::try_from(offset).unwrap_or(u64::MAX);
        let mut bytes = Vec::new();
        for piece in data {
            let before = skip.min(piece.length);
            skip -= before;
            let room = u64::try_from(most - bytes.len()).unwrap_or(u64::MAX);
            let take = usize::try_from((piece.length - before).min(room)).unwrap_or(usize::MAX);
            let at = bytes.len();
            bytes.resize(at + take, 0);
            memory
                .read(piece.address.wrapping_add(before), &mut bytes[at..])
                .map_err(|error| error.errno())?;
        }
        Ok(bytes)
    }

    /// Hands bytes that were read as ourselves to the socket, as whom the
    /// receiver is to see.
    fn hand_over(&self, to: &To, part: &[u8], control: &[u8], flags: u32) -> Result<usize, Errno> {
        match to {
            // To the peer of a unix socket it matters who sends.
            To::Bytes(name) if self.socket.family == AF_UNIX => {
                self.caller.speak(|| self.push(name, part, control, flags))
            }
            To::Bytes(name) => self.push(name, part, control, flags),
            To::Path(path) => self.caller.act(|files| {
                let peer = files.open(path)?;
                self.guard.may_reach(self.caller.request, files, &peer)?;
                let name = unix_bytes(own_name(peer.as_fd()).as_bytes())?;
                self.push(&name, part, control, flags)
            }),
        }
    }

    /// Hands bytes to the socket, and waits where the caller would.
    fn push(&self, name: &[u8], part: &[u8], control: &[u8], flags: u32) -> Result<usize, Errno> {
        let ours = flags | DONTWAIT | NOSIGNAL;
        let fd = self.socket.as_fd();
        let mut sent = sys::send_message(fd, name, part, control, ours);
        let waits = |errno| matches!(errno, Errno::AGAIN | Errno::INPROGRESS);
        if !matches!(sent, Err(errno) if waits(errno)) || flags & DONTWAIT != 0 {
            return sent;
        }
        if !is_blocking(&self.socket)? {
            return sent;
        }
        let mut patience = Patience::new(self.caller.request, &self.socket)?;
        let (mut name, mut ours) = (name, ours);
        while let Err(errno) = sent {
            match errno {
                Errno::AGAIN => {
                    patience.writable(&self.socket)?;
                    // Another socket's queue may be full while ours has room.
                    if self.socket.family == AF_UNIX {
                        patience.pause()?;
                    }
                }
                // MSG_FASTOPEN to a host that wants an ordinary start first.
                Errno::INPROGRESS => {
                    patience.writable(&self.socket)?;
                    sockopt::socket_error(&self.socket)??;
                    (name, ours) = (&[], ours & !FASTOPEN);
                }
                errno => return Err(errno),
            }
            sent = sys::send_message(fd, name, part, control, ours);
        }
        sent
    }

    /// What a write to a stream that nobody reads brings: send(2), EPIPE.
    fn raise_pipe(&self) -> Result<(), Errno> {
        if !matches!(self.socket.kind, SocketType::STREAM | SocketType::SEQPACKET) {
            return Ok(());
        }
        let thread = self.caller.request.thread();
        let process = thread_group(thread).ok_or(RESTART)?;
        if !self.caller.request.is_waiting()? {
            return Err(RESTART);
        }
        sys::signal_thread(process, thread, libc::SIGPIPE)
    }
}

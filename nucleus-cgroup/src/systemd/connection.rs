//! A connection to a systemd manager: to itself, or by way of a message bus.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::wire::{FIXED, Kind, Message, Method, Writer, rest};
use crate::Error;

/// How long one request may take altogether: as long as a manager itself
/// waits for what it starts (`DefaultTimeoutStartSec=`). One that twenty ask at
/// once, on a slow machine, took half a minute.
const PATIENCE: Duration = Duration::from_secs(90);

/// The longest line that a server says before the first message.
const LONGEST_LINE: usize = 1024;

/// A connection on which this process has said who it is.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    socket: PathBuf,
    serial: u32,
    until: Instant,
}

impl Connection {
    /// Connects as `uid` to a server that is the same user's, and no other's:
    /// where the socket is may come from the environment.
    pub(super) fn open(socket: &Path, uid: u32) -> Result<Self, Error> {
        let stream = UnixStream::connect(socket).map_err(|source| Error::Systemd {
            doing: "connect to",
            socket: socket.to_owned(),
            source,
        })?;
        let mut connection = Self {
            stream,
            socket: socket.to_owned(),
            serial: 0,
            until: Instant::now() + PATIENCE,
        };
        let peer = rustix::net::sockopt::socket_peercred(&connection.stream)
            .map_err(|errno| connection.failed("learn who serves", errno.into()))?;
        if peer.uid.as_raw() != uid {
            let message = format!("it is served by user {}", peer.uid.as_raw());
            let other = io::Error::new(ErrorKind::PermissionDenied, message);
            return Err(connection.failed("trust", other));
        }
        connection
            .authenticate(uid)
            .map_err(|source| connection.failed("authenticate to", source))?;
        Ok(connection)
    }

    /// The mechanism EXTERNAL: the kernel has told the server who this is, and
    /// the name in hexadecimal digits says it again.
    fn authenticate(&mut self, uid: u32) -> io::Result<()> {
        let digits: String = uid
            .to_string()
            .bytes()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        self.send(format!("\0AUTH EXTERNAL {digits}\r\n").as_bytes())?;
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            if line.len() == LONGEST_LINE {
                return Err(malformed());
            }
            let mut byte = [0];
            self.receive(&mut byte)?;
            line.extend(byte);
        }
        if !line.starts_with(b"OK ") {
            let answer = String::from_utf8_lossy(&line);
            let message = format!("it answers {:?}", answer.trim_end());
            return Err(io::Error::new(ErrorKind::PermissionDenied, message));
        }
        self.send(b"BEGIN\r\n")
    }

    /// Calls a method and waits for its answer, which it gives back. Whatever
    /// else comes meanwhile goes to `other`.
    pub(super) fn call(
        &mut self,
        method: Method,
        arguments: &Writer,
        mut other: impl FnMut(&Message),
    ) -> Result<Message, Error> {
        self.serial += 1;
        let serial = self.serial;
        self.until = Instant::now() + PATIENCE;
        self.send(&method.call(serial, arguments))
            .map_err(|source| self.failed("ask", source))?;
        loop {
            let message = self.next()?;
            match message.kind {
                _ if message.answers != Some(serial) => other(&message),
                Kind::Return => return Ok(message),
                Kind::Error => {
                    let texts = message.texts().unwrap_or_default();
                    return Err(Error::SystemdRefused {
                        socket: self.socket.clone(),
                        method: method.member,
                        name: message.error.unwrap_or_default(),
                        message: texts.into_iter().next().unwrap_or_default(),
                    });
                }
                _ => other(&message),
            }
        }
    }

    /// The next message, within the time that the last call was given.
    pub(super) fn next(&mut self) -> Result<Message, Error> {
        self.read_message()
            .map_err(|source| self.failed("hear from", source))
    }

    fn read_message(&mut self) -> io::Result<Message> {
        let mut bytes = vec![0; FIXED];
        self.receive(&mut bytes)?;
        let more = bytes.first_chunk().and_then(rest).ok_or_else(malformed)?;
        bytes.resize(FIXED + more, 0);
        self.receive(bytes.get_mut(FIXED..).unwrap_or_default())?;
        Message::read(&bytes).ok_or_else(malformed)
    }

    fn left(&self) -> io::Result<Duration> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(late());
        }
        Ok(left)
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.set_write_timeout(Some(self.left()?))?;
        self.stream.write_all(bytes).map_err(timed)
    }

    fn receive(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.stream.set_read_timeout(Some(self.left()?))?;
        self.stream.read_exact(bytes).map_err(timed)
    }

    pub(super) fn failed(&self, doing: &'static str, source: io::Error) -> Error {
        Error::Systemd {
            doing,
            socket: self.socket.clone(),
            source,
        }
    }
}

pub(super) fn malformed() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "what it says is not D-Bus")
}

fn late() -> io::Error {
    io::Error::new(
        ErrorKind::TimedOut,
        format!("no answer within {PATIENCE:?}"),
    )
}

/// A socket's time-out looks like one that does not block.
fn timed(error: io::Error) -> io::Error {
    match error.kind() {
        ErrorKind::WouldBlock => late(),
        _ => error,
    }
}

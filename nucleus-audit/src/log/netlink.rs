//! The audit netlink multicast group: every record, auditd or not.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nucleus_seccomp::Completeness;
use rustix::io::Errno;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recvfrom, socket_with};

use super::serials::Serials;
use super::{Reader, Reading};
use crate::record::Stamp;
use crate::{Error, SeccompRecord};

/// Room for some 50,000 records: the kernel accounts each with its overhead.
const BUFFER: usize = 16 * 1024 * 1024;
/// `AUDIT_NLGRP_READLOG` as a bit of `nl_groups`.
const READLOG: u32 = 1;
/// `AUDIT_SECCOMP` (`include/uapi/linux/audit.h`).
const SECCOMP: u16 = 1326;
/// `struct nlmsghdr`: length, type, flags, sequence, port.
const HEADER: usize = 16;
/// `MAX_AUDIT_MESSAGE_LENGTH`.
const MESSAGE: usize = 8970;

#[derive(Debug)]
pub(super) struct Netlink {
    socket: OwnedFd,
    buffer: Vec<u8>,
    serials: Serials,
    overruns: u64,
    unreadable: u64,
}

impl Netlink {
    pub(super) fn open() -> Result<Self, Error> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            flags,
            Some(netlink::AUDIT),
        )
        .map_err(|errno| match errno {
            Errno::PROTONOSUPPORT => Error::AuditOff,
            other => Error::AuditSocket(other.into()),
        })?;
        // Forcing needs CAP_NET_ADMIN; without it the sysctl's limit stays.
        // A buffer that proves too small shows as a loss.
        set_socket_recv_buffer_size_force(&socket, BUFFER)
            .or_else(|_errno| set_socket_recv_buffer_size(&socket, BUFFER))
            .map_err(|errno| Error::AuditSocket(errno.into()))?;
        match bind(&socket, &SocketAddrNetlink::new(0, READLOG)) {
            Ok(()) => {}
            Err(Errno::PERM | Errno::ACCESS) => return Err(Error::NoAuditRead),
            Err(errno) => return Err(Error::AuditSocket(errno.into())),
        }
        Ok(Self {
            socket,
            buffer: vec![0; MESSAGE],
            serials: Serials::default(),
            overruns: 0,
            unreadable: 0,
        })
    }

    /// Takes one message of the kernel.
    fn message(&mut self, length: usize) -> Reading {
        let message = self.buffer.get(..length).unwrap_or_default();
        let Some((header, text)) = message.split_at_checked(HEADER) else {
            return Reading::Other;
        };
        if let Some(stamp) = Stamp::read(text) {
            self.serials.saw(stamp.serial);
        }
        if header.get(4..6) != Some(&SECCOMP.to_ne_bytes()) {
            return Reading::Other;
        }
        let text = text.trim_ascii_end();
        let text = text.strip_suffix(b"\0").unwrap_or(text);
        match SeccompRecord::from_message(text) {
            Ok(record) => Reading::Record(record),
            Err(_unreadable) => {
                self.unreadable += 1;
                Reading::Other
            }
        }
    }
}

impl Reader for Netlink {
    fn name(&self) -> &'static str {
        "audit"
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn read(&mut self) -> Result<Reading, Error> {
        let buffer: &mut [u8] = &mut self.buffer;
        match recvfrom(&self.socket, buffer, RecvFlags::empty()) {
            Ok((length, _whole, sender)) => {
                let sender = sender.and_then(|any| SocketAddrNetlink::try_from(any).ok());
                if sender.is_none_or(|sender| sender.pid() != 0) {
                    // Not the kernel's.
                    return Ok(Reading::Other);
                }
                Ok(self.message(length))
            }
            Err(Errno::AGAIN) => Ok(Reading::Empty),
            Err(Errno::INTR) => Ok(Reading::Other),
            Err(Errno::NOBUFS) => {
                self.overruns += 1;
                Ok(Reading::Other)
            }
            Err(errno) => Err(Error::ReadSource {
                name: "audit",
                source: errno.into(),
            }),
        }
    }

    /// Every record comes; on a busy machine not at once.
    fn patience(&self, _sent: u32) -> Duration {
        Duration::from_secs(2)
    }

    fn begin(&mut self) {
        self.serials.begin();
        self.overruns = 0;
        self.unreadable = 0;
    }

    fn awaits(&self) -> bool {
        self.serials.awaits()
    }

    fn losses(&self, verdict: &mut Completeness) {
        let missing = self.serials.missing();
        if missing > 0 {
            verdict.lose(
                Some(missing),
                format!("{missing} audit records of any type did not arrive"),
            );
        }
        if self.overruns > 0 && missing == 0 {
            verdict.lose(None, "the socket's buffer overran");
        }
        if self.unreadable > 0 {
            verdict.lose(
                Some(self.unreadable),
                format!("{} seccomp records could not be read", self.unreadable),
            );
        }
    }
}

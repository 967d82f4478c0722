//! The kernel's process events: which process was made by which, also of those
//! that are gone when somebody looks.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, SystemTime};

use nucleus_seccomp::KernelVersion;
use rustix::io::Errno;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recvfrom, sendto,
    socket_with,
};
use rustix::time::ClockId;

use super::clock;
use crate::sys;

/// `CN_IDX_PROC` and `CN_VAL_PROC` (`include/uapi/linux/connector.h`).
const PROC: u32 = 1;
/// `PROC_CN_MCAST_LISTEN` and `_IGNORE` (`include/uapi/linux/cn_proc.h`).
const LISTEN: u32 = 1;
const IGNORE: u32 = 2;
/// `PROC_EVENT_FORK`.
const FORK: u32 = 1;
/// Where subscribing to single kinds of events came.
const FILTERED: KernelVersion = KernelVersion::new(6, 6);
/// `struct nlmsghdr` and `struct cn_msg`.
const HEADERS: usize = 16 + 20;
/// Some 10,000 events; more are a loss that is noticed.
const BUFFER: usize = 8 * 1024 * 1024;

/// Lets only messages pass that tell of a new process: their kind is `FORK`,
/// and the new thread has the id of its process. Classic BPF loads words in
/// network order.
const NEW_PROCESSES: [(u16, u8, u8, u32); 8] = {
    const LOAD: u16 = 0x20;
    const TO_X: u16 = 0x07;
    const EQUAL: u16 = 0x15;
    const EQUAL_X: u16 = 0x1d;
    const RETURN: u16 = 0x06;
    const EVENT: u32 = 16 + 20;
    const { assert!(EVENT as usize == HEADERS) };
    [
        (LOAD, 0, 0, EVENT),
        (EQUAL, 0, 4, FORK.to_be()),
        (LOAD, 0, 0, EVENT + 24),
        (TO_X, 0, 0, 0),
        (LOAD, 0, 0, EVENT + 28),
        (EQUAL_X, 1, 0, 0),
        (RETURN, 0, 0, 0),
        (RETURN, 0, 0, u32::MAX),
    ]
};

/// A process was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Birth {
    /// By this one.
    pub parent: u32,
    /// The new one.
    pub child: u32,
    /// When.
    pub time: SystemTime,
}

/// What has been made since the last look.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Births {
    /// In order.
    pub births: Vec<Birth>,
    /// Whether some before these were missed.
    pub missed: bool,
}

/// A subscription; needs `CAP_NET_ADMIN` in the initial namespaces.
#[derive(Debug)]
pub(super) struct Subscription {
    socket: OwnedFd,
}

impl Subscription {
    pub(super) fn new() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::DGRAM,
            flags,
            Some(netlink::CONNECTOR),
        )?;
        set_socket_recv_buffer_size_force(&socket, BUFFER)
            .or_else(|_errno| set_socket_recv_buffer_size(&socket, BUFFER))?;
        // What is of no interest must not fill the buffer: before 6.6 every exec
        // and every end comes too, and always every thread.
        sys::attach_filter(&socket, &NEW_PROCESSES)?;
        bind(&socket, &SocketAddrNetlink::new(0, PROC))?;
        let subscription = Self { socket };
        subscription.ask(LISTEN)?;
        Ok(subscription)
    }

    fn ask(&self, operation: u32) -> io::Result<()> {
        let filtered = KernelVersion::running().is_some_and(|running| running >= FILTERED);
        let words: &[u32] = if filtered {
            &[operation, FORK]
        } else {
            &[operation]
        };
        let body: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let kernel = SocketAddrNetlink::new(0, 0);
        sendto(&self.socket, &message(&body), SendFlags::empty(), &kernel)?;
        Ok(())
    }

    pub(super) fn take(&self) -> Births {
        let mut taken = Births::default();
        let mut buffer = [0_u8; 512];
        loop {
            match recvfrom(&self.socket, &mut buffer[..], RecvFlags::empty()) {
                Ok((length, _whole, sender)) => {
                    let sender = sender.and_then(|any| SocketAddrNetlink::try_from(any).ok());
                    if sender.is_some_and(|sender| sender.pid() == 0) {
                        let event = buffer.get(HEADERS..length).and_then(birth);
                        taken.births.extend(event);
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return taken,
                // An overrun, or a socket that does not work: either way what
                // was known is not to be built upon.
                Err(Errno::NOBUFS) => taken.missed = true,
                Err(_) => {
                    taken.missed = true;
                    return taken;
                }
            }
        }
    }
}

impl Drop for Subscription {
    /// Before 6.6 the kernel counted listeners by what they said.
    fn drop(&mut self) {
        // There is nobody to tell that it failed, and nothing depends on it.
        self.ask(IGNORE).ok();
    }
}

/// `struct nlmsghdr`, `struct cn_msg` and its body.
fn message(body: &[u8]) -> Vec<u8> {
    const NLMSG_DONE: u16 = 3;
    let mut message = Vec::with_capacity(HEADERS + body.len());
    let length = u32::try_from(HEADERS + body.len()).unwrap_or_default();
    message.extend(length.to_ne_bytes());
    message.extend(NLMSG_DONE.to_ne_bytes());
    message.extend([0; 10]);
    for word in [PROC, PROC, 0, 0] {
        message.extend(word.to_ne_bytes());
    }
    message.extend(u16::try_from(body.len()).unwrap_or_default().to_ne_bytes());
    message.extend([0; 2]);
    message.extend(body);
    message
}

/// A `struct proc_event` (kind, processor, time, then parent and child as
/// thread and process ids), if it is of a new process.
fn birth(event: &[u8]) -> Option<Birth> {
    let word = |at: usize| -> Option<u32> {
        Some(u32::from_ne_bytes(event.get(at..at + 4)?.try_into().ok()?))
    };
    let nanoseconds = u64::from_ne_bytes(event.get(8..16)?.try_into().ok()?);
    let (parent, thread, process) = (word(20)?, word(24)?, word(28)?);
    if word(0)? != FORK || thread != process {
        return None;
    }
    Some(Birth {
        parent,
        child: process,
        time: clock::on_the_wall(ClockId::Monotonic, Duration::from_nanos(nanoseconds)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: u32, ids: [u32; 4]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(0_u32.to_ne_bytes());
        bytes.extend(1_000_u64.to_ne_bytes());
        bytes.extend(ids.iter().flat_map(|id| id.to_ne_bytes()));
        bytes
    }

    #[test]
    fn new_processes_are_told_from_threads_and_other_events() {
        let process = birth(&event(FORK, [11, 10, 20, 20])).unwrap();
        assert_eq!((process.parent, process.child), (10, 20));
        assert_eq!(birth(&event(FORK, [11, 10, 12, 10])), None);
        assert_eq!(birth(&event(2, [11, 10, 20, 20])), None);
        assert_eq!(birth(&event(FORK, [11, 10, 20, 20])[..20]), None);
    }

    #[test]
    fn a_request_has_the_lengths_that_it_says() {
        let request = message(&[1, 0, 0, 0]);
        assert_eq!(request.len(), 40);
        assert_eq!(request[..4], 40_u32.to_ne_bytes());
        assert_eq!(request[32..34], 4_u16.to_ne_bytes());
    }
}

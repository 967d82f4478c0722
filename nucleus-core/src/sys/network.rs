//! Namespaces of network and time.

use std::ffi::c_char;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::ioctl::Setter;
use rustix::thread::UnshareFlags;
use syscalls::{Sysno, syscall};

use super::new_fd;

/// `SIOCSIFFLAGS`, `include/uapi/linux/sockios.h`.
const SET_FLAGS: rustix::ioctl::Opcode = 0x8914;

/// Moves the calling thread to a new network namespace.
pub(crate) fn unshare_network() -> Result<(), Errno> {
    // SAFETY: the table of descriptors stays shared.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }
}

/// Lets the children of this process that are made from now on be in a new time
/// namespace.
pub(crate) fn unshare_time() -> Result<(), Errno> {
    // SAFETY: the table of descriptors stays shared.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWTIME) }
}

/// Brings the loopback device of a socket's network namespace up.
pub(crate) fn loopback_up(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: all-zero bytes are a valid ifreq.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    let [first, second, ..] = &mut request.ifr_name;
    *first = b'l'.cast_signed() as c_char;
    *second = b'o'.cast_signed() as c_char;
    let up = libc::IFF_UP | libc::IFF_RUNNING;
    request.ifr_ifru.ifru_flags = i16::try_from(up).map_err(|_too_large| Errno::OVERFLOW)?;
    // SAFETY: SIOCSIFFLAGS reads an ifreq.
    let request = unsafe { Setter::<SET_FLAGS, libc::ifreq>::new(request) };
    // SAFETY: as above; what the call does is to change the device.
    unsafe { rustix::ioctl::ioctl(socket, request) }
}

/// The network namespace of a socket, as a close-on-exec descriptor.
pub(crate) fn network_of(socket: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    /// `SIOCGSKNS` (4.9), `include/uapi/linux/sockios.h`.
    const GET_NAMESPACE: u32 = 0x894c;
    // SAFETY: SIOCGSKNS reads no argument.
    new_fd(unsafe { syscall!(Sysno::ioctl, socket.as_raw_fd(), GET_NAMESPACE, 0) })
}

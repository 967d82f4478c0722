//! The steps that make a network, in the child.

use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::thread::LinkNameSpaceType;

use crate::report::{Call, Context, Fault};
use crate::sys;

/// A network namespace that is being made while init does something else: the
/// kernel takes as long for it as for all mounts.
pub(crate) type Making = sys::Errand<Result<OwnedFd, Fault>>;

/// Makes a network namespace with a loopback device that is up; a socket in it
/// keeps it. Runs beside init, so it must not use errno.
pub(crate) fn make() -> Result<OwnedFd, Fault> {
    sys::unshare_network().call(Call::Unshare)?;
    let socket = socket()?;
    sys::loopback_up(socket.as_fd()).call(Call::Ioctl)?;
    Ok(socket)
}

/// Enters the network namespace that was made meanwhile.
pub(crate) fn enter(making: &Making) -> Result<(), Fault> {
    let socket = making.finish().ok_or(Fault {
        call: Call::Clone,
        errno: rustix::io::Errno::CHILD,
    })??;
    let namespace = sys::network_of(socket.as_fd()).call(Call::Ioctl)?;
    let network = Some(LinkNameSpaceType::Network);
    rustix::thread::move_into_link_name_space(namespace.as_fd(), network).call(Call::Setns)
}

/// Brings up the loopback device of the network namespace that this process is
/// in.
pub(crate) fn loopback() -> Result<(), Fault> {
    sys::loopback_up(socket()?.as_fd()).call(Call::Ioctl)
}

fn socket() -> Result<OwnedFd, Fault> {
    rustix::net::socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .call(Call::Socket)
}

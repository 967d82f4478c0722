//! Unix sockets by their paths, where no rules on the network judge them.
//!
//! Only a connection and a name of its own lead a stream socket to a path. The
//! others, which could name a path with each message, are refused.

use std::os::fd::AsFd;

use nucleus_seccomp::{Arch, Syscall};
use rustix::io::Errno;

use super::scene::{Scene, done};
use super::walk::{Last, Spot};
use crate::policy::net::address::{AF_UNIX, Address, unix_bytes};
use crate::policy::net::calls::{address_of, wait_connect};
use crate::{ArgTest, Decision, Failure, Refusal, Registry, TrapError, When, sys};

type Answer = Result<Decision, Failure>;

/// The bits of socket(2)'s type that are no flags (`SOCK_TYPE_MASK`).
const TYPE_MASK: u32 = 0xf;

/// `AF_UNIX` but for streams and sequences of packets; the calls of other
/// architectures, which hide their arguments.
pub(super) fn refuse(native: Arch, registry: &mut Registry) -> Result<(), TrapError> {
    let is_unix = ArgTest::int(0, AF_UNIX.into());
    let kind = |kind: i32| ArgTest::Int {
        index: 1,
        mask: TYPE_MASK,
        value: kind.cast_unsigned(),
    };
    // SOCK_RAW is SOCK_DGRAM there (`net/unix/af_unix.c`).
    let kinds = [libc::SOCK_DGRAM, libc::SOCK_RAW].map(|it| vec![is_unix, kind(it)]);
    for name in ["socket", "socketpair"] {
        if let Some(call) = Syscall::by_name(native, name) {
            let refusal = Refusal::Of(When::Any(kinds.to_vec()), Errno::PROTONOSUPPORT);
            registry.refuse(call, refusal)?;
        }
    }
    for arch in Arch::ALL.into_iter().filter(|arch| *arch != native) {
        for name in ["socketcall", "socket", "socketpair", "connect", "bind"] {
            if let Some(call) = Syscall::by_name(arch, name) {
                registry.refuse(call, Refusal::Of(When::Always, Errno::NOSYS))?;
            }
        }
    }
    Ok(())
}

/// The address and the path in it, if it has one.
fn address(scene: &Scene<'_>, family: u16) -> Result<(Vec<u8>, Option<Spot>), Failure> {
    let bytes = address_of(scene.request)?;
    let spot = match Address::parse(&bytes) {
        Ok(Address::UnixPath(path)) if family == AF_UNIX => {
            let base = scene.subject.base(libc::AT_FDCWD)?;
            Some(Spot {
                base: Some(base),
                path,
            })
        }
        // What is wrong with others the kernel says.
        _ => None,
    };
    Ok((bytes, spot))
}

pub(super) fn connect(scene: &Scene<'_>) -> Answer {
    let caller = &scene.subject.caller;
    let socket = caller.socket(scene.int(0))?;
    let (bytes, spot) = address(scene, socket.family)?;
    scene.act(|walk| {
        let Some(spot) = &spot else {
            return wait_connect(caller, &socket, &bytes);
        };
        let object = walk.find(spot, Last::Followed)?;
        let object = walk.usable(object)?;
        wait_connect(caller, &socket, &unix_bytes(object.name().as_bytes())?)
    })?;
    done()
}

pub(super) fn bind(scene: &Scene<'_>) -> Answer {
    let socket = scene.subject.caller.socket(scene.int(0))?;
    let (bytes, spot) = address(scene, socket.family)?;
    scene.act(|walk| {
        let Some(spot) = &spot else {
            return sys::bind(socket.as_fd(), &bytes);
        };
        let found = walk.find(spot, Last::Name)?;
        let place = walk.changeable(&found, Errno::ADDRINUSE)?;
        // This thread's working directory is its own.
        rustix::process::fchdir(&place.folder)?;
        let bound = unix_bytes(&place.name).and_then(|name| sys::bind(socket.as_fd(), &name));
        rustix::process::chdir(c"/")?;
        bound
    })?;
    done()
}

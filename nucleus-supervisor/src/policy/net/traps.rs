//! Which calls the network policy traps, and which the filter refuses.

use std::sync::Arc;

use nucleus_seccomp::{Arch, Syscall};
use rustix::io::Errno;

use super::address::{AF_INET, AF_INET6, AF_NETLINK, AF_UNIX};
use super::{Guard, calls, send};
use crate::{
    ArgTest, Decision, Failure, Handler, PolicyError, Refusal, Registry, Request, TrapError, When,
};

const STREAM: u32 = 1;
const DGRAM: u32 = 2;

/// The bits of socket(2)'s type that are no flags (`SOCK_TYPE_MASK`).
const TYPE_MASK: u32 = 0xf;

type Handle = fn(&Guard, &Request) -> Result<Decision, Failure>;

/// A handler that may wait, for a peer or for room.
struct OnBehalf {
    guard: Arc<Guard>,
    handle: Handle,
}

impl Handler for OnBehalf {
    fn handle(&self, request: &Request) -> Result<Decision, Failure> {
        (self.handle)(&self.guard, request)
    }
}

pub(super) fn register(guard: Guard, registry: &mut Registry) -> Result<(), PolicyError> {
    let native = Arch::native().ok_or(PolicyError::Architecture)?;
    refuse_other_ways(native, registry)?;
    refuse_other_sockets(native, registry)?;
    refuse_source_routes(native, registry)?;
    refuse_other_devices(native, registry)?;
    if !guard.judge.names_multicast() {
        refuse_groups(native, registry)?;
    }
    // Without an address it goes to the socket's peer, who was judged before.
    let addressed = When::test(ArgTest::LongNot { index: 4, value: 0 });
    let mut calls: Vec<(&str, When, Handle)> = vec![
        ("connect", When::Always, calls::connect),
        ("bind", When::Always, calls::bind),
        ("listen", When::Always, calls::listen),
        ("sendto", addressed, send::sendto),
        ("sendmsg", When::Always, send::sendmsg),
        ("sendmmsg", When::Always, send::sendmmsg),
    ];
    if guard.own_network {
        let inet = [AF_INET, AF_INET6].map(|number| vec![family(number)]);
        let inet = When::Any(inet.to_vec());
        calls.push(("socket", inet, calls::socket));
    }
    let guard = Arc::new(guard);
    for (name, when, handle) in calls {
        if let Some(call) = Syscall::by_name(native, name) {
            let guard = Arc::clone(&guard);
            registry.add(call, when, OnBehalf { guard, handle })?;
        }
    }
    Ok(())
}

/// What would do the same calls where no trap sees them: rings of requests, and
/// the calls of other architectures.
fn refuse_other_ways(native: Arch, registry: &mut Registry) -> Result<(), TrapError> {
    for arch in Arch::ALL {
        let mut names = vec!["io_uring_setup", "io_uring_enter", "io_uring_register"];
        if arch != native {
            names.extend([
                "socketcall",
                "socket",
                "connect",
                "bind",
                "listen",
                "sendto",
                "sendmsg",
                "sendmmsg",
                "setsockopt",
            ]);
        }
        for name in names {
            if let Some(call) = Syscall::by_name(arch, name) {
                registry.refuse(call, Refusal::Of(When::Always, Errno::NOSYS))?;
            }
        }
    }
    Ok(())
}

/// Every socket but those whose traffic the traps see.
fn refuse_other_sockets(native: Arch, registry: &mut Registry) -> Result<(), TrapError> {
    let Some(socket) = Syscall::by_name(native, "socket") else {
        return Ok(());
    };
    let families = [AF_UNIX, AF_INET, AF_INET6, AF_NETLINK];
    let families = families.map(|number| vec![family(number)]);
    let known = When::Any(families.to_vec());
    registry.refuse(socket, Refusal::AllBut(known, Errno::AFNOSUPPORT))?;

    let protocol = |number| ArgTest::int(2, number);
    let mut kinds = vec![
        vec![family(AF_UNIX)],
        // NETLINK_ROUTE: the C library lists addresses by it.
        vec![family(AF_NETLINK), protocol(0)],
    ];
    for inet in [AF_INET, AF_INET6] {
        for (kind, own) in [(STREAM, libc::IPPROTO_TCP), (DGRAM, libc::IPPROTO_UDP)] {
            let kind = ArgTest::Int {
                index: 1,
                mask: TYPE_MASK,
                value: kind,
            };
            for number in [0, own.cast_unsigned()] {
                kinds.push(vec![family(inet), kind, protocol(number)]);
            }
        }
    }
    let kinds = When::Any(kinds);
    registry.refuse(socket, Refusal::AllBut(kinds, Errno::PROTONOSUPPORT))
}

/// The family of a socket that is asked for.
fn family(number: u16) -> ArgTest {
    ArgTest::int(0, number.into())
}

/// Options that lead packets elsewhere than to their address: the first hop of
/// a source route is whom they go to.
fn refuse_source_routes(native: Arch, registry: &mut Registry) -> Result<(), TrapError> {
    /// `IPV6_2292RTHDR`, `IPV6_2292PKTOPTIONS`, and `IPV6_FLOWLABEL_MGR`, which
    /// takes options for a flow (`include/uapi/linux/in6.h`).
    const IPV6_WITH_ROUTES: [i32; 3] = [5, 6, 32];
    let v6 = IPV6_WITH_ROUTES.map(|name| (libc::IPPROTO_IPV6, name));
    let others = [
        (libc::IPPROTO_IP, libc::IP_OPTIONS),
        (libc::IPPROTO_IPV6, libc::IPV6_RTHDR),
    ];
    refuse_options(native, registry, others.into_iter().chain(v6))
}

/// Options that choose the device a packet leaves by: who has an address depends
/// on where it is looked for.
fn refuse_other_devices(native: Arch, registry: &mut Registry) -> Result<(), TrapError> {
    /// `SO_BINDTOIFINDEX`, `IP_UNICAST_IF`, `IPV6_UNICAST_IF`
    /// (`asm-generic/socket.h`, `linux/in.h`, `linux/in6.h`).
    const BY_INDEX: [(i32, i32); 3] = [
        (libc::SOL_SOCKET, 62),
        (libc::IPPROTO_IP, 50),
        (libc::IPPROTO_IPV6, 76),
    ];
    let others = [
        (libc::SOL_SOCKET, libc::SO_BINDTODEVICE),
        (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO),
    ];
    refuse_options(native, registry, others.into_iter().chain(BY_INDEX))
}

/// Joining a group tells the network of it, which is a message to somebody.
fn refuse_groups(native: Arch, registry: &mut Registry) -> Result<(), TrapError> {
    /// `MCAST_JOIN_GROUP`, `MCAST_JOIN_SOURCE_GROUP`, of IPv4 and of IPv6
    /// (`linux/in.h`), and `IPV6_JOIN_ANYCAST` (`linux/in6.h`).
    const BY_NUMBER: [(i32, i32); 5] = [
        (libc::IPPROTO_IP, 42),
        (libc::IPPROTO_IP, 46),
        (libc::IPPROTO_IPV6, 42),
        (libc::IPPROTO_IPV6, 46),
        (libc::IPPROTO_IPV6, 27),
    ];
    let others = [
        (libc::IPPROTO_IP, libc::IP_ADD_MEMBERSHIP),
        (libc::IPPROTO_IP, libc::IP_ADD_SOURCE_MEMBERSHIP),
        (libc::IPPROTO_IPV6, libc::IPV6_ADD_MEMBERSHIP),
    ];
    refuse_options(native, registry, others.into_iter().chain(BY_NUMBER))
}

/// Refuses options of setsockopt(2), each a level and a name, with EPERM.
fn refuse_options(
    native: Arch,
    registry: &mut Registry,
    options: impl Iterator<Item = (i32, i32)>,
) -> Result<(), TrapError> {
    let Some(setsockopt) = Syscall::by_name(native, "setsockopt") else {
        return Ok(());
    };
    let tests = options.map(|(level, name)| {
        vec![
            ArgTest::int(1, level.cast_unsigned()),
            ArgTest::int(2, name.cast_unsigned()),
        ]
    });
    let options = When::Any(tests.collect());
    registry.refuse(setsockopt, Refusal::Of(options, Errno::PERM))
}

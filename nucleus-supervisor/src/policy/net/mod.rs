//! The network policy: whom a program may talk to.
//!
//! Every call that takes an address is trapped and done in the program's place,
//! on a duplicate of its socket and with a copy of the address that nobody else
//! can write to. The filter itself refuses what could get around that.

mod address;
mod caller;
mod calls;
mod control;
mod judge;
mod patience;
mod rule;
mod send;
mod traps;

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use rustix::io::Errno;
use rustix::net::SocketType;

use self::address::{AF_INET, AF_INET6};
use self::caller::Socket;
pub(crate) use self::judge::Judge;
pub use self::rule::{NetRule, Ports, Protocol, RuleError};
use crate::resolver::Resolver;
use crate::{Enforced, Enforcer, Policy, PolicyError, Registry};

/// Whom a program may talk to, and where it may listen.
#[derive(Debug, Clone, Default)]
pub struct NetRules {
    /// Peers; nobody else is one.
    pub allow: Vec<NetRule>,
    /// Peers that are none, whatever allows them.
    pub deny: Vec<NetRule>,
    /// Ports to bind to and listen at; 0 for whichever the kernel chooses.
    pub bind: Option<Ports>,
}

/// What stands between the program and the named sockets of unix(7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedSockets {
    /// The mounts: what the program sees was granted to it.
    Visible,
    /// This policy: those at or below these paths.
    Beneath(Vec<PathBuf>),
}

/// The network policy, with its resolver at work.
#[derive(Debug)]
pub struct NetPolicy {
    guard: Guard,
    rules: Vec<Enforced>,
}

/// What the handlers judge by.
#[derive(Debug)]
pub(crate) struct Guard {
    judge: Arc<Judge>,
    resolver: Resolver,
    own_network: bool,
    named: NamedSockets,
}

impl NetPolicy {
    /// Starts the resolver. It asks `servers`, or those of this host's
    /// `resolv.conf` when there is none.
    ///
    /// A program with a network namespace of its own (`own_network`) gets
    /// sockets of this process's namespace in place of its own: without the
    /// supervisor there is then no network at all.
    ///
    /// # Errors
    ///
    /// The resolver cannot be set up.
    pub fn start(
        rules: NetRules,
        own_network: bool,
        named: NamedSockets,
        servers: Vec<SocketAddr>,
    ) -> Result<Self, PolicyError> {
        let NetRules { allow, deny, bind } = rules;
        let words = describe(&allow, &deny, bind.as_ref(), own_network);
        let judge = Arc::new(Judge::new(allow, deny, bind));
        let resolver = Resolver::start(Arc::clone(&judge), servers)?;
        Ok(Self {
            guard: Guard {
                judge,
                resolver,
                own_network,
                named,
            },
            rules: words,
        })
    }

    /// The name server for the program's `resolv.conf`.
    #[must_use]
    pub fn nameserver(&self) -> IpAddr {
        self.guard.resolver.nameserver()
    }
}

fn describe(
    allow: &[NetRule],
    deny: &[NetRule],
    bind: Option<&Ports>,
    own_network: bool,
) -> Vec<Enforced> {
    let enforced = |rule, by| Enforced { rule, by };
    let by_us = |rule| enforced(rule, Enforcer::Listener);
    let mut words = vec![enforced(
        "sockets of TCP, UDP, unix and routing netlink alone".to_owned(),
        Enforcer::Filter,
    )];
    if own_network {
        words.push(enforced(
            "no way out but through the supervisor".to_owned(),
            Enforcer::Kernel,
        ));
    }
    words.extend(allow.iter().map(|rule| by_us(format!("talk to {rule}"))));
    words.extend(
        deny.iter()
            .map(|rule| by_us(format!("never talk to {rule}"))),
    );
    words.push(by_us(match bind {
        Some(ports) => format!("listen at {ports}"),
        None => "listen at no port".to_owned(),
    }));
    words
}

impl Policy for NetPolicy {
    fn enforced(&self) -> Vec<Enforced> {
        self.rules.clone()
    }

    fn register(self: Box<Self>, registry: &mut Registry) -> Result<(), PolicyError> {
        traps::register(self.guard, registry)?;
        Ok(())
    }
}

impl Socket {
    /// Whether it is one of the two kinds of internet sockets that there are
    /// rules for. Others can be here only by inheritance.
    fn is_inet(&self) -> bool {
        self.transport().is_some()
    }

    fn transport(&self) -> Option<Protocol> {
        let (AF_INET | AF_INET6) = self.family else {
            return None;
        };
        match (self.kind, self.protocol) {
            (SocketType::STREAM, 0 | 6) => Some(Protocol::Tcp),
            (SocketType::DGRAM, 0 | 17) => Some(Protocol::Udp),
            _ => None,
        }
    }
}

impl Guard {
    /// The address to use where the program means `peer`; EACCES where it may
    /// not.
    fn destination(
        &self,
        socket: &Socket,
        peer: SocketAddr,
        bytes: &[u8],
    ) -> Result<Vec<u8>, Errno> {
        let transport = socket.transport().ok_or(Errno::ACCESS)?;
        let udp = transport == Protocol::Udp;
        if let Some(resolver) = self.resolver.in_place_of(peer, udp) {
            return Ok(address::inet_bytes(resolver, socket.family == AF_INET6));
        }
        if self.judge.allows(transport, peer, Instant::now()) {
            Ok(bytes.to_vec())
        } else {
            Err(Errno::ACCESS)
        }
    }

    /// Whether a socket may be listened at where it is bound.
    fn may_listen(&self, socket: &Socket) -> Result<(), Errno> {
        let own = rustix::net::getsockname(socket)?;
        let own = SocketAddr::try_from(own)?;
        if self.judge.may_listen(own.port()) {
            Ok(())
        } else {
            Err(Errno::ACCESS)
        }
    }

    /// Whether a socket may use abstract names: they are those of the network
    /// that it was made in, which may be ours when it was inherited.
    fn may_be_abstract(&self, socket: &Socket) -> Result<(), Errno> {
        if !self.own_network {
            return Err(Errno::ACCESS);
        }
        let ours = rustix::net::socket(rustix::net::AddressFamily::UNIX, SocketType::DGRAM, None)?;
        let cookie = |fd| crate::sys::network_cookie(fd).map_err(|_before_5_14| Errno::ACCESS);
        if cookie(socket.as_fd())? == cookie(ours.as_fd())? {
            return Err(Errno::ACCESS);
        }
        Ok(())
    }

    /// Whether a named socket may be talked to, by what it is and not by what
    /// it was called.
    fn may_reach(&self, peer: &OwnedFd) -> Result<(), Errno> {
        self.may_use(&caller::path_of(peer.as_fd())?)
    }

    /// Whether a named socket may be made in the working directory.
    fn may_make_here(&self) -> Result<(), Errno> {
        let folder = rustix::process::getcwd(Vec::new())?;
        self.may_use(folder.to_bytes())
    }

    fn may_use(&self, path: &[u8]) -> Result<(), Errno> {
        use std::os::unix::ffi::OsStrExt;
        let path = std::path::Path::new(std::ffi::OsStr::from_bytes(path));
        match &self.named {
            NamedSockets::Visible => Ok(()),
            NamedSockets::Beneath(granted) if granted.iter().any(|it| path.starts_with(it)) => {
                Ok(())
            }
            NamedSockets::Beneath(_) => Err(Errno::ACCESS),
        }
    }
}

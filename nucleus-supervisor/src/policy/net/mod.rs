//! The network policy: whom a program may talk to.
//!
//! Every call that takes an address is trapped and done in the program's place,
//! on a duplicate of its socket and with a copy of the address that nobody else
//! can write to. The filter itself refuses what could get around that.

pub(super) mod address;
pub(super) mod caller;
pub(super) mod calls;
mod consult;
mod control;
mod judge;
pub(super) mod patience;
mod reason;
mod rule;
mod send;
mod traps;

use std::ffi::OsStr;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::SocketType;

use self::address::{AF_INET, AF_INET6};
use self::caller::{Files, Socket};
use self::consult::About;
pub(crate) use self::judge::Judge;
pub use self::rule::{NetRule, Ports, Protocol, RuleError};
use crate::callback::{Arbiter, Context, Power};
use crate::process::{number, status_field};
use crate::resolver::Resolver;
use crate::{Enforced, Enforcer, PathRules, Policy, PolicyError, Registry, Request};

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
    arbiter: Option<Arbiter>,
    tightened: Option<Context>,
    paths: Option<PathRules>,
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
        let words = rules.enforced(own_network);
        let NetRules { allow, deny, bind } = rules;
        let judge = Arc::new(Judge::new(allow, deny, bind));
        let resolver = Resolver::start(Arc::clone(&judge), servers)?;
        Ok(Self {
            guard: Guard {
                judge,
                resolver,
                own_network,
                named,
                arbiter: None,
                tightened: None,
                paths: None,
            },
            rules: words,
        })
    }

    /// Asks about every peer that the rules allow, every named socket and every
    /// port to bind to or listen at. Look-ups of names are not asked about, but
    /// events carry the names that led to an address.
    #[must_use]
    pub fn ask(mut self, arbiter: Arbiter) -> Self {
        self.rules.push(Enforced {
            rule: "what the policy says of each peer and port".to_owned(),
            by: Enforcer::Listener,
        });
        self = self.tightened_by(arbiter.context());
        self.guard.arbiter = Some(arbiter);
        self
    }

    /// Denies what a callback has taken away, without asking it.
    #[must_use]
    pub fn tightened_by(mut self, context: &Context) -> Self {
        context.enforces(Power::Network);
        self.guard.tightened = Some(context.clone());
        self
    }

    /// Denies the named sockets that rules on paths deny, too.
    #[must_use]
    pub fn with_paths(mut self, rules: PathRules) -> Self {
        self.guard.paths = Some(rules);
        self
    }

    /// The name server for the program's `resolv.conf`.
    #[must_use]
    pub fn nameserver(&self) -> IpAddr {
        self.guard.resolver.nameserver()
    }
}

impl NetRules {
    /// Each rule in words, and who enforces it: on a program with a network
    /// namespace of its own, or with this process's.
    #[must_use]
    pub fn enforced(&self, own_network: bool) -> Vec<Enforced> {
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
        let (allow, deny) = (self.allow.iter(), self.deny.iter());
        words.extend(allow.map(|rule| by_us(format!("talk to {rule}"))));
        words.extend(deny.map(|rule| by_us(format!("never talk to {rule}"))));
        words.push(by_us("talk to nobody else".to_owned()));
        words.push(by_us(match &self.bind {
            Some(ports) => format!("listen at {ports}"),
            None => "listen at no port".to_owned(),
        }));
        words
    }
}

impl Policy for NetPolicy {
    fn enforced(&self) -> Vec<Enforced> {
        self.rules.clone()
    }

    fn register(self: Box<Self>, registry: &mut Registry) -> Result<(), PolicyError> {
        self.guard.judge.tell(registry.ear());
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
        request: &Request,
        socket: &Socket,
        peer: SocketAddr,
        bytes: &[u8],
    ) -> Result<Vec<u8>, Errno> {
        let transport = socket.transport().ok_or(Errno::ACCESS)?;
        let udp = transport == Protocol::Udp;
        if let Some(resolver) = self.resolver.in_place_of(peer, udp) {
            if udp && self.resolver.is_own(socket.as_fd()) {
                // It is there itself.
                return Ok(bytes.to_vec());
            }
            return Ok(address::inet_bytes(resolver, socket.family == AF_INET6));
        }
        let allowed = self.judge.allows(transport, peer, Instant::now());
        self.consult(request, allowed, About::Peer(transport, peer))?;
        Ok(bytes.to_vec())
    }

    /// Whether a socket may be listened at where it is bound.
    fn may_listen(&self, request: &Request, socket: &Socket) -> Result<SocketAddr, Errno> {
        let own = rustix::net::getsockname(socket)?;
        let own = SocketAddr::try_from(own)?;
        if self.judge.may_listen(own.port()) {
            Ok(own)
        } else {
            let about = About::Own(Protocol::Tcp, own);
            request.denied_because(self.reason(request, about, true));
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
    fn may_reach(&self, request: &Request, files: &Files, peer: &OwnedFd) -> Result<(), Errno> {
        if let Some(rules) = &self.paths {
            rules.judge(files.root(), peer.as_fd())?;
        }
        let path = caller::path_of(peer.as_fd())?;
        self.may_use(request, Path::new(OsStr::from_bytes(&path)))?;
        // By what it is, too, whatever it is called by now.
        match &self.tightened {
            Some(context) => context.judge(process_of(request)?, files.root(), peer.as_fd()),
            None => Ok(()),
        }
    }

    /// Whether a socket of this name may be made in the working directory.
    fn may_make_here(&self, request: &Request, files: &Files, name: &[u8]) -> Result<(), Errno> {
        if let Some(rules) = &self.paths {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let here = rustix::fs::open(c".", flags, Mode::empty())?;
            rules.judge_name(files.root(), here.as_fd(), name)?;
        }
        let folder = rustix::process::getcwd(Vec::new())?;
        let folder = Path::new(OsStr::from_bytes(folder.to_bytes()));
        self.may_use(request, &folder.join(OsStr::from_bytes(name)))
    }

    fn may_use(&self, request: &Request, path: &Path) -> Result<(), Errno> {
        let allowed = match &self.named {
            NamedSockets::Visible => true,
            NamedSockets::Beneath(granted) => granted.iter().any(|it| path.starts_with(it)),
        };
        self.consult(request, allowed, About::Named(path))
    }
}

/// The caller's process.
fn process_of(request: &Request) -> Result<u32, Errno> {
    let status = std::fs::read(format!("/proc/{}/status", request.thread()));
    let status = status.unwrap_or_default();
    let process = status_field(&status, b"Tgid:").and_then(number);
    process.ok_or(Errno::ACCESS)
}

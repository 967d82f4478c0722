//! A resolver for one sandbox: it looks up only names that may be talked to,
//! and admits the addresses that it answers.
//!
//! It answers questions for addresses (A, AAAA) and nothing else: what a
//! program asks beyond them would leave the sandbox in the question.

mod message;
mod quarters;
mod upstream;

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags};
use rustix::io::Errno;

use self::message::{NO_ERROR, NO_SUCH_NAME, Query, SERVER_FAILURE, UDP_MOST};
use self::quarters::Quarters;
use crate::Error;
use crate::policy::Judge;
use crate::pool::Pool;

const THREAD: &str = "nucleus-resolver";
/// Where every program looks for a name server.
const PORT: u16 = 53;
const HOSTS_CONFIGURATION: &str = "/etc/resolv.conf";

/// Most questions at work at once; more are dropped, and asked again.
const MOST_AT_ONCE: usize = 64;

/// How long a client of TCP may take.
const TCP_PATIENCE: Duration = Duration::from_secs(5);

/// A resolver at work until it is dropped.
#[derive(Debug)]
pub(crate) struct Resolver {
    udp: SocketAddr,
    tcp: SocketAddr,
    /// The servers that the program may ask: all mean this one.
    nameservers: BTreeSet<IpAddr>,
    stop: Arc<OwnedFd>,
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Made when somebody needs it; `None` where it cannot be had.
    quarters: OnceLock<Option<Quarters>>,
}

/// What the threads share.
struct Shared {
    judge: Arc<Judge>,
    servers: Vec<SocketAddr>,
    at_work: AtomicUsize,
    pool: Pool,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("judge", &self.judge)
            .field("servers", &self.servers)
            .finish_non_exhaustive()
    }
}

impl Resolver {
    /// Starts to answer on an address of this host's loopback network. Asks
    /// `servers`, or those of the host when there is none.
    pub(crate) fn start(judge: Arc<Judge>, servers: Vec<SocketAddr>) -> Result<Self, Error> {
        let failed = |source| Error::Resolver { source };
        let configuration = match std::fs::read(HOSTS_CONFIGURATION) {
            Ok(configuration) => configuration,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(failed(error)),
        };
        let (udp, tcp) = sockets().map_err(failed)?;
        let (udp_address, tcp_address) = udp
            .local_addr()
            .and_then(|udp| Ok((udp, tcp.local_addr()?)))
            .map_err(failed)?;
        let shared = Arc::new(Shared {
            judge,
            servers: if servers.is_empty() {
                upstream::servers(&configuration)
            } else {
                servers
            },
            at_work: AtomicUsize::new(0),
            pool: Pool::default(),
        });
        let stop = rustix::event::eventfd(0, EventfdFlags::CLOEXEC)
            .map_err(|errno| failed(errno.into()))?;
        let resolver = Self {
            udp: udp_address,
            tcp: tcp_address,
            nameservers: upstream::nameservers(&configuration)
                .chain([udp_address.ip()])
                .collect(),
            stop: Arc::new(stop),
            shared: Arc::clone(&shared),
            threads: Mutex::default(),
            quarters: OnceLock::new(),
        };
        let by_udp = Arc::clone(&shared);
        resolver.spawn(move |stop| serve_udp(&by_udp, udp, stop))?;
        resolver.spawn(move |stop| serve_tcp(&shared, &tcp, stop))?;
        Ok(resolver)
    }

    /// The address for `resolv.conf`.
    pub(crate) fn nameserver(&self) -> IpAddr {
        self.udp.ip()
    }

    /// Where it is to be found by whoever wants to talk to a name server.
    pub(crate) fn in_place_of(&self, peer: SocketAddr, udp: bool) -> Option<SocketAddr> {
        let meant = peer.port() == PORT && self.nameservers.contains(&peer.ip().to_canonical());
        meant.then_some(if udp { self.udp } else { self.tcp })
    }

    /// A socket to ask by in place of a UDP socket whose answers must come from
    /// where it looks for the server, `peer`: the resolver is there in another
    /// network. `None` where that is not so, or not needed.
    pub(crate) fn socket_for(&self, peer: SocketAddr, family: u16) -> Option<OwnedFd> {
        let IpAddr::V4(own) = self.udp.ip() else {
            return None;
        };
        let peer = (peer.ip().to_canonical(), peer.port());
        if self.udp.port() == PORT || peer != (own.into(), PORT) {
            return None;
        }
        let quarters = self.quarters.get_or_init(|| {
            // Not to be had without user namespaces of one's own.
            let (quarters, socket) = Quarters::open(own).ok()?;
            let shared = Arc::clone(&self.shared);
            self.spawn(move |stop| serve_udp(&shared, socket, stop))
                .ok()?;
            Some(quarters)
        });
        quarters.as_ref()?.socket(family).ok()
    }

    /// Whether a socket is of the network that [`socket_for`](Self::socket_for)
    /// takes them from.
    pub(crate) fn is_own(&self, socket: BorrowedFd<'_>) -> bool {
        let quarters = self.quarters.get().and_then(Option::as_ref);
        quarters.is_some_and(|quarters| quarters.holds(socket))
    }

    fn spawn(&self, serve: impl FnOnce(&OwnedFd) + Send + 'static) -> Result<(), Error> {
        let stop = Arc::clone(&self.stop);
        let started = thread::Builder::new()
            .name(THREAD.to_owned())
            .spawn(move || serve(&stop));
        let started = started.map_err(|source| Error::Thread {
            name: THREAD,
            source,
        })?;
        let threads = self.threads.lock();
        threads
            .unwrap_or_else(PoisonError::into_inner)
            .push(started);
        Ok(())
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        // Adding to a counter at 0 cannot fail.
        let _sent: Result<usize, Errno> = rustix::io::write(&self.stop, &1_u64.to_ne_bytes());
        let threads = self.threads.get_mut();
        for thread in threads.unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _panicked: Result<(), _> = thread.join();
        }
    }
}

/// Sockets on an address of the loopback network that nobody else uses. Port
/// 53, where every program looks for a server, if this process may have it.
fn sockets() -> io::Result<(UdpSocket, TcpListener)> {
    let mut bytes = [0; 3];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    let [a, b, c] = bytes;
    let address = Ipv4Addr::new(127, a.clamp(1, 254), b, c.clamp(1, 254));
    let at = |port| {
        Ok((
            UdpSocket::bind((address, port))?,
            TcpListener::bind((address, port))?,
        ))
    };
    at(PORT).or_else(|_not_for_us: io::Error| {
        Ok((
            UdpSocket::bind((address, 0))?,
            TcpListener::bind((address, 0))?,
        ))
    })
}

/// Waits until there is something to read; false when it is to end.
fn ready(socket: &impl std::os::fd::AsFd, stop: &OwnedFd) -> bool {
    let mut fds = [
        PollFd::new(socket, PollFlags::IN),
        PollFd::new(stop, PollFlags::IN),
    ];
    match rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, None)) {
        Ok(_) => fds[1].revents().is_empty(),
        Err(_) => false,
    }
}

fn serve_udp(shared: &Arc<Shared>, socket: UdpSocket, stop: &OwnedFd) {
    let socket = Arc::new(socket);
    let mut buffer = [0; 1500];
    while ready(&*socket, stop) {
        // A client that is gone shows here; it is nobody else's trouble.
        let Ok((length, client)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        let message = buffer[..length].to_vec();
        let answers = Arc::clone(&socket);
        shared.work(move |shared| {
            if let Some(answer) = shared.answer(&message, UDP_MOST) {
                // Lost, as any datagram may be: the client asks again.
                let _sent: io::Result<usize> = answers.send_to(&answer, client);
            }
        });
    }
}

fn serve_tcp(shared: &Arc<Shared>, listener: &TcpListener, stop: &OwnedFd) {
    while ready(listener, stop) {
        let Ok((stream, _client)) = listener.accept() else {
            continue;
        };
        shared.work(move |shared| {
            // The client sees its connection closed.
            let _failed: io::Result<()> = converse(shared, stream);
        });
    }
}

fn converse(shared: &Shared, mut stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(TCP_PATIENCE))?;
    stream.set_write_timeout(Some(TCP_PATIENCE))?;
    loop {
        let message = upstream::read_framed(&mut stream)?;
        let Some(answer) = shared.answer(&message, usize::from(u16::MAX)) else {
            return Ok(());
        };
        upstream::write_framed(&mut stream, &answer)?;
    }
}

impl Shared {
    /// Works on a question on another thread.
    fn work(self: &Arc<Self>, job: impl FnOnce(&Self) + Send + 'static) {
        if self.at_work.fetch_add(1, Ordering::Relaxed) >= MOST_AT_ONCE {
            self.at_work.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        let shared = Arc::clone(self);
        let started = self.pool.run(Box::new(move || {
            job(&shared);
            shared.at_work.fetch_sub(1, Ordering::Relaxed);
        }));
        if started.is_err() {
            self.at_work.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn answer(&self, message: &[u8], most: usize) -> Option<Vec<u8>> {
        let Some(query) = Query::parse(message) else {
            return message::format_error(message);
        };
        if !self.judge.may_resolve(&query.name) {
            self.judge.tell_unknown(&query.name);
            return Some(query.answer(NO_SUCH_NAME, &[], most).0);
        }
        if !query.asks_for_addresses() {
            return Some(query.answer(NO_ERROR, &[], most).0);
        }
        let Ok(mut found) = upstream::ask(&self.servers, &query) else {
            return Some(query.answer(SERVER_FAILURE, &[], most).0);
        };
        if let Some(denied) = found.aliases.iter().find(|it| self.judge.denies_name(it)) {
            // Whatever it is called besides.
            self.judge.tell_unknown(denied);
            return Some(query.answer(NO_SUCH_NAME, &[], most).0);
        }
        found
            .addresses
            .retain(|(address, _)| self.judge.may_lead_to(*address));
        let (answer, count) = query.answer(found.code, &found.addresses, most);
        let now = Instant::now();
        // The filter on the kind is the answer's own: those before are given.
        for (address, ttl) in found.addresses.into_iter().take(count) {
            self.judge
                .admit(&query.name, &found.aliases, address, ttl, now);
        }
        Some(answer)
    }
}

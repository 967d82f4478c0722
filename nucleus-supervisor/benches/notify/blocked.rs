//! How long others wait while one caller waits for a peer.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use nucleus_seccomp::{InstallFlags, Program};
use nucleus_supervisor::{
    Error, Listener, NamedSockets, NetPolicy, NetRules, Policy as _, Registry, Supervisor,
};

use crate::Result;

const CONNECTS: usize = 400;

/// By how much a blocked connect may delay others.
const GOAL: Duration = Duration::from_millis(10);

/// Connects of one thread, before and while another one waits for a peer that
/// does not accept.
pub(crate) fn measure(_program: &Path, _nucleus: Option<&Path>) -> Result<bool> {
    println!("\nconnects of a thread while another one's waits");
    let full = TcpListener::bind("127.0.0.1:0")?;
    rustix::net::listen(&full, 0)?;
    let full = full.local_addr().map(|address| (full, address))?;
    // With a backlog of none one connection waits to be accepted.
    let _waits = TcpStream::connect(full.1)?;
    let open = TcpListener::bind("127.0.0.1:0")?;
    let address = open.local_addr()?;
    thread::spawn(move || open.incoming().for_each(drop));

    let rules = NetRules {
        allow: vec!["127.0.0.1".parse()?],
        ..NetRules::default()
    };
    let policy = NetPolicy::start(rules, false, NamedSockets::Visible, Vec::new())?;
    let mut registry = Registry::new();
    Box::new(policy).register(&mut registry)?;
    let filter = registry.program()?;

    let (send, listener) = channel();
    let (go, start) = channel();
    let caller = thread::spawn(move || -> std::result::Result<_, String> {
        let listener = install(&filter).map_err(|error| error.to_string())?;
        send.send(listener).map_err(|_gone| "no supervisor")?;
        start.recv().map_err(|_gone| "no supervisor")?;
        Ok(compare(address, full.1))
    });
    let supervisor = Supervisor::start(listener.recv()?, registry)?;
    go.send(())?;
    let [free, beside] = caller.join().map_err(|_panic| "a caller panicked")??;
    drop(full.0);
    drop(supervisor);
    let met = beside.is_some_and(|beside| free.is_some_and(|free| beside < free + GOAL));
    println!(
        "99 of 100 within {:?} alone, {:?} beside one that waits (goal: at most {GOAL:?} more) {}",
        free.unwrap_or_default(),
        beside.unwrap_or_default(),
        if met { "met" } else { "MISSED" }
    );
    Ok(met)
}

fn install(filter: &Program) -> std::result::Result<Listener, Box<dyn std::error::Error>> {
    rustix::thread::set_no_new_privs(true)?;
    let flags = InstallFlags::NEW_LISTENER | InstallFlags::WAIT_KILLABLE_RECV;
    let fd = filter.install(flags)?.ok_or("no listener")?;
    Ok::<_, Error>(Listener::new(fd)?).map_err(Into::into)
}

/// The 99th percentile of connects, without and with one that waits; `None`
/// where one failed, or the one that was to wait did not.
fn compare(open: SocketAddr, full: SocketAddr) -> [Option<Duration>; 2] {
    let free = connects(open);
    // It ends with the listener that it waits for.
    let waiting = thread::spawn(move || TcpStream::connect(full).map(drop));
    let beside = connects(open);
    [free, beside.filter(|_| !waiting.is_finished())]
}

fn connects(open: SocketAddr) -> Option<Duration> {
    let mut times = Vec::with_capacity(CONNECTS);
    for _ in 0..CONNECTS {
        let start = Instant::now();
        drop(TcpStream::connect(open).ok()?);
        times.push(start.elapsed());
    }
    times.sort_unstable();
    times.get(times.len() * 99 / 100).copied()
}

//! Asks a function about each peer that the rules allow; after the first one it
//! takes the network away.
//!
//! `cargo run -p nucleus-supervisor --example ask`

use std::error::Error;
use std::ffi::OsStr;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use nucleus_supervisor::callback::{Arbiter, Context, Event, Verdict, Whom};
use nucleus_supervisor::{NamedSockets, NetPolicy, NetRules, Policy, Registry, Supervisor, spawn};

/// Called for one event after the other.
fn judge(event: &Event, context: &Context, allowed: &mut u32) -> Verdict {
    let said = if event.denied { "denied" } else { "asked" };
    writeln!(std::io::stderr(), "{said}: {event}").ok();
    if event.denied {
        // By the rules, or by what was taken away: nothing to say any more.
        return Verdict::DENY;
    }
    if *allowed == 0 {
        *allowed += 1;
        return Verdict::Audit;
    }
    context.restrict_network(Whom::All, Vec::new());
    Verdict::DENY
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args_os().skip(1);
    if words.next().as_deref() == Some(OsStr::new("connect")) {
        let port = words.next().ok_or("no port")?;
        return connect(port.to_str().ok_or("no port")?.parse()?);
    }
    let peer = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = peer.local_addr()?.port();

    let mut allowed = 0;
    let arbiter = Arbiter::function(Duration::from_secs(5), move |event, context| {
        judge(event, context, &mut allowed)
    })?;
    let rules = NetRules {
        allow: vec![format!("127.0.0.1:{port}").parse()?],
        ..NetRules::default()
    };
    // The program has this process's network, and no named sockets.
    let policy = NetPolicy::start(
        rules,
        false,
        NamedSockets::Beneath(Vec::new()),
        vec!["127.0.0.1:53".parse()?],
    )?
    .ask(arbiter.clone());
    let mut registry = Registry::new();
    Box::new(policy).register(&mut registry)?;

    let mut command = Command::new(std::env::current_exe()?);
    command.arg("connect").arg(port.to_string());
    let filter = registry.program()?;
    let (mut child, supervisor) = spawn(command, filter, |listener| {
        Supervisor::start(listener, registry)
    })?;
    let status = child.wait()?;
    supervisor.wait()?;
    for sentence in arbiter.report() {
        writeln!(std::io::stderr(), "{sentence}")?;
    }
    if status.success() {
        Ok(())
    } else {
        Err("the function's verdicts were not what the program met".into())
    }
}

/// The program: fails unless the first connection alone can be had.
fn connect(port: u16) -> Result<(), Box<dyn Error>> {
    let mut had = [false; 3];
    for had in &mut had {
        *had = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
    }
    if had == [true, false, false] {
        Ok(())
    } else {
        Err(format!("connections: {had:?}").into())
    }
}

//! What the program can reach.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Context, ensure};
use nucleus_core::{Isolation, Network};
use nucleus_supervisor::callback::{self, Arbiter, Power};
use nucleus_supervisor::{NamedSockets, NetPolicy, NetRule, NetRules, Ports};

use crate::policy_file::PolicyFile;
use crate::report;

/// The network that the program sees.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Network")]
pub(crate) struct NetworkArgs {
    /// What the program can reach: nothing but itself, or all that the host can
    #[arg(long, value_enum, default_value_t = NetworkArg::None)]
    #[arg(conflicts_with_all = ["net_allow", "net_allow_bind"])]
    network: NetworkArg,

    /// Let the program talk to a host by name, *.DOMAIN, address or ADDRESS/PREFIX,
    /// at all ports or some, by TCP and UDP or only tcp:// or udp://; repeat for more
    ///
    /// Nothing else is reached then. Loopback and link-local addresses, where
    /// the host's own services and cloud metadata are, must be named as such:
    /// 127.0.0.1:8080, localhost:8080, 169.254.169.254. An IPv6 address with
    /// ports is written in brackets.
    #[arg(long, value_name = "[tcp://|udp://]HOST[:PORTS]")]
    net_allow: Vec<NetRule>,

    /// Never let the program talk to a host, whatever allows it
    #[arg(long, value_name = "[tcp://|udp://]HOST[:PORTS]")]
    net_deny: Vec<NetRule>,

    /// Let the program listen at ports of the host, such as 8080,9000-9099; 0
    /// is whichever is free
    #[arg(long, value_name = "PORTS")]
    net_allow_bind: Option<Ports>,

    /// With --host and rules on the network: let the program use the unix
    /// sockets at or below a path; repeat for more
    #[arg(long, value_name = "PATH", requires = "host")]
    net_allow_unix: Vec<PathBuf>,

    /// Look names up at this server, ADDRESS or ADDRESS:PORT, instead of the
    /// host's; repeat for more
    #[arg(long, value_name = "SERVER", value_parser = server)]
    dns: Vec<SocketAddr>,

    /// Name of the machine that the program sees
    #[arg(long, default_value = "sandbox", value_name = "NAME", value_parser = host_name)]
    hostname: String,

    /// Add a line to /etc/hosts
    #[arg(long = "add-host", value_name = "NAME:IP", value_parser = host_line)]
    hosts: Vec<(String, IpAddr)>,
}

impl Default for NetworkArgs {
    fn default() -> Self {
        Self {
            network: NetworkArg::None,
            net_allow: Vec::new(),
            net_deny: Vec::new(),
            net_allow_bind: None,
            net_allow_unix: Vec::new(),
            dns: Vec::new(),
            hostname: "sandbox".to_owned(),
            hosts: Vec::new(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum NetworkArg {
    /// Its own loopback device
    None,
    /// The host's network
    Host,
}

impl NetworkArgs {
    pub(crate) fn is_host(&self) -> bool {
        self.network == NetworkArg::Host
    }

    /// The rules of the options and of the policy, with a resolver that runs,
    /// if there are rules.
    pub(crate) fn policy(
        &self,
        host: bool,
        policy: &PolicyFile,
        arbiter: Option<&Arbiter>,
        tightened: Option<&callback::Context>,
    ) -> anyhow::Result<Option<NetPolicy>> {
        let by_file = policy.network.as_ref();
        if self.net_allow.is_empty() && self.net_allow_bind.is_none() && by_file.is_none() {
            ensure!(
                self.net_deny.is_empty() && self.dns.is_empty(),
                "--net-deny and --dns go with rules on whom the program may talk to; \
                 add --net-allow '*' for everybody else"
            );
            if arbiter.is_some() && (host || self.is_host()) {
                report::note(
                    "the policy program is not asked about the network, which no rule is about; \
                     --net-allow '*' makes it be asked about each peer",
                );
            }
            if let Some(context) = tightened.filter(|_| !host && !self.is_host()) {
                // Nobody is reached, whatever is taken away from that.
                context.enforces(Power::Network);
            }
            return Ok(None);
        }
        let mut rules = NetRules {
            allow: self.net_allow.clone(),
            deny: self.net_deny.clone(),
            bind: self.net_allow_bind.clone(),
        };
        let mut grants = self.net_allow_unix.clone();
        let mut servers = self.dns.clone();
        if let Some(network) = by_file {
            ensure!(
                !self.is_host(),
                "--network host does not go with [network] of the policy, which the program would get around; leave one out"
            );
            ensure!(
                host || network.unix.is_empty(),
                "`unix` of the policy goes with --host; in a sandbox grant sockets by --volume"
            );
            rules.allow.extend_from_slice(&network.allow);
            rules.deny.extend_from_slice(&network.deny);
            rules.bind = match (rules.bind, network.bind.clone()) {
                (Some(ports), Some(more)) => Some(ports.and(more)),
                (ports, more) => ports.or(more),
            };
            grants.extend_from_slice(&network.unix);
            servers.extend_from_slice(&network.dns);
        }
        let named = if host {
            NamedSockets::Beneath(unix_grants(&grants)?)
        } else {
            NamedSockets::Visible
        };
        let mut policy = NetPolicy::start(rules, !host, named, servers)?;
        if let Some(context) = tightened {
            policy = policy.tightened_by(context);
        }
        Ok(Some(match arbiter {
            Some(arbiter) => policy.ask(arbiter.clone()),
            None => policy,
        }))
    }

    /// The sandbox with this network.
    pub(crate) fn apply(&self, sandbox: Isolation, policy: Option<&NetPolicy>) -> Isolation {
        let mut sandbox = sandbox
            .network(match self.network {
                NetworkArg::None => Network::None,
                NetworkArg::Host => Network::Host,
            })
            .hostname(&self.hostname);
        if let Some(policy) = policy {
            sandbox = sandbox.nameserver(policy.nameserver());
        }
        for (name, address) in &self.hosts {
            sandbox = sandbox.add_host(name, *address);
        }
        sandbox
    }
}

/// The granted paths by their real names, which is what sockets are known by.
fn unix_grants(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let grants = paths.iter().map(|path| {
        path.canonicalize()
            .with_context(|| format!("cannot find {} to grant its sockets", path.display()))
    });
    grants.collect()
}

pub(crate) fn server(text: &str) -> Result<SocketAddr, String> {
    let plain = || Some(SocketAddr::new(text.parse().ok()?, 53));
    text.parse().ok().or_else(plain).ok_or_else(|| {
        format!(
            "{text:?} is no name server; one is written 192.0.2.1, 192.0.2.1:53 or [2001:db8::1]:53"
        )
    })
}

/// What sethostname(2) takes, and what stands alone in `/etc/hosts`.
fn host_name(text: &str) -> Result<String, String> {
    const LONGEST: usize = 64;
    if text.is_empty() || text.len() > LONGEST || !is_plain(text) {
        return Err(format!(
            "{text:?} is no host name: 1 to {LONGEST} letters, digits, - _ and ."
        ));
    }
    Ok(text.to_owned())
}

fn is_plain(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    name.chars().all(plain)
}

fn host_line(text: &str) -> Result<(String, IpAddr), String> {
    let (name, address) = text
        .split_once(':')
        .ok_or("a host is written NAME:IP, such as db:127.0.0.1")?;
    if name.is_empty() || !is_plain(name) {
        return Err(format!("{name:?} is no host name"));
    }
    let address = address.trim_matches(['[', ']']);
    match address.parse() {
        Ok(address) => Ok((name.to_owned(), address)),
        Err(_) => Err(format!("{address:?} is no IP address")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_have_a_port() {
        let check = |text, expected: &str| {
            assert_eq!(server(text).expect("a server").to_string(), expected);
        };
        check("192.0.2.1", "192.0.2.1:53");
        check("192.0.2.1:5353", "192.0.2.1:5353");
        check("2001:db8::1", "[2001:db8::1]:53");
        assert!(server("dns.example").is_err());
    }

    #[test]
    fn hosts_are_checked() {
        assert!(host_line("db:10.0.0.1").is_ok());
        assert!(host_line("db:[::1]").is_ok());
        assert!(host_line("db").is_err());
        assert!(host_line("d b:1.1.1.1").is_err());
        assert!(host_name("build-1.local").is_ok());
        for wrong in ["", "a b", "a\nb", &"a".repeat(65)] {
            assert!(host_name(wrong).is_err(), "{wrong:?}");
        }
    }
}

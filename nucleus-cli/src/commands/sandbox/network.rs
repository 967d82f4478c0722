//! What the program can reach.

use std::ffi::OsString;
use std::net::IpAddr;

use nucleus_core::{Isolation, Network};

/// The network that the program sees.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Network")]
pub(crate) struct NetworkArgs {
    /// What the program can reach: nothing but itself, or all that the host can
    #[arg(long, value_enum, default_value_t = NetworkArg::None)]
    network: NetworkArg,

    /// Name of the machine that the program sees
    #[arg(long, default_value = "sandbox", value_name = "NAME")]
    hostname: OsString,

    /// Add a line to /etc/hosts
    #[arg(long = "add-host", value_name = "NAME:IP", value_parser = host_line)]
    hosts: Vec<(String, IpAddr)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum NetworkArg {
    /// Its own loopback device
    None,
    /// The host's network
    Host,
}

impl NetworkArgs {
    /// The sandbox with this network.
    pub(crate) fn apply(&self, sandbox: Isolation) -> Isolation {
        let mut sandbox = sandbox
            .network(match self.network {
                NetworkArg::None => Network::None,
                NetworkArg::Host => Network::Host,
            })
            .hostname(&self.hostname);
        for (name, address) in &self.hosts {
            sandbox = sandbox.add_host(name, *address);
        }
        sandbox
    }
}

fn host_line(text: &str) -> Result<(String, IpAddr), String> {
    let (name, address) = text
        .split_once(':')
        .ok_or("a host is written NAME:IP, such as db:127.0.0.1")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || !name.chars().all(plain) {
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
    fn hosts_are_checked() {
        assert!(host_line("db:10.0.0.1").is_ok());
        assert!(host_line("db:[::1]").is_ok());
        assert!(host_line("db").is_err());
        assert!(host_line("d b:1.1.1.1").is_err());
    }
}

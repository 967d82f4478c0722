//! Why the rules on the network have denied something.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::consult::About;
use super::{Guard, Judge, Protocol};
use crate::denial::Ear;
use crate::{Denial, Request};

impl Guard {
    /// Why a call is denied, by the rules, or by whoever was asked after them.
    pub(super) fn reason(&self, request: &Request, about: About<'_>, by_rules: bool) -> Denial {
        let name = request.call().and_then(nucleus_seccomp::Syscall::name);
        let (what, why, remedy) = match about {
            About::Peer(protocol, peer) => {
                let verb = match name {
                    Some("connect") => "connect to",
                    _ => "send to",
                };
                let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                let names = self.judge.names_of(peer.ip(), Instant::now());
                let known = match names.as_slice() {
                    [] => String::new(),
                    names => format!(" ({})", names.join(", ")),
                };
                let what = format!("{verb} {}{peer}{known}", prefix(protocol));
                let (why, remedy) = self.judge.why_not(protocol, peer, names.first());
                (what, why, Some(remedy))
            }
            About::Own(protocol, own) => {
                let verb = match name {
                    Some("listen") => "listen at",
                    _ => "bind to",
                };
                let port = own.port();
                (
                    format!("{verb} {}{own}", prefix(protocol)),
                    "no rule allows the port".to_owned(),
                    Some(format!("add --net-allow-bind {port}")),
                )
            }
            About::Named(path) => (
                format!("use the socket {}", path.display()),
                "no rule allows it".to_owned(),
                Some(format!("add --net-allow-unix {}", path.display())),
            ),
        };
        if by_rules {
            Denial { what, why, remedy }
        } else {
            let why = "the policy that is asked denies it".to_owned();
            Denial {
                what,
                why,
                remedy: None,
            }
        }
    }
}

/// TCP goes without saying.
const fn prefix(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "",
        Protocol::Udp => "udp://",
    }
}

impl Judge {
    /// Why a peer may not be talked to, and what would change that.
    fn why_not(
        &self,
        protocol: Protocol,
        peer: SocketAddr,
        name: Option<&String>,
    ) -> (String, String) {
        if let Some(rule) = self.denying(protocol, peer, Instant::now()) {
            let rule = format!("--net-deny {rule}");
            return (format!("{rule} denies it"), format!("leave out {rule}"));
        }
        let special = super::judge::is_special(peer.ip());
        let host = match name {
            Some(name) if !special => format!("{name}:{}", peer.port()),
            _ => SocketAddr::new(peer.ip().to_canonical(), peer.port()).to_string(),
        };
        let why = match (special, peer.ip().to_canonical()) {
            (false, _) => "no rule allows it",
            (true, IpAddr::V4(v4)) if v4.is_loopback() || v4.is_unspecified() => {
                "no rule names it, which a rule for the host itself must"
            }
            (true, _) => "no rule names it, which a rule for such an address must",
        };
        let add = format!("add --net-allow {}{host}", prefix(protocol));
        (why.to_owned(), add)
    }

    /// Whoever hears of denials hears of names that are not looked up, too.
    pub(super) fn tell(&self, ear: Ear) {
        // The rules are registered once.
        let _first: Result<(), Ear> = self.ear.set(ear);
    }

    /// A name was asked for that no rule allows.
    pub(crate) fn tell_unknown(&self, name: &str) {
        let Some(ear) = self.ear.get() else {
            return;
        };
        let denying = self.deny.iter().find(|rule| rule.matches_name(name));
        let (why, remedy) = match denying {
            Some(rule) => (
                format!("--net-deny {rule} denies it"),
                format!("leave out --net-deny {rule}"),
            ),
            None => (
                "no rule allows it".to_owned(),
                format!("add --net-allow {name}"),
            ),
        };
        ear.hear(None, None, None, || Denial {
            what: format!("look up {}", name.escape_default()),
            why,
            remedy: Some(remedy),
        });
    }
}

//! The judgement on an address.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::denial::Ear;

use super::rule::{Net, NetRule, Ports, Protocol, Target};

/// An address is admitted for at least as long: programs look a name up and
/// use what they got a little later.
const SHORTEST: Duration = Duration::from_secs(60);

/// And at most as long, whatever the answer says.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Addresses that reach something else than what a broad rule is meant for: the
/// host itself, and services that give out credentials to whoever asks. Only a
/// rule that lies within one of these blocks allows them.
const SPECIAL: [Net; 8] = [
    Net::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8),
    Net::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 128),
    Net::new(IpAddr::V4(Ipv4Addr::new(169, 254, 0, 0)), 16),
    Net::new(IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)), 10),
    // Metadata of AWS by IPv6, and of Alibaba Cloud.
    Net::new(
        IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
        128,
    ),
    Net::new(IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)), 32),
    // Multicast: whoever listens.
    Net::new(IpAddr::V4(Ipv4Addr::new(224, 0, 0, 0)), 4),
    Net::new(IpAddr::V6(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0)), 8),
];

/// The names of an address, each with its end.
type Admitted = BTreeMap<IpAddr, BTreeMap<(String, Role), Instant>>;

/// What a name of an address is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    /// It was asked for.
    Asked,
    /// One that was asked for leads through it: whoever owns that one says so,
    /// and so it can only be denied by it.
    Alias,
}

/// The rules, and the addresses that allowed names have.
#[derive(Debug)]
pub(crate) struct Judge {
    pub(super) allow: Vec<NetRule>,
    pub(super) deny: Vec<NetRule>,
    pub(super) bind: Option<Ports>,
    admitted: Mutex<Admitted>,
    pub(super) ear: OnceLock<Ear>,
}

impl Judge {
    pub(super) fn new(allow: Vec<NetRule>, deny: Vec<NetRule>, bind: Option<Ports>) -> Self {
        Self {
            allow,
            deny,
            bind,
            admitted: Mutex::default(),
            ear: OnceLock::new(),
        }
    }

    /// Whether an address may be talked to.
    pub(super) fn allows(&self, protocol: Protocol, peer: SocketAddr, now: Instant) -> bool {
        self.denying(protocol, peer, now).is_none() && self.is_in(&self.allow, protocol, peer, now)
    }

    /// The rule that denies a peer, if one does.
    pub(super) fn denying(
        &self,
        protocol: Protocol,
        peer: SocketAddr,
        now: Instant,
    ) -> Option<&NetRule> {
        let address = reached(peer.ip());
        let mut names = self.names(address, Role::Asked, now);
        names.extend(self.names(address, Role::Alias, now));
        let concerned = |rule: &&NetRule| rule.matches_service(protocol, peer.port());
        let named = |rule: &NetRule| names.iter().any(|name| rule.matches_name(name));
        self.deny.iter().filter(concerned).find(|rule| {
            named(rule)
                || [Some(address), embedded(address)]
                    .into_iter()
                    .flatten()
                    .any(|address| covers(rule, address))
        })
    }

    /// Whether a peer is one of these.
    pub(super) fn is_in(
        &self,
        rules: &[NetRule],
        protocol: Protocol,
        peer: SocketAddr,
        now: Instant,
    ) -> bool {
        let address = reached(peer.ip());
        let names = self.names(address, Role::Asked, now);
        let named = |rule: &NetRule| names.iter().any(|name| rule.matches_name(name));
        let concerned = |rule: &&NetRule| rule.matches_service(protocol, peer.port());
        let special = |address: IpAddr| SPECIAL.iter().find(|special| special.contains(address));
        let special = special(address).or_else(|| embedded(address).and_then(special));
        rules.iter().filter(concerned).any(|rule| {
            match special {
                // A name that leads here must not: whoever owns it could make
                // it lead to the host.
                Some(special) => is_named(rule, special) && covers(rule, address),
                None => named(rule) || covers(rule, address),
            }
        })
    }

    /// The names by which an address was answered.
    pub(super) fn names_of(&self, address: IpAddr, now: Instant) -> Vec<String> {
        self.names(reached(address), Role::Asked, now)
    }

    /// Whether a port may be bound to. One that the kernel chooses is a
    /// client's, until it is listened at.
    pub(super) fn may_bind(&self, port: u16) -> bool {
        port == 0 || self.bind.as_ref().is_some_and(|ports| ports.contain(port))
    }

    /// Whether a port may be listened at.
    pub(super) fn may_listen(&self, port: u16) -> bool {
        // Port 0 stands for whichever the kernel chooses.
        self.bind
            .as_ref()
            .is_some_and(|ports| ports.contain(port) || ports.contain(0))
    }

    /// Whether a rule allows a group to be talked to, and so to be joined.
    pub(super) fn names_multicast(&self) -> bool {
        self.allow.iter().any(|rule| match &rule.target {
            Target::Net(net) => SPECIAL
                .iter()
                .any(|special| special.is_multicast() && net.is_within(special)),
            _ => false,
        })
    }

    /// Whether a name may be looked up.
    pub(crate) fn may_resolve(&self, name: &str) -> bool {
        self.allow.iter().any(|rule| rule.matches_name(name)) && !self.denies_name(name)
    }

    /// Whether nothing that has a name may be talked to.
    pub(crate) fn denies_name(&self, name: &str) -> bool {
        self.deny.iter().any(|rule| {
            rule.matches_name(name) && rule.protocol.is_none() && rule.ports == Ports::ALL
        })
    }

    /// Takes note of an address that was given as a name's, which led there
    /// through these aliases.
    pub(crate) fn admit(
        &self,
        name: &str,
        aliases: &[String],
        address: IpAddr,
        ttl: Duration,
        now: Instant,
    ) {
        let until = now + ttl.clamp(SHORTEST, LONGEST);
        let mut admitted = self.admitted();
        admitted.retain(|_, names| {
            names.retain(|_, until| *until > now);
            !names.is_empty()
        });
        let names = admitted.entry(reached(address)).or_default();
        let aliases = aliases.iter().map(|alias| (alias.clone(), Role::Alias));
        for name in aliases.chain([(name.to_owned(), Role::Asked)]) {
            let known = names.entry(name).or_insert(until);
            *known = until.max(*known);
        }
    }

    /// Whether an address may be answered for a name at all.
    pub(crate) fn may_lead_to(&self, address: IpAddr) -> bool {
        let address = reached(address);
        if is_special(address) {
            return self.allow.iter().any(|rule| covers(rule, address));
        }
        true
    }

    fn names(&self, address: IpAddr, role: Role, now: Instant) -> Vec<String> {
        let admitted = self.admitted();
        let names = admitted.get(&address).into_iter().flatten();
        names
            .filter(|((_, its), until)| *its == role && **until > now)
            .map(|((name, _), _)| name.clone())
            .collect()
    }

    fn admitted(&self) -> MutexGuard<'_, Admitted> {
        // Nothing panics between changes that belong together.
        self.admitted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a broad rule does not mean this address.
pub(super) fn is_special(address: IpAddr) -> bool {
    let is_special = |address| SPECIAL.iter().any(|special| special.contains(address));
    let address = reached(address);
    is_special(address) || embedded(address).is_some_and(is_special)
}

/// Whether a rule speaks of a special block itself.
fn is_named(rule: &NetRule, special: &Net) -> bool {
    match &rule.target {
        Target::Net(net) => net.is_within(special),
        Target::Host(name) => name == LOCALHOST,
        Target::Any | Target::Below(_) => false,
    }
}

const LOCALHOST: &str = "localhost";

fn covers(rule: &NetRule, address: IpAddr) -> bool {
    match &rule.target {
        Target::Any => true,
        Target::Net(net) => net.contains(address),
        Target::Host(name) => name == LOCALHOST && address.is_loopback(),
        Target::Below(_) => false,
    }
}

/// Where a packet to an address goes: an IPv4 address in IPv6 clothes is
/// itself, and the unspecified address is this host (ip(7)).
fn reached(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) if v4.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(v6) if v6.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        address => address,
    }
}

/// The IPv4 address that a translator or tunnel would make of an address: NAT64
/// (RFC 6052, with the usual length of RFC 8215's prefix, too), SIIT (RFC 7915),
/// 6to4 (RFC 3056), and the deprecated compatible form.
fn embedded(address: IpAddr) -> Option<IpAddr> {
    let IpAddr::V6(v6) = address else {
        return None;
    };
    let v4 = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        Some(reached(Ipv4Addr::new(a, b, c, d).into()))
    };
    match v6.segments() {
        [0x64, 0xff9b, 0 | 1, 0, 0, 0, high, low] | [0, 0, 0, 0, 0xffff, 0, high, low] => {
            v4(high, low)
        }
        [0x2002, high, low, ..] => v4(high, low),
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => v4(high, low),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(allow: &[&str], deny: &[&str]) -> Judge {
        let rules = |texts: &[&str]| -> Vec<NetRule> {
            let rules = texts.iter().map(|text| text.parse().expect("a rule"));
            rules.collect()
        };
        Judge::new(rules(allow), rules(deny), None)
    }

    fn check(judge: &Judge, peer: &str, expected: bool) {
        let peer: SocketAddr = peer.parse().expect("an address");
        let allowed = judge.allows(Protocol::Tcp, peer, Instant::now());
        assert_eq!(allowed, expected, "{peer}");
    }

    #[test]
    fn nothing_is_allowed_that_no_rule_allows() {
        check(&judge(&[], &[]), "192.0.2.1:80", false);
        let some = judge(&["192.0.2.0/24:80", "udp://198.51.100.1"], &[]);
        check(&some, "192.0.2.1:80", true);
        check(&some, "[::ffff:192.0.2.1]:80", true);
        check(&some, "192.0.2.1:81", false);
        check(&some, "192.0.3.1:80", false);
        check(&some, "198.51.100.1:80", false);
    }

    #[test]
    fn a_denial_wins_in_every_clothing() {
        let some = judge(&["*"], &["192.0.2.1"]);
        check(&some, "192.0.2.2:80", true);
        check(&some, "192.0.2.1:80", false);
        check(&some, "[::ffff:192.0.2.1]:80", false);
        check(&some, "[64:ff9b::192.0.2.1]:80", false);
        check(&some, "[2002:c000:0201::1]:80", false);
        check(&some, "[64:ff9b:1::192.0.2.1]:80", false);
        check(&some, "[::ffff:0:192.0.2.1]:80", false);
    }

    #[test]
    fn the_host_and_metadata_must_be_named() {
        let broad = judge(&["*", "0.0.0.0/0", "::/0"], &[]);
        for peer in [
            "127.0.0.1:80",
            "0.0.0.0:80",
            "[::]:80",
            "[::1]:80",
            "169.254.169.254:80",
            "[::ffff:169.254.169.254]:80",
            "[64:ff9b::169.254.169.254]:80",
            "[fd00:ec2::254]:80",
            "[fe80::1]:80",
            "224.0.0.1:80",
            "[ff02::1]:80",
        ] {
            check(&broad, peer, false);
        }
        let named = judge(&["169.254.169.254:80", "localhost:8080"], &[]);
        check(&named, "169.254.169.254:80", true);
        check(&named, "169.254.169.253:80", false);
        check(&named, "127.0.0.1:8080", true);
        check(&named, "0.0.0.0:8080", true);
        check(&named, "[::1]:8080", true);
        check(&named, "127.0.0.1:80", false);
    }

    #[test]
    fn a_name_admits_what_it_was_resolved_to_for_a_time() {
        let some = judge(&["*.example.org:443"], &["bad.example.org"]);
        let now = Instant::now();
        let address: IpAddr = "192.0.2.7".parse().expect("an address");
        let peer = SocketAddr::new(address, 443);
        assert!(!some.allows(Protocol::Tcp, peer, now));
        assert!(some.may_resolve("a.example.org"));
        assert!(!some.may_resolve("example.org"));
        assert!(!some.may_resolve("bad.example.org"));
        some.admit("a.example.org", &[], address, Duration::from_secs(300), now);
        assert!(some.allows(Protocol::Tcp, peer, now));
        assert!(!some.allows(Protocol::Tcp, SocketAddr::new(address, 80), now));
        assert!(some.allows(Protocol::Tcp, peer, now + Duration::from_secs(299)));
        assert!(!some.allows(Protocol::Tcp, peer, now + Duration::from_secs(301)));
    }

    #[test]
    fn a_name_does_not_lead_to_the_host() {
        let some = judge(&["evil.example"], &[]);
        let address = IpAddr::from([127, 0, 0, 1]);
        let now = Instant::now();
        assert!(!some.may_lead_to(address));
        assert!(!some.may_lead_to("::ffff:169.254.169.254".parse().expect("an address")));
        some.admit("evil.example", &[], address, Duration::ZERO, now);
        assert!(!some.allows(Protocol::Tcp, (address, 80).into(), now));
    }

    #[test]
    fn an_alias_can_deny_and_allows_nothing() {
        let some = judge(&["good.test", "friend.test:22"], &["bad.test:80"]);
        let now = Instant::now();
        let address: IpAddr = "192.0.2.7".parse().expect("an address");
        let aliases = ["bad.test", "friend.test"].map(str::to_owned);
        some.admit("good.test", &aliases, address, Duration::ZERO, now);
        let may = |port| some.allows(Protocol::Tcp, (address, port).into(), now);
        assert!(may(443));
        assert!(!may(80));
        let other = judge(&["good.test:80", "friend.test:22"], &[]);
        other.admit("good.test", &aliases, address, Duration::ZERO, now);
        assert!(!other.allows(Protocol::Tcp, (address, 22).into(), now));
    }
}

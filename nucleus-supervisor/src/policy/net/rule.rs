//! What a program may talk to, as its user writes it.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// One rule: `[tcp://|udp://]TARGET[:PORTS]`.
///
/// ```
/// use nucleus_supervisor::NetRule;
///
/// let rule: NetRule = "tcp://*.example.org:80,443".parse()?;
/// assert_eq!(rule.to_string(), "tcp://*.example.org:80,443");
/// assert!("[2001:db8::1]:443".parse::<NetRule>().is_ok());
/// assert!("10.0.0.0/33".parse::<NetRule>().is_err());
/// # Ok::<(), nucleus_supervisor::RuleError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetRule {
    pub(super) protocol: Option<Protocol>,
    pub(super) target: Target,
    pub(super) ports: Ports,
}

/// Whom a rule is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// `*`: any address, but for those that must be named.
    Any,
    /// A host by its name, in lower case.
    Host(String),
    /// `*.DOMAIN`: every name below a domain, not the domain itself.
    Below(String),
    /// Addresses.
    Net(Net),
}

/// A block of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Net {
    address: IpAddr,
    prefix: u8,
}

/// Ports, as ranges: `443`, `80,443`, `8000-8099`. No list means every port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ports(Option<Vec<(u16, u16)>>);

/// A rule that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleError {
    /// No target.
    #[error("a rule needs a host, such as example.org:443")]
    Empty,
    /// `http://` and the like.
    #[error("{0:?} is no transport protocol; there are tcp:// and udp://")]
    Protocol(String),
    /// `[` without `]`, or something but a port behind it.
    #[error("{0:?}: an IPv6 address with ports is written [ADDRESS]:PORTS")]
    Brackets(String),
    /// Neither a name nor an address.
    #[error("{0:?} is no host name, *.DOMAIN, address or ADDRESS/PREFIX")]
    Host(String),
    /// A prefix that the family does not have.
    #[error("{prefix:?} is no prefix length for {address}; it goes up to {most}")]
    Prefix {
        /// What was written.
        prefix: String,
        /// For which address.
        address: IpAddr,
        /// The longest.
        most: u8,
    },
    /// Bits behind the prefix.
    #[error("{address}/{prefix} has bits behind its prefix; the block is {block}/{prefix}")]
    Bits {
        /// What was written.
        address: IpAddr,
        /// Its prefix length.
        prefix: u8,
        /// The first address of the block.
        block: IpAddr,
    },
    /// A port that is none.
    #[error("{0:?} is no port, list or range of ports (80,443 or 8000-8099)")]
    Ports(String),
}

impl NetRule {
    /// The name that an exact rule is about.
    pub(super) fn matches_name(&self, name: &str) -> bool {
        match &self.target {
            Target::Any => true,
            Target::Host(host) => host == name,
            Target::Below(domain) => name
                .strip_suffix(domain.as_str())
                .and_then(|rest| rest.strip_suffix('.'))
                .is_some_and(|rest| !rest.is_empty()),
            Target::Net(_) => false,
        }
    }

    pub(super) fn matches_service(&self, protocol: Protocol, port: u16) -> bool {
        self.protocol.is_none_or(|only| only == protocol) && self.ports.contain(port)
    }
}

impl Net {
    pub(super) const fn new(address: IpAddr, prefix: u8) -> Self {
        Self { address, prefix }
    }

    pub(super) fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => {
                first(address, self.prefix) == self.address
            }
            _ => false,
        }
    }

    pub(super) const fn is_multicast(&self) -> bool {
        self.address.is_multicast()
    }

    /// Whether all of this is in `other`.
    pub(super) fn is_within(&self, other: &Self) -> bool {
        self.prefix >= other.prefix && other.contains(self.address)
    }
}

impl Ports {
    /// Every port.
    pub(super) const ALL: Self = Self(None);

    /// These and those.
    #[must_use]
    pub fn and(self, more: Self) -> Self {
        match (self.0, more.0) {
            (Some(mut ranges), Some(more)) => {
                ranges.extend(more);
                Self(Some(ranges))
            }
            _ => Self::ALL,
        }
    }

    /// Whether a port is among them.
    #[must_use]
    pub fn contain(&self, port: u16) -> bool {
        self.0.as_ref().is_none_or(|ranges| {
            ranges
                .iter()
                .any(|(from, to)| (*from..=*to).contains(&port))
        })
    }
}

/// The first address of the block that an address is in.
fn first(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V4((u32::from(address) & mask).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V6((u128::from(address) & mask).into())
        }
    }
}

impl FromStr for NetRule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let (protocol, rest) = match text.split_once("://") {
            None => (None, text),
            Some(("tcp", rest)) => (Some(Protocol::Tcp), rest),
            Some(("udp", rest)) => (Some(Protocol::Udp), rest),
            Some((other, _)) => return Err(RuleError::Protocol(other.to_owned())),
        };
        let (host, ports) = split_ports(rest)?;
        Ok(Self {
            protocol,
            target: host.parse()?,
            ports: ports.map_or(Ok(Ports::ALL), str::parse)?,
        })
    }
}

/// Divides at the colon of the ports; an IPv6 address has colons of its own.
fn split_ports(text: &str) -> Result<(&str, Option<&str>), RuleError> {
    if let Some(inner) = text.strip_prefix('[') {
        let wrong = || RuleError::Brackets(text.to_owned());
        let (address, rest) = inner.split_once(']').ok_or_else(wrong)?;
        if address
            .split('/')
            .next()
            .unwrap_or_default()
            .parse::<Ipv6Addr>()
            .is_err()
        {
            return Err(wrong());
        }
        return match rest.strip_prefix(':') {
            Some(ports) => Ok((address, Some(ports))),
            None if rest.is_empty() => Ok((address, None)),
            None => Err(wrong()),
        };
    }
    match text.split_once(':') {
        Some((_, rest)) if rest.contains(':') => Ok((text, None)),
        Some((host, ports)) => Ok((host, Some(ports))),
        None => Ok((text, None)),
    }
}

impl FromStr for Target {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        if text.is_empty() {
            return Err(RuleError::Empty);
        }
        if text == "*" {
            return Ok(Self::Any);
        }
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        if let Ok(address) = address.parse() {
            return net(address, prefix).map(Self::Net);
        }
        let wrong = || RuleError::Host(text.to_owned());
        let (name, below) = match text.strip_prefix("*.") {
            Some(domain) => (domain, true),
            None => (text, false),
        };
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        // Digits and dots alone would be an address to some and a name to others.
        if !is_name(&name)
            || name
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'.')
        {
            return Err(wrong());
        }
        Ok(if below {
            Self::Below(name)
        } else {
            Self::Host(name)
        })
    }
}

fn net(address: IpAddr, prefix: Option<&str>) -> Result<Net, RuleError> {
    // As a program can write it in two ways, it is kept in one.
    let mapped = matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
    let most = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix {
        None => most,
        Some(text) => text
            .parse()
            .ok()
            .filter(|prefix| *prefix <= most)
            .ok_or_else(|| RuleError::Prefix {
                prefix: text.to_owned(),
                address,
                most,
            })?,
    };
    let block = first(address, prefix);
    if block != address {
        return Err(RuleError::Bits {
            address,
            prefix,
            block,
        });
    }
    if mapped && prefix >= 96 {
        return Ok(Net::new(address.to_canonical(), prefix - 96));
    }
    Ok(Net::new(address, prefix))
}

/// Labels of letters, digits, hyphens and underscores, within DNS's lengths.
fn is_name(name: &str) -> bool {
    name.len() <= 253
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        })
}

impl FromStr for Ports {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let wrong = || RuleError::Ports(text.to_owned());
        let port = |text: &str| -> Option<u16> {
            let plain = text.bytes().all(|byte| byte.is_ascii_digit());
            plain.then(|| text.parse().ok()).flatten()
        };
        let mut ranges = Vec::new();
        for part in text.split(',') {
            let range = match part.split_once('-') {
                None => port(part).map(|port| (port, port)),
                Some((from, to)) => port(from).zip(port(to)),
            };
            ranges.push(range.filter(|(from, to)| from <= to).ok_or_else(wrong)?);
        }
        Ok(Self(Some(ranges)))
    }
}

impl fmt::Display for NetRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.protocol {
            Some(Protocol::Tcp) => f.write_str("tcp://")?,
            Some(Protocol::Udp) => f.write_str("udp://")?,
            None => {}
        }
        match &self.target {
            Target::Any => f.write_str("*")?,
            Target::Host(name) => f.write_str(name)?,
            Target::Below(domain) => write!(f, "*.{domain}")?,
            Target::Net(net) => {
                let most = if net.address.is_ipv4() { 32 } else { 128 };
                let bracketed = net.address.is_ipv6() && self.ports != Ports::ALL;
                f.write_str(if bracketed { "[" } else { "" })?;
                write!(f, "{}", net.address)?;
                if net.prefix != most {
                    write!(f, "/{}", net.prefix)?;
                }
                f.write_str(if bracketed { "]" } else { "" })?;
            }
        }
        if self.ports != Ports::ALL {
            write!(f, ":{}", self.ports)?;
        }
        Ok(())
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(ranges) = &self.0 else {
            return f.write_str("0-65535");
        };
        for (index, (from, to)) in ranges.iter().enumerate() {
            f.write_str(if index > 0 { "," } else { "" })?;
            write!(f, "{from}")?;
            if from != to {
                write!(f, "-{to}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_written_as_they_are_read() {
        for text in [
            "example.org",
            "example.org:443",
            "tcp://*.example.org:80,443,8000-8099",
            "udp://10.0.0.0/8:53",
            "192.0.2.1",
            "2001:db8::/32",
            "[2001:db8::1]:443",
            "*:443",
        ] {
            let rule: NetRule = text.parse().expect(text);
            assert_eq!(rule.to_string(), text);
        }
        let check = |text: &str, expected: &str| {
            let rule: NetRule = text.parse().expect(text);
            assert_eq!(rule.to_string(), expected);
        };
        check("Example.ORG.", "example.org");
        check("[::1]", "::1");
        check("::ffff:192.0.2.1", "192.0.2.1");
        check("[2001:db8::/32]:1", "[2001:db8::/32]:1");
    }

    #[test]
    fn what_is_no_rule_says_why() {
        let check = |text: &str, part: &str| {
            let error = text.parse::<NetRule>().expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        };
        check("", "needs a host");
        check(":443", "needs a host");
        check("http://a", "tcp:// and udp://");
        check("[::1", "[ADDRESS]:PORTS");
        check("[::1]443", "[ADDRESS]:PORTS");
        check("[10.0.0.1]:1", "[ADDRESS]:PORTS");
        check("10.0.0.0/33", "goes up to 32");
        check("10.0.0.1/8", "the block is 10.0.0.0/8");
        check("a:b", "no port");
        check("a:70000", "no port");
        check("a:+1", "no port");
        check("a:9-8", "no port");
        check("a:", "no port");
        check("1.2.3", "no host name");
        check("a b", "no host name");
        check("a.*.b", "no host name");
        check("-a", "no host name");
        check("/run/socket", "no host name");
    }

    #[test]
    fn a_wildcard_means_what_is_below() {
        let rule: NetRule = "*.example.org".parse().expect("a rule");
        assert!(rule.matches_name("a.example.org"));
        assert!(rule.matches_name("b.a.example.org"));
        assert!(!rule.matches_name("example.org"));
        assert!(!rule.matches_name("badexample.org"));
        assert!(!rule.matches_name(".example.org"));
    }
}

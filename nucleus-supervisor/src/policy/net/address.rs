//! Socket addresses as bytes: read once from the caller, judged, and used.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use rustix::io::Errno;

/// Families (`include/linux/socket.h`).
pub(super) const AF_UNSPEC: u16 = 0;
pub(in crate::policy) const AF_UNIX: u16 = 1;
pub(super) const AF_INET: u16 = 2;
pub(super) const AF_INET6: u16 = 10;
pub(super) const AF_NETLINK: u16 = 16;

/// Shortest `struct sockaddr_in6` that the kernel takes (`SIN6_LEN_RFC2133`).
const SIN6_SHORTEST: usize = 24;

/// Longest path in `struct sockaddr_un`.
const SUN_PATH: usize = 108;

/// A socket address of the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::policy) enum Address {
    /// `AF_UNSPEC`: with connect(2), no peer any more.
    Unspecified,
    Inet(SocketAddr),
    /// A name in the file system.
    UnixPath(Vec<u8>),
    /// A name in the network namespace, or none (which asks for one).
    UnixAbstract,
    /// Of another family.
    Other(u16),
}

impl Address {
    /// Reads an address as the kernel does.
    ///
    /// # Errors
    ///
    /// It is too short for its family (EINVAL).
    pub(in crate::policy) fn parse(bytes: &[u8]) -> Result<Self, Errno> {
        let Some((&[low, high], rest)) = bytes.split_first_chunk() else {
            return Err(Errno::INVAL);
        };
        match u16::from_ne_bytes([low, high]) {
            AF_UNSPEC => Ok(Self::Unspecified),
            AF_INET => parse_v4(rest).ok_or(Errno::INVAL),
            AF_INET6 if bytes.len() < SIN6_SHORTEST => Err(Errno::INVAL),
            AF_INET6 => parse_v6(rest).ok_or(Errno::INVAL),
            AF_UNIX => {
                let path = rest.get(..SUN_PATH).unwrap_or(rest);
                let end = path.iter().position(|&byte| byte == 0);
                Ok(match path {
                    [] | [0, ..] => Self::UnixAbstract,
                    _ => Self::UnixPath(path[..end.unwrap_or(path.len())].to_vec()),
                })
            }
            family => Ok(Self::Other(family)),
        }
    }
}

/// `struct sockaddr_in` behind its family; the kernel wants all 16 bytes.
fn parse_v4(rest: &[u8]) -> Option<Address> {
    let (port, rest) = rest.split_first_chunk()?;
    let (ip, rest) = rest.split_first_chunk::<4>()?;
    (rest.len() >= 8).then(|| {
        let ip = Ipv4Addr::from(*ip);
        Address::Inet(SocketAddrV4::new(ip, u16::from_be_bytes(*port)).into())
    })
}

/// `struct sockaddr_in6` behind its family, with or without the scope.
fn parse_v6(rest: &[u8]) -> Option<Address> {
    let (port, rest) = rest.split_first_chunk()?;
    let (flow, rest) = rest.split_first_chunk()?;
    let (ip, rest) = rest.split_first_chunk::<16>()?;
    let scope = rest
        .first_chunk()
        .map_or(0, |scope| u32::from_ne_bytes(*scope));
    let address = SocketAddrV6::new(
        Ipv6Addr::from(*ip),
        u16::from_be_bytes(*port),
        u32::from_be_bytes(*flow),
        scope,
    );
    Some(Address::Inet(address.into()))
}

/// An address in the kernel's form, for a socket of IPv6 as an IPv6 one.
pub(super) fn inet_bytes(address: SocketAddr, for_v6: bool) -> Vec<u8> {
    let port = address.port().to_be_bytes();
    match address {
        SocketAddr::V4(v4) if !for_v6 => {
            let mut bytes = AF_INET.to_ne_bytes().to_vec();
            bytes.extend(port);
            bytes.extend(v4.ip().octets());
            bytes.extend([0; 8]);
            bytes
        }
        _ => {
            let (ip, flow, scope) = match address {
                SocketAddr::V4(v4) => (v4.ip().to_ipv6_mapped(), 0, 0),
                SocketAddr::V6(v6) => (*v6.ip(), v6.flowinfo(), v6.scope_id()),
            };
            let mut bytes = AF_INET6.to_ne_bytes().to_vec();
            bytes.extend(port);
            bytes.extend(flow.to_be_bytes());
            bytes.extend(ip.octets());
            bytes.extend(scope.to_ne_bytes());
            bytes
        }
    }
}

/// A path in the kernel's form.
///
/// # Errors
///
/// It is too long (ENAMETOOLONG).
pub(in crate::policy) fn unix_bytes(path: &[u8]) -> Result<Vec<u8>, Errno> {
    if path.len() >= SUN_PATH {
        return Err(Errno::NAMETOOLONG);
    }
    let mut bytes = AF_UNIX.to_ne_bytes().to_vec();
    bytes.extend(path);
    bytes.push(0);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_it_is_written() {
        for text in ["192.0.2.1:80", "[2001:db8::1]:443"] {
            let address: SocketAddr = text.parse().expect("an address");
            let bytes = inet_bytes(address, address.is_ipv6());
            assert_eq!(Address::parse(&bytes), Ok(Address::Inet(address)));
        }
        let mapped = inet_bytes("192.0.2.1:80".parse().expect("an address"), true);
        let expected = "[::ffff:192.0.2.1]:80".parse().expect("an address");
        assert_eq!(Address::parse(&mapped), Ok(Address::Inet(expected)));
    }

    #[test]
    fn what_is_too_short_is_no_address() {
        let v4 = inet_bytes("192.0.2.1:80".parse().expect("an address"), false);
        let v6 = inet_bytes("[::1]:80".parse().expect("an address"), true);
        for short in [&[][..], &[2], &v4[..15], &v6[..23]] {
            assert_eq!(Address::parse(short), Err(Errno::INVAL));
        }
        assert!(matches!(Address::parse(&v6[..24]), Ok(Address::Inet(_))));
        assert_eq!(Address::parse(&[0, 0]), Ok(Address::Unspecified));
    }

    #[test]
    fn names_of_unix_sockets_end_at_the_first_nul() {
        let parse = |rest: &[u8]| Address::parse(&[&AF_UNIX.to_ne_bytes(), rest].concat());
        assert_eq!(parse(b"/a\0b"), Ok(Address::UnixPath(b"/a".to_vec())));
        assert_eq!(parse(b"/a"), Ok(Address::UnixPath(b"/a".to_vec())));
        assert_eq!(parse(b""), Ok(Address::UnixAbstract));
        assert_eq!(parse(b"\0a"), Ok(Address::UnixAbstract));
        assert_eq!(unix_bytes(&[b'a'; 108]), Err(Errno::NAMETOOLONG));
    }
}

//! Asking the host's own servers.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use super::message::{Answer, Query};

/// How long a server is waited for, by resolv.conf(5).
const PATIENCE: Duration = Duration::from_secs(5);

/// How often the servers are asked in turn.
const ATTEMPTS: usize = 2;

/// The servers that a `resolv.conf` names, at most three as resolv.conf(5)
/// says; with none, the one of this host.
pub(super) fn servers(configuration: &[u8]) -> Vec<SocketAddr> {
    let mut servers: Vec<_> = nameservers(configuration)
        .take(3)
        .map(|address| SocketAddr::new(address, 53))
        .collect();
    if servers.is_empty() {
        servers.push((Ipv4Addr::LOCALHOST, 53).into());
    }
    servers
}

/// The addresses that a `resolv.conf` names; a scope is left away.
pub(super) fn nameservers(configuration: &[u8]) -> impl Iterator<Item = IpAddr> {
    configuration
        .split(|&byte| byte == b'\n')
        .filter_map(|line| {
            let line = str::from_utf8(line).ok()?;
            let mut words = line.split_ascii_whitespace();
            let address = words
                .next()
                .filter(|word| *word == "nameserver")
                .and(words.next())?;
            address.split('%').next()?.parse().ok()
        })
}

/// What one of the servers answers.
pub(super) fn ask(servers: &[SocketAddr], query: &Query) -> io::Result<Answer> {
    let mut failed = io::Error::from(io::ErrorKind::NotFound);
    for server in servers.iter().cycle().take(servers.len() * ATTEMPTS) {
        match ask_one(*server, query) {
            Ok(answer) => return Ok(answer),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

fn ask_one(server: SocketAddr, query: &Query) -> io::Result<Answer> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // A port and an id that a forger would have to guess.
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    let id = random_id()?;
    socket.send(&query.to_bytes(id))?;
    let until = Instant::now() + PATIENCE;
    let mut buffer = [0; 4096];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        let length = socket.recv(&mut buffer)?;
        match Answer::parse(&buffer[..length], query, id) {
            Some(answer) if answer.truncated => return ask_by_tcp(server, query),
            Some(answer) => return Ok(answer),
            // A late answer, or a forged one.
            None => {}
        }
    }
}

fn ask_by_tcp(server: SocketAddr, query: &Query) -> io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let id = random_id()?;
    write_framed(&mut stream, &query.to_bytes(id))?;
    let message = read_framed(&mut stream)?;
    Answer::parse(&message, query, id).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// A message over TCP, with its length before it.
pub(super) fn read_framed(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut message)?;
    Ok(message)
}

/// Writes a message over TCP, with its length before it.
pub(super) fn write_framed(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), message].concat())
}

fn random_id() -> io::Result<u16> {
    let mut bytes = [0; 2];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(u16::from_ne_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_as_the_c_library_does() {
        let check = |text: &str, expected: &[&str]| {
            let found: Vec<_> = servers(text.as_bytes())
                .iter()
                .map(ToString::to_string)
                .collect();
            assert_eq!(found, expected, "{text}");
        };
        check("", &["127.0.0.1:53"]);
        check(
            "nameserver 192.0.2.1\n#nameserver 192.0.2.2\n",
            &["192.0.2.1:53"],
        );
        check(
            "search a\nnameserver fe80::1%eth0\noptions x",
            &["[fe80::1]:53"],
        );
        let many = "nameserver 192.0.2.1\n".repeat(5);
        assert_eq!(servers(many.as_bytes()).len(), 3);
    }
}

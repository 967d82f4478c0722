//! Tries to get past a policy on the network, one attempt a line: its name and
//! the errno that it ended with, 0 when it worked.
//!
//! `net-probe attempts ALLOWED DENIED`, two ports of 127.0.0.1 for TCP and UDP;
//! `net-probe race ALLOWED DENIED TRIES`; `net-probe knock ALLOWED DENIED`, for
//! ever; `net-probe 32-bit`; `net-probe blocked FULL ALLOWED`;
//! `net-probe lookup NAME PORT`; `net-probe picky NAME`, which asks as musl's C
//! library does; `net-probe reuse ALLOWED TRIES`;
//! `net-probe inherited NAME`, an abstract socket of the host's network.

#![allow(unsafe_code, reason = "attacks are raw system calls")]
#![allow(clippy::print_stdout, reason = "the results")]
#![allow(clippy::unwrap_used, reason = "what cannot be tried fails the test")]
#![cfg(target_pointer_width = "64")]

mod others;
mod raw;
mod threads;

use std::net::{TcpStream, ToSocketAddrs as _, UdpSocket};
use std::time::Duration;

use raw::{
    Message, at, border, call, connect, control, loopback, mapped, put, sendmsg, sendto, socket,
    tcp, udp, v4,
};

fn main() {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let long = |index: usize| -> u64 {
        words
            .get(index)
            .and_then(|word| word.parse().ok())
            .unwrap_or(0)
    };
    let number = |index| u16::try_from(long(index)).unwrap_or(0);
    match words.first().map(String::as_str) {
        Some("attempts") => attempts(number(1), number(2)),
        Some("race") => threads::race(number(1), number(2), long(3)),
        Some("knock") => threads::knock(number(1), number(2)),
        Some("reuse") => others::reuse(number(1), long(2)),
        Some("blocked") => threads::blocked(number(1), number(2)),
        Some("32-bit") => others::in_32_bits(),
        Some("inherited") => inherited(words.get(1).map_or("", String::as_str)),
        Some("lookup") => lookup(words.get(1).map_or("", String::as_str), number(2)),
        Some("picky") => picky(words.get(1).map_or("", String::as_str)),
        _ => std::process::exit(2),
    }
}

fn say(name: &str, result: i64) {
    println!("{name}: {}", if result < 0 { -result } else { 0 });
}

fn attempts(allowed: u16, denied: u16) {
    let wanted = loopback(denied);
    say("connect where it may", connect(tcp(), &loopback(allowed)));
    say("connect", connect(tcp(), &wanted));
    say("connect to 0.0.0.0", connect(tcp(), &v4([0; 4], denied)));
    let v6 = || socket(libc::AF_INET6, libc::SOCK_STREAM, 0).cast_unsigned();
    say("connect in IPv6 clothes", connect(v6(), &mapped(denied)));
    say("connect by UDP", connect(udp(), &wanted));
    say(
        "connect to metadata",
        connect(udp(), &v4([169, 254, 169, 254], 80)),
    );
    let dissolved = udp();
    say(
        "connect by UDP where it may",
        connect(dissolved, &loopback(allowed)),
    );
    say("dissolve", connect(dissolved, &[0; 16]));
    let duplicate = call(libc::SYS_dup, &[tcp()]).cast_unsigned();
    say("connect a duplicate", connect(duplicate, &wanted));
    addresses(allowed, &wanted);
    sends(allowed, &wanted);
    sockets();
    ports(denied);
    others::listeners();
    others::changed_by_a_sibling(wanted);
}

fn addresses(allowed: u16, wanted: &[u8]) {
    let connect_at = |address, length| call(libc::SYS_connect, &[tcp(), address, length]);
    say("connect to nowhere", connect_at(8, 16));
    let whole = border(false);
    put(&loopback(allowed), whole - 7);
    say("connect across pages", connect_at(whole - 7, 16));
    let cut = border(true);
    put(&wanted[..7], cut - 7);
    say("connect off the page", connect_at(cut - 7, 16));
    say("connect to a short address", connect(tcp(), &wanted[..8]));
    say("connect to a long address", connect_at(at(wanted), 129));
    say("connect no socket", connect(0, wanted));
}

fn sends(allowed: u16, wanted: &[u8; 16]) {
    let fast = libc::MSG_FASTOPEN;
    say("sendto", sendto(udp(), 0, wanted));
    say(
        "sendto of no family",
        sendto(udp(), 0, &[&[0, 0], &wanted[2..]].concat()),
    );
    say("sendto with a fast open", sendto(tcp(), fast, wanted));
    say("sendmsg", sendmsg(udp(), 0, wanted, &[]));
    say(
        "sendmsg with a fast open",
        sendmsg(tcp(), fast, wanted, &[]),
    );
    let route = control(libc::IPPROTO_IP, 7, &[131, 7, 4, 127, 0, 0, 1, 0]);
    let may = loopback(allowed);
    say("sendmsg by a source route", sendmsg(udp(), 0, &may, &route));
    let tos = control(libc::IPPROTO_IP, libc::IP_TOS, &0_i32.to_ne_bytes());
    say("sendmsg where it may", sendmsg(udp(), 0, &may, &tos));
    let piece = [at(b"x"), 1];
    let both = [
        Message::new(&may, &piece, &[]),
        Message::new(wanted, &piece, &[]),
    ];
    let sent = call(libc::SYS_sendmmsg, &[udp(), at(&both), 2, 0]);
    say(
        "sendmmsg sends but the first",
        if sent == 1 { -1 } else { 0 },
    );
    let one = Message::new(&may, &piece, &tos);
    let words = one.words().map(u64::to_ne_bytes).concat();
    let message_at = |place: u64| call(libc::SYS_sendmsg, &[udp(), place, 0]);
    let whole = border(false);
    put(&words, whole - 20);
    say("sendmsg across pages", message_at(whole - 20));
    let cut = border(true);
    put(&words[..20], cut - 20);
    say("sendmsg off the page", message_at(cut - 20));
    let far = [8, 1];
    let unreadable = Message::new(&may, &far, &tos);
    say("sendmsg of nothing", message_at(at(&unreadable)));
    let other = [both[1]];
    say(
        "sendmmsg",
        call(libc::SYS_sendmmsg, &[udp(), at(&other), 1, 0]),
    );
    let route = [131_u8, 7, 4, 127, 0, 0, 1, 0];
    let options = [tcp(), 0, 4, at(&route), 8];
    say("set a source route", call(libc::SYS_setsockopt, &options));
    devices(&may);
    let pair = [0_i32; 2];
    call(libc::SYS_socketpair, &[1, 1, 0, at(&pair)]);
    let foreign = control(libc::SOL_SOCKET, libc::SCM_RIGHTS, &4000_i32.to_ne_bytes());
    let end = u64::from(pair[0].cast_unsigned());
    say(
        "pass a descriptor it has not",
        sendmsg(end, 0, &[], &foreign),
    );
    let own = control(libc::SOL_SOCKET, libc::SCM_RIGHTS, &1_i32.to_ne_bytes());
    say("pass a descriptor", sendmsg(end, 0, &[], &own));
}

/// Ways to choose where an address is looked for, and to be heard of.
fn devices(may: &[u8]) {
    let set = |family: i32, level: i32, name: i32, value: &[u8]| {
        let socket = socket(family, libc::SOCK_DGRAM, 0).cast_unsigned();
        let [level, name] = [level, name].map(|number| u64::from(number.cast_unsigned()));
        let length = value.len() as u64;
        call(
            libc::SYS_setsockopt,
            &[socket, level, name, at(value), length],
        )
    };
    let (v4, v6) = (libc::AF_INET, libc::AF_INET6);
    let (ip, ipv6) = (libc::IPPROTO_IP, libc::IPPROTO_IPV6);
    let first = [1, 0, 0, 0];
    let general = libc::SOL_SOCKET;
    say(
        "choose a device",
        set(v4, general, libc::SO_BINDTODEVICE, b"lo"),
    );
    // SO_BINDTOIFINDEX, IP_UNICAST_IF, IPV6_UNICAST_IF.
    say("choose a device by its index", set(v4, general, 62, &first));
    say("choose a device for IPv4", set(v4, ip, 50, &[0, 0, 0, 1]));
    say("choose a device for IPv6", set(v6, ipv6, 76, &[0, 0, 0, 1]));
    let info = [&[0; 16][..], &first].concat();
    let by_packets = set(v6, ipv6, libc::IPV6_PKTINFO, &info);
    say("choose a device by IPv6's packets", by_packets);
    // A device that is not there would be ENODEV, had it been meant.
    let info = [&[0xff, 0xff, 0xff, 0x7f][..], &[0; 8]].concat();
    let info = control(ip, libc::IP_PKTINFO, &info);
    say("sendmsg by no such device", sendmsg(udp(), 0, may, &info));
    let group = [224, 1, 2, 3, 127, 0, 0, 1];
    say("join a group", set(v4, ip, libc::IP_ADD_MEMBERSHIP, &group));
    // MCAST_JOIN_GROUP.
    let mut request = [0; 136];
    request[0] = 1;
    request[8] = 2;
    request[12..16].copy_from_slice(&group[..4]);
    say("join a group by its address", set(v4, ip, 42, &request));
    let mut request = [0; 20];
    request[..2].copy_from_slice(&[0xff, 0x05]);
    request[15] = 9;
    request[16] = 1;
    say(
        "join a group of IPv6",
        set(v6, ipv6, libc::IPV6_ADD_MEMBERSHIP, &request),
    );
}

fn sockets() {
    let inet = libc::AF_INET;
    let (stream, dgram) = (libc::SOCK_STREAM, libc::SOCK_DGRAM);
    say("MPTCP", socket(inet, stream, libc::IPPROTO_MPTCP));
    say("SCTP", socket(inet, stream, libc::IPPROTO_SCTP));
    say("UDP-Lite", socket(inet, dgram, libc::IPPROTO_UDPLITE));
    say("ping", socket(inet, dgram, libc::IPPROTO_ICMP));
    say("raw", socket(inet, libc::SOCK_RAW, libc::IPPROTO_TCP));
    say("packet", socket(libc::AF_PACKET, dgram, 0));
    say("vsock", socket(libc::AF_VSOCK, stream, 0));
    say("smc", socket(43, stream, 0));
    say(
        "netlink of the firewall",
        socket(libc::AF_NETLINK, dgram, libc::NETLINK_NETFILTER),
    );
    say(
        "netlink of routes",
        socket(libc::AF_NETLINK, dgram, libc::NETLINK_ROUTE),
    );
    say("ring", call(libc::SYS_io_uring_setup, &[1, 0]));
}

fn ports(denied: u16) {
    let bind = |socket, port| {
        let address = loopback(port);
        call(libc::SYS_bind, &[socket, at(&address), 16])
    };
    // Not the port itself, which is in use.
    say("bind", bind(tcp(), denied.wrapping_add(1).max(1024)));
    say("bind by UDP", bind(udp(), denied.wrapping_add(1).max(1024)));
    let own = tcp();
    say("bind to any", bind(own, 0));
    say("listen", call(libc::SYS_listen, &[own, 1]));
    say("listen unbound", call(libc::SYS_listen, &[tcp(), 1]));
}

/// Sends to an abstract name by a socket on stdin.
fn inherited(name: &str) {
    let address = [&1_u16.to_ne_bytes()[..], &[0], name.as_bytes()].concat();
    say("sendto by an inherited socket", sendto(0, 0, &address));
}

/// Looks a name up and connects to each address in turn.
fn lookup(name: &str, port: u16) {
    let addresses = match (name, port).to_socket_addrs() {
        Ok(addresses) => addresses,
        Err(error) => {
            println!("no address: {error}");
            return;
        }
    };
    for address in addresses {
        let result = TcpStream::connect(address);
        let errno = result.map_or_else(|error| error.raw_os_error().unwrap_or(-1), |_stream| 0);
        println!("{address}: {errno}");
    }
}

/// Asks the name server by sockets without a peer, once to wait and once not to,
/// twice by each; where the answers come from, and of how many addresses.
fn picky(name: &str) {
    let configuration = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let server = configuration.split_whitespace().nth(1).unwrap_or_default();
    let labels = name.split('.').flat_map(|label| {
        let length = u8::try_from(label.len()).unwrap_or(0);
        std::iter::once(length).chain(label.bytes())
    });
    let mut question = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    question.extend(labels);
    question.extend([0, 0, 1, 0, 1]);
    for waits in [true, false] {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.set_nonblocking(!waits).unwrap();
        let patience = Some(Duration::from_secs(10));
        socket.set_read_timeout(patience).unwrap();
        for _ in 0..2 {
            socket.send_to(&question, (server, 53)).unwrap();
            let mut answer = [0; 512];
            let (_, from) = loop {
                match socket.recv_from(&mut answer) {
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock && !waits => {
                        std::thread::yield_now();
                    }
                    received => break received.unwrap(),
                }
            };
            let known = from.ip().to_string() == server && from.port() == 53;
            println!("known: {known}, addresses: {}", answer[7]);
        }
    }
}

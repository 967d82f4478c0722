//! Names of hosts: which are looked up, and what they admit.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use nucleus_tests::net::Port;
use nucleus_tests::nucleus::Said as _;
use nucleus_tests::place::{NOBODY, Place, users};
use nucleus_tests::require;

fn place(user: Option<u32>) -> Place {
    Place::with_probe(user, env!("CARGO_BIN_EXE_net-probe"))
}

/// A DNS server that knows every name, and tells which it was asked for.
fn name_server(address: IpAddr) -> (String, Receiver<Vec<u8>>) {
    let socket = Port::open().udp;
    let own = socket.local_addr().unwrap().to_string();
    let (send, asked) = channel();
    thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, client)) = socket.recv_from(&mut query) {
            let query = &query[..length];
            let name = &query[12..length - 4];
            // Before the answer: the program may end as soon as it has that.
            if send.send(name.to_vec()).is_err() {
                return;
            }
            let answer = answer(query, address, 1);
            socket.send_to(&answer, client).unwrap();
        }
    });
    (own, asked)
}

/// The answer to a question, so many times.
fn answer(query: &[u8], address: IpAddr, times: u8) -> Vec<u8> {
    let question = &query[12..];
    let IpAddr::V4(v4) = address else {
        panic!("{address} for a question by IPv4");
    };
    let times = match question[question.len() - 3] {
        1 => times,
        _ => 0,
    };
    let mut answer = query[..2].to_vec();
    answer.extend([0x81, 0x80, 0, 1, 0, times, 0, 0, 0, 0]);
    answer.extend(question);
    for _ in 0..times {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        answer.extend(v4.octets());
    }
    answer
}

/// A DNS server whose answers are too long for UDP.
fn wordy_server(address: IpAddr, times: u8) -> String {
    let Port { tcp, udp } = Port::open();
    let own = udp.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, client)) = udp.recv_from(&mut query) {
            let mut answer = answer(&query[..length], address, 0);
            // TC: there is more.
            answer[2] |= 2;
            udp.send_to(&answer, client).unwrap();
        }
    });
    thread::spawn(move || {
        for mut stream in tcp.incoming().map(Result::unwrap) {
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut query = vec![0; u16::from_be_bytes(length).into()];
            stream.read_exact(&mut query).unwrap();
            let answer = answer(&query, address, times);
            let length = u16::try_from(answer.len()).unwrap();
            stream.write_all(&length.to_be_bytes()).unwrap();
            stream.write_all(&answer).unwrap();
        }
    });
    own
}

/// An address of this machine that is not its loopback device's.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("198.51.100.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip())
}

fn names(user: Option<u32>) {
    let Some(address) = own_address() else {
        nucleus_tests::require::say("no address but that of the loopback device");
        return;
    };
    let place = place(user);
    let listener = TcpListener::bind((address, 0)).unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let rule = format!("*.example.test:{port}");
    for view in [&[][..], &["--host"]] {
        let (server, asked) = name_server(address);
        let options = [
            "--net-allow",
            &rule,
            "--net-deny",
            "bad.example.test",
            "--dns",
            &server,
        ];
        let lookup = |name: &str| {
            let words = [view, &options, &["--", "./probe", "lookup", name, &port]].concat();
            place.run(&words).code(0).out().to_owned()
        };
        let reached = format!("{address}:{port}");
        assert_eq!(
            lookup("good.example.test"),
            format!("{reached}: 0\n"),
            "{view:?}"
        );
        let questions: Vec<_> = asked.try_iter().collect();
        assert!(!questions.is_empty());
        // The address alone is not enough, and other names are not looked up.
        assert_eq!(
            lookup(&address.to_string()),
            format!("{reached}: {}\n", libc::EACCES)
        );
        for name in ["bad.example.test", "example.test", "other.test"] {
            assert!(lookup(name).starts_with("no address: "), "{name}");
        }
        assert_eq!(asked.try_iter().count(), 0, "nothing else left the sandbox");
    }
}

#[test]
fn a_name_admits_the_addresses_that_it_has() {
    require!(userns);
    names(None);
}

#[test]
fn a_name_admits_the_addresses_that_it_has_for_nobody() {
    require!(root, userns);
    names(Some(NOBODY));
}

/// musl's C library takes no answer that comes from another port than 53, which
/// nobody may bind to.
#[test]
fn answers_come_from_where_they_are_looked_for() {
    require!(userns);
    let Some(address) = own_address() else {
        nucleus_tests::require::say("no address but that of the loopback device");
        return;
    };
    for user in users() {
        let place = place(user);
        let (server, _asked) = name_server(address);
        let options = ["--net-allow", "good.test", "--dns", &server];
        let words = [&options[..], &["--", "./probe", "picky", "good.test"]];
        let output = place.run(&words.concat()).code(0);
        let answered = "known: true, addresses: 1\n";
        assert_eq!(output.out(), answered.repeat(4), "{}", output.err());
    }
}

/// By TCP from the server; the program gets what fits into its datagram.
#[test]
fn answers_that_are_too_long_for_a_datagram_come_by_tcp() {
    const TIMES: u8 = 50;
    const FIT: usize = 30;
    require!(userns);
    let Some(address) = own_address() else {
        nucleus_tests::require::say("no address but that of the loopback device");
        return;
    };
    for user in users() {
        let place = place(user);
        let listener = TcpListener::bind((address, 0)).unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        thread::spawn(move || listener.incoming().for_each(drop));
        let server = wordy_server(address, TIMES);
        let options = ["--net-allow", "many.test", "--dns", &server];
        let words = [
            &options[..],
            &["--", "./probe", "lookup", "many.test", &port],
        ];
        let output = place.run(&words.concat()).code(0);
        let reached = format!("{address}:{port}: 0\n");
        assert_eq!(output.out(), reached.repeat(FIT));
    }
}

#[test]
fn a_name_does_not_lead_to_the_host() {
    require!(userns);
    let place = place(None);
    let (server, _asked) = name_server([127, 0, 0, 1].into());
    let port = Port::open();
    let options = ["--net-allow", "rebound.test", "--dns", &server];
    let words = [
        &options[..],
        &["--", "./probe", "lookup", "rebound.test", &port.number()],
    ];
    let output = place.run(&words.concat()).code(0);
    assert!(output.out().starts_with("no address: "), "{}", output.out());
    assert!(port.is_untouched());
}

/// Whoever owns an allowed name can make it an alias of any other.
#[test]
fn an_alias_of_a_denied_name_is_denied() {
    require!(userns);
    let Some(address) = own_address() else {
        nucleus_tests::require::say("no address but that of the loopback device");
        return;
    };
    let socket = Port::open().udp;
    let server = socket.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, client)) = socket.recv_from(&mut query) {
            let mut reply = answer(&query[..length], address, 1);
            if reply[7] == 1 {
                // The name is an alias of bad.test, which has the address.
                let records = 12 + (length - 12);
                let owner = [0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 1, 0, 10];
                let target = b"\x03bad\x04test\0";
                let record = reply.split_off(records);
                reply[7] = 2;
                reply.extend(owner);
                reply.extend(target);
                reply.extend(target);
                reply.extend(&record[2..]);
            }
            socket.send_to(&reply, client).unwrap();
        }
    });
    let place = place(None);
    let listener = TcpListener::bind((address, 0)).unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let lookup = |denied: &str| {
        let options = ["--net-allow", "good.test", "--net-deny", denied];
        let words = [&options[..], &["--dns", &server, "--", "./probe"]].concat();
        let words = [&words[..], &["lookup", "good.test", &port]].concat();
        place.run(&words).code(0).out().to_owned()
    };
    let reached = |errno: i32| format!("{address}:{port}: {errno}\n");
    assert_eq!(lookup("other.test"), reached(0));
    assert!(lookup("bad.test").starts_with("no address: "));
    assert_eq!(lookup(&format!("bad.test:{port}")), reached(libc::EACCES));
    assert_eq!(lookup("bad.test:1"), reached(0));
}

//! Whom a program may talk to, and what it tries to get past that.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use nucleus_tests::nucleus::{Said as _, path};
use nucleus_tests::require;
use nucleus_tests::scratch::Scratch;

/// What `net-probe attempts` tries under `--net-allow 127.0.0.1:ALLOWED`, and
/// what comes of it. The profile allows everything.
const EXPECTED: &[(&str, i32)] = &[
    ("connect where it may", 0),
    ("connect", libc::EACCES),
    ("connect to 0.0.0.0", libc::EACCES),
    ("connect in IPv6 clothes", libc::EACCES),
    ("connect by UDP", libc::EACCES),
    ("connect to metadata", libc::EACCES),
    ("connect by UDP where it may", 0),
    ("dissolve", 0),
    ("connect a duplicate", libc::EACCES),
    ("connect to nowhere", libc::EFAULT),
    ("connect across pages", 0),
    ("connect off the page", libc::EFAULT),
    ("connect to a short address", libc::EINVAL),
    ("connect to a long address", libc::EINVAL),
    ("connect no socket", libc::ENOTSOCK),
    ("sendto", libc::EACCES),
    ("sendto of no family", libc::EAFNOSUPPORT),
    ("sendto with a fast open", libc::EACCES),
    ("sendmsg", libc::EACCES),
    ("sendmsg with a fast open", libc::EACCES),
    ("sendmsg by a source route", libc::EPERM),
    ("sendmsg where it may", 0),
    ("sendmmsg sends but the first", 1),
    ("sendmmsg", libc::EACCES),
    ("set a source route", libc::EPERM),
    ("pass a descriptor it has not", libc::EBADF),
    ("pass a descriptor", 0),
    ("MPTCP", libc::EPROTONOSUPPORT),
    ("SCTP", libc::EPROTONOSUPPORT),
    ("UDP-Lite", libc::EPROTONOSUPPORT),
    ("ping", libc::EPROTONOSUPPORT),
    ("raw", libc::EPROTONOSUPPORT),
    ("packet", libc::EAFNOSUPPORT),
    ("vsock", libc::EAFNOSUPPORT),
    ("smc", libc::EAFNOSUPPORT),
    ("netlink of the firewall", libc::EPROTONOSUPPORT),
    ("netlink of routes", 0),
    ("ring", libc::ENOSYS),
    ("bind", libc::EACCES),
    ("bind by UDP", libc::EACCES),
    ("bind to any", 0),
    ("listen", libc::EACCES),
    ("listen unbound", libc::EACCES),
];

const NOBODY: u32 = 65534;

const ALLOW_ALL: &str = r#"{"defaultAction":"SCMP_ACT_ALLOW",
    "architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86","SCMP_ARCH_X32","SCMP_ARCH_AARCH64"]}"#;

/// nucleus and the probe in a folder that everybody can enter.
struct Place {
    scratch: Scratch,
    user: Option<u32>,
}

impl Place {
    /// For this user or, when root tests, for another one.
    fn new(user: Option<u32>) -> Self {
        let scratch = Scratch::new();
        fs::set_permissions(scratch.path(), Permissions::from_mode(0o755)).unwrap();
        fs::copy(path(), scratch.file("nucleus")).unwrap();
        fs::copy(env!("CARGO_BIN_EXE_net-probe"), scratch.file("probe")).unwrap();
        fs::write(scratch.file("all.json"), ALLOW_ALL).unwrap();
        Self { scratch, user }
    }

    fn run(&self, words: &[&str]) -> Output {
        let mut command = Command::new(self.scratch.file("nucleus"));
        command
            .arg("run")
            .args(words)
            .current_dir(self.scratch.path())
            .stdin(Stdio::null());
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command.output().unwrap()
    }

    /// What the probe says under a rule, with everything else allowed.
    fn probe(&self, options: &[&str], words: &[&str]) -> BTreeMap<String, i64> {
        let fixed = ["--seccomp-profile", "all.json"];
        let words = [&fixed[..], options, &["--", "./probe"], words].concat();
        let output = self.run(&words).code(0);
        let lines = output.out().lines();
        lines
            .filter_map(|line| {
                let (name, number) = line.rsplit_once(": ")?;
                Some((name.to_owned(), number.parse().ok()?))
            })
            .collect()
    }
}

/// A port of 127.0.0.1 that takes TCP and UDP.
struct Port {
    tcp: TcpListener,
    udp: UdpSocket,
}

impl Port {
    fn open() -> Self {
        loop {
            let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
            if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()) {
                return Self { tcp, udp };
            }
        }
    }

    fn number(&self) -> String {
        self.tcp.local_addr().unwrap().port().to_string()
    }

    fn rule(&self) -> String {
        format!("127.0.0.1:{}", self.number())
    }

    /// Nobody has come.
    fn is_untouched(&self) -> bool {
        self.tcp.set_nonblocking(true).unwrap();
        self.udp.set_nonblocking(true).unwrap();
        self.tcp.accept().is_err() && self.udp.recv(&mut [0]).is_err()
    }
}

fn every_attempt_fails(user: Option<u32>) {
    let place = Place::new(user);
    let expected = EXPECTED
        .iter()
        .map(|&(name, errno)| (name.to_owned(), errno.into()));
    let expected: BTreeMap<_, _> = expected.collect();
    for view in [&[][..], &["--host"]] {
        let (allowed, denied) = (Port::open(), Port::open());
        let rule = allowed.rule();
        let options = [view, &["--net-allow", &rule]].concat();
        let words = ["attempts", &allowed.number(), &denied.number()];
        assert_eq!(place.probe(&options, &words), expected, "{view:?}");
        assert!(denied.is_untouched(), "{view:?}");
        assert!(!allowed.is_untouched(), "{view:?}");
    }
}

#[test]
fn what_no_rule_allows_is_not_reached() {
    require!(userns);
    every_attempt_fails(None);
}

#[test]
fn what_no_rule_allows_is_not_reached_by_nobody() {
    require!(root, userns);
    every_attempt_fails(Some(NOBODY));
}

#[test]
fn an_address_that_changes_while_it_is_judged_gets_nowhere_else() {
    require!(userns);
    let place = Place::new(None);
    let (allowed, denied) = (Port::open(), Port::open());
    // Or its backlog would be full soon.
    let accepting = allowed.tcp.try_clone().unwrap();
    thread::spawn(move || accepting.incoming().for_each(drop));
    let words = ["race", &allowed.number(), &denied.number()];
    let said = place.probe(&["--net-allow", &allowed.rule()], &words);
    let (tries, through) = (said["tries"], said["through"]);
    assert!(tries > 100, "{said:?}");
    // Both judgements were reached, so that the race was one.
    assert!(through > 10 && through < tries - 10, "{said:?}");
    assert!(denied.is_untouched());
}

#[test]
fn calls_of_other_architectures_are_refused() {
    require!(userns, ia32);
    let said = Place::new(None).probe(&["--net-allow", "localhost"], &["32-bit"]);
    assert_eq!(said["socketcall"], i64::from(libc::ENOSYS));
}

#[test]
fn who_waits_for_a_peer_holds_up_nobody_and_can_be_interrupted() {
    require!(userns);
    let place = Place::new(None);
    let full = Port::open();
    rustix::net::listen(&full.tcp, 0).unwrap();
    // With a backlog of none one connection waits to be accepted.
    let _waits = TcpStream::connect(full.tcp.local_addr().unwrap()).unwrap();
    let allowed = Port::open();
    let accepting = allowed.tcp.try_clone().unwrap();
    thread::spawn(move || accepting.incoming().for_each(drop));
    let (full_rule, rule) = (full.rule(), allowed.rule());
    let output = place
        .run(&[
            "--net-allow",
            &full_rule,
            "--net-allow",
            &rule,
            "--",
            "./probe",
            "blocked",
            &full.number(),
            &allowed.number(),
        ])
        .code(0);
    let said = output.out();
    assert!(said.contains("still blocked: true"), "{said}");
    assert!(
        said.contains(&format!("interrupted: {}\n", libc::EINTR)),
        "{said}"
    );
    assert_eq!(said.matches("meanwhile: 0\n").count(), 100, "{said}");
}

#[test]
fn ports_that_may_be_bound_can_be_listened_at() {
    require!(userns);
    let place = Place::new(None);
    let (allowed, denied) = (Port::open(), Port::open());
    let options = [
        "--net-allow",
        &allowed.rule(),
        "--net-allow-bind",
        "0,1024-65535",
    ];
    let words = ["attempts", &allowed.number(), &denied.number()];
    let said = place.probe(&options, &words);
    for name in [
        "bind",
        "bind by UDP",
        "bind to any",
        "listen",
        "listen unbound",
    ] {
        assert_eq!(said[name], 0, "{name}");
    }
    assert_eq!(said["connect"], i64::from(libc::EACCES));
}

#[test]
fn a_program_does_not_outlive_its_supervisor() {
    require!(userns);
    let place = Place::new(None);
    for round in 0..10_u64 {
        let port = Port::open();
        let mut command = Command::new(place.scratch.file("nucleus"));
        command
            .args(["run", "--net-allow", &port.rule(), "--", "./probe", "race"])
            .args([port.number(), "1".to_owned()])
            .current_dir(place.scratch.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut nucleus = command.spawn().unwrap();
        // It talks to us, so its calls are being answered: some more of them.
        for _ in 0..=round {
            drop(port.tcp.accept().unwrap());
        }
        nucleus.kill().unwrap();
        nucleus.wait().unwrap();
        // The program has the other end of this pipe, to its own end.
        let mut said = String::new();
        let mut output = nucleus.stdout.take().unwrap();
        output.read_to_string(&mut said).unwrap();
        assert_eq!(said, "", "it came to its end after {round}");
    }
}

/// A DNS server that knows every name, and tells which it was asked for.
fn name_server(address: IpAddr) -> (String, Receiver<Vec<u8>>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let own = socket.local_addr().unwrap().to_string();
    let (send, asked) = channel();
    thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, client)) = socket.recv_from(&mut query) {
            let question = &query[12..length];
            let name = &question[..question.len() - 4];
            let asks_v4 = question[question.len() - 3] == 1;
            let mut answer = query[..2].to_vec();
            answer.extend([0x81, 0x80, 0, 1, 0, u8::from(asks_v4), 0, 0, 0, 0]);
            answer.extend(question);
            if let (true, IpAddr::V4(v4)) = (asks_v4, address) {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
                answer.extend(v4.octets());
            }
            socket.send_to(&answer, client).unwrap();
            if send.send(name.to_vec()).is_err() {
                return;
            }
        }
    });
    (own, asked)
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
    let place = Place::new(user);
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

#[test]
fn a_name_does_not_lead_to_the_host() {
    require!(userns);
    let place = Place::new(None);
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

/// An inherited socket is of the host's network, and so are its names.
#[test]
fn an_inherited_socket_reaches_no_abstract_name_of_the_host() {
    require!(userns);
    let place = Place::new(None);
    let name = format!("nucleus-net-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let host = UnixDatagram::bind_addr(&address).unwrap();
    let output = Command::new(place.scratch.file("nucleus"))
        .args([
            "run",
            "--net-allow",
            "localhost",
            "--",
            "./probe",
            "inherited",
            &name,
        ])
        .current_dir(place.scratch.path())
        .stdin(OwnedFd::from(UnixDatagram::unbound().unwrap()))
        .output()
        .unwrap()
        .code(0);
    let expected = format!("sendto by an inherited socket: {}\n", libc::EACCES);
    assert_eq!(output.out(), expected);
    host.set_nonblocking(true).unwrap();
    assert!(host.recv(&mut [0]).is_err());
}

#[test]
fn rules_that_are_none_are_errors_that_say_why() {
    for (rule, why) in [
        ("http://a", "there are tcp:// and udp://"),
        ("10.0.0.1/8", "the block is 10.0.0.0/8"),
        ("a:99999", "is no port"),
    ] {
        let words = ["run", "--net-allow", rule, "--", "true"];
        let output = nucleus_tests::nucleus::nucleus(words)
            .output()
            .unwrap()
            .code(125);
        assert!(output.err().contains(why), "{}", output.err());
    }
}

#[test]
fn it_is_said_who_enforces_a_rule() {
    let words = [
        "run",
        "--print-plan",
        "--net-allow",
        "a.test:1",
        "--",
        "true",
    ];
    let output = nucleus_tests::nucleus::nucleus(words)
        .output()
        .unwrap()
        .code(0);
    assert!(
        output.out().contains(
            "talk to a.test:1: enforced by the supervisor, as the listener of the filter\n"
        )
    );
    assert!(
        output
            .out()
            .contains("through the supervisor: enforced by the kernel\n")
    );
}

#[test]
fn real_programs_work() {
    require!(
        userns,
        userland,
        tool("git"),
        tool("curl"),
        tool("/usr/bin/python3")
    );
    let place = Place::new(None);
    let asyncio = "import asyncio\n\
        async def echo(r, w):\n  w.write((await r.read(9)).upper()); await w.drain(); w.close()\n\
        async def main():\n  s = await asyncio.start_server(echo, '127.0.0.1', 0)\n  \
        r, w = await asyncio.open_connection(*s.sockets[0].getsockname())\n  \
        w.write(b'hello'); print(await r.read(9))\nasyncio.run(main())";
    let local = ["--net-allow", "localhost", "--net-allow-bind", "0", "--"];
    let words = [&local[..], &["/usr/bin/python3", "-c", asyncio]].concat();
    assert_eq!(place.run(&words).code(0).out(), "b'HELLO'\n");

    let served = place.scratch.file("served");
    let git = |folder: &std::path::Path, words: &[&str]| {
        let mut command = Command::new("git");
        command
            .current_dir(folder)
            .args(words)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        assert!(command.status().unwrap().success(), "{words:?}");
    };
    fs::create_dir(&served).unwrap();
    git(&served, &["init", "-q", "."]);
    fs::write(served.join("file"), "content\n").unwrap();
    git(&served, &["add", "file"]);
    git(
        &served,
        &[
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@b",
            "commit",
            "-q",
            "-m",
            "one",
        ],
    );
    git(&served, &["update-server-info"]);
    let port = serve_files(served.join(".git"));
    let url = format!("http://127.0.0.1:{port}/");
    let rule = format!("127.0.0.1:{port}");
    let clone = [
        "--net-allow",
        &rule,
        "--",
        "git",
        "clone",
        "-q",
        &url,
        "/tmp/clone",
    ];
    place.run(&clone).code(0);
    let get = [
        "--net-allow",
        &rule,
        "--",
        "curl",
        "-sS",
        &format!("{url}HEAD"),
    ];
    assert!(place.run(&get).code(0).out().starts_with("ref: "));
}

/// A server of HTTP/1.0 for the files of a folder.
fn serve_files(folder: std::path::PathBuf) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in listener.incoming().map(Result::unwrap) {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if stream.read(&mut byte).unwrap() == 0 {
                    break;
                }
                request.extend(byte);
            }
            let request = String::from_utf8(request).unwrap();
            let target = request.split([' ', '?']).nth(1).unwrap_or("/");
            let answer = match fs::read(folder.join(target.trim_start_matches('/'))) {
                Ok(body) => [&b"HTTP/1.0 200 OK\r\n\r\n"[..], &body].concat(),
                Err(_) => b"HTTP/1.0 404 Not Found\r\n\r\n".to_vec(),
            };
            stream.write_all(&answer).unwrap();
        }
    });
    port
}

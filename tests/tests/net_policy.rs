//! Whom a program may talk to: what rules mean, and what they do not get in the
//! way of.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Read as _;
use std::net::TcpStream;
use std::process::{Command, Stdio};

use nucleus_tests::net::Port;
use nucleus_tests::nucleus::Said as _;
use nucleus_tests::place::Place;
use nucleus_tests::require;
use nucleus_tests::require::stride;

fn place(user: Option<u32>) -> Place {
    Place::with_probe(user, env!("CARGO_BIN_EXE_net-probe"))
}

#[test]
fn ports_that_may_be_bound_can_be_listened_at() {
    require!(userns);
    let place = place(None);
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
fn who_waits_for_a_peer_holds_up_nobody_and_can_be_interrupted() {
    require!(userns);
    let place = place(None);
    let full = Port::open();
    rustix::net::listen(&full.tcp, 0).unwrap();
    // With a backlog of none one connection waits to be accepted.
    let _waits = TcpStream::connect(full.tcp.local_addr().unwrap()).unwrap();
    let allowed = Port::open();
    allowed.accept();
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
fn a_program_does_not_outlive_its_supervisor() {
    require!(userns);
    let place = place(None);
    for round in (0..30_u64).step_by(stride() as usize) {
        let (port, denied) = (Port::open(), Port::open());
        let mut command = Command::new(place.file("nucleus"));
        command
            .args(["run", "--net-allow", &port.rule(), "--", "./probe", "knock"])
            .args([port.number(), denied.number()])
            .current_dir(place.path())
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
        let mut output = nucleus.stdout.take().unwrap();
        output.read_to_string(&mut String::new()).unwrap();
        assert!(denied.is_untouched(), "after {round}");
    }
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

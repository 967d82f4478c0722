//! What a program tries to get past a policy on the network.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Command;

use nucleus_tests::net::Port;
use nucleus_tests::nucleus::Said as _;
use nucleus_tests::place::{NOBODY, Place};
use nucleus_tests::require;
use nucleus_tests::require::{remark, tries};

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
    ("sendmsg across pages", 0),
    ("sendmsg off the page", libc::EFAULT),
    ("sendmsg of nothing", libc::EFAULT),
    ("set a source route", libc::EPERM),
    ("choose a device", libc::EPERM),
    ("choose a device by its index", libc::EPERM),
    ("choose a device for IPv4", libc::EPERM),
    ("choose a device for IPv6", libc::EPERM),
    ("choose a device by IPv6's packets", libc::EPERM),
    ("sendmsg by no such device", 0),
    ("join a group", libc::EPERM),
    ("join a group by its address", libc::EPERM),
    ("join a group of IPv6", libc::EPERM),
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
    ("listeners of its own", 0),
    ("listeners of others", 0),
    ("a listener as well", libc::EBUSY),
    ("changed by its tracer", libc::EACCES),
];

fn place(user: Option<u32>) -> Place {
    Place::with_probe(user, env!("CARGO_BIN_EXE_net-probe"))
}

fn every_attempt_fails(user: Option<u32>) {
    let place = place(user);
    let expected = EXPECTED
        .iter()
        .map(|&(name, errno)| (name.to_owned(), errno.into()));
    let mut expected: BTreeMap<_, _> = expected.collect();
    for view in [&[][..], &["--host"]] {
        let (allowed, denied) = (Port::open(), Port::open());
        let rule = allowed.rule();
        let options = [view, &["--net-allow", &rule]].concat();
        let words = ["attempts", &allowed.number(), &denied.number()];
        let mut said = place.probe(&options, &words);
        if !view.is_empty() && user.is_none() && rustix::process::geteuid().is_root() {
            // Root with the host's capabilities may attach to whom it likes.
            let others = "listeners of others";
            assert_eq!(
                (said.remove(others), expected.remove(others)),
                (Some(1), Some(0))
            );
        }
        assert_eq!(said, expected, "{view:?}");
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
fn what_changes_while_it_is_judged_gets_nowhere_else() {
    require!(userns);
    let place = place(None);
    let (allowed, denied) = (Port::open(), Port::open());
    // Or its backlog would be full soon.
    allowed.accept();
    let tries = tries(1500).to_string();
    let words = ["race", &allowed.number(), &denied.number(), &tries];
    let said = place.probe(&["--net-allow", &allowed.rule()], &words);
    remark(&format!("{said:?}"));
    let (tries, through) = (said["tries"], said["through"]);
    // Both judgements were reached, so that the race was one.
    assert!(through > 10 && through < tries - 10, "{said:?}");
    assert_eq!(said["astray"], 0);
    assert!(denied.is_untouched());
}

/// In a PID namespace with few numbers, of which each is soon another's.
#[test]
fn a_number_that_becomes_another_process_s_leads_to_nobody_else() {
    // Since this kernel the limit is that of the namespace.
    require!(root, kernel(6, 14), tool("unshare"), tool("sh"));
    let place = place(None);
    let allowed = Port::open();
    let script = "echo 420 >/proc/sys/kernel/pid_max && exec ./nucleus run --host \
        --net-allow \"$1\" -- ./probe reuse \"$2\" \"$3\"";
    let number = allowed.number();
    let output = Command::new("unshare")
        .args(["--pid", "--mount-proc", "--fork", "sh", "-c", script, "sh"])
        .args([&allowed.rule(), &number, &tries(1200).to_string()])
        .current_dir(place.path())
        .output()
        .unwrap()
        .code(0);
    remark(output.out());
    assert!(output.out().ends_with("astray: 0\n"), "{}", output.out());
}

#[test]
fn calls_of_other_architectures_are_refused() {
    require!(userns, ia32);
    let said = place(None).probe(&["--net-allow", "localhost"], &["32-bit"]);
    assert_eq!(said.len(), 11);
    for (name, errno) in said {
        assert_eq!(errno, i64::from(libc::ENOSYS), "{name}");
    }
}

/// An inherited socket is of the host's network, and so are its names.
#[test]
fn an_inherited_socket_reaches_no_abstract_name_of_the_host() {
    require!(userns);
    let place = place(None);
    let name = format!("nucleus-net-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let host = UnixDatagram::bind_addr(&address).unwrap();
    let output = Command::new(place.file("nucleus"))
        .args([
            "run",
            "--net-allow",
            "localhost",
            "--",
            "./probe",
            "inherited",
            &name,
        ])
        .current_dir(place.path())
        .stdin(OwnedFd::from(UnixDatagram::unbound().unwrap()))
        .output()
        .unwrap()
        .code(0);
    let expected = format!("sendto by an inherited socket: {}\n", libc::EACCES);
    assert_eq!(output.out(), expected);
    host.set_nonblocking(true).unwrap();
    assert!(host.recv(&mut [0]).is_err());
}

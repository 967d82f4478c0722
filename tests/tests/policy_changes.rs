//! What a policy program changes while the program runs.

#![allow(
    clippy::unwrap_used,
    reason = "what the helpers cannot do fails the test that asked for it"
)]

use std::process::Output;

use nucleus_tests::asked::{ANSWER, documented};
use nucleus_tests::net::Port;
use nucleus_tests::nucleus::Said as _;
use nucleus_tests::place::Place;
use nucleus_tests::require;

/// Prints what becomes of a connection, as often as it is told to, and then in
/// a child.
const CONNECTS: &str = "
import errno, os, socket, sys
port, times = int(sys.argv[1]), int(sys.argv[2])
def connect():
    result = socket.socket().connect_ex(('127.0.0.1', port))
    print(errno.errorcode.get(result, 'ok'), flush=True)
for _ in range(times):
    connect()
if os.fork() == 0:
    connect()
else:
    os.wait()
";

/// A policy that allows all and calls `change LINE` for what the verdict
/// carries.
fn allowing(place: &Place, change: &str) {
    place.policy(&format!(
        r#"
        change() {{ {change}
        }}
        verdict() {{
            changes=
            change "$2"
            echo "{{\"id\":$1,\"verdict\":\"allow\",\"changes\":[$changes]}}"
        }} {ANSWER}"#
    ));
}

fn prints(output: &Output, expected: &[&str]) {
    let lines: Vec<&str> = output.out().lines().collect();
    assert_eq!(lines, expected, "{}", output.err());
}

#[test]
fn the_network_is_taken_from_all_and_given_back() {
    require!(ptrace, userns, tool("python3"), userland);
    let port = Port::open();
    for place in Place::all() {
        // The verdict on the second connection takes it away; `cat` gives it
        // back.
        allowing(
            &place,
            r#"case $1 in
                *'"call":"connect"'*)
                    seen=x$seen
                    [ $seen = xx ] && changes='{"change":"restrict-network","only":[]}';;
                *'/cat"'*) changes='{"change":"grant-network","peers":["127.0.0.0/8"]}';;
            esac"#,
        );
        let script = "python3 -c \"$0\" $1 3; cat /dev/null; python3 -c \"$0\" $1 1";
        let program = ["/bin/sh", "-c", script, CONNECTS, &port.number()];
        let output = place.ask(&["--net-allow", "127.0.0.1"], &program);
        prints(&output, &["ok", "EACCES", "EACCES", "EACCES", "ok", "ok"]);
    }
}

#[test]
fn what_is_taken_from_a_process_is_taken_from_its_children_alone() {
    require!(ptrace, userns, tool("python3"), userland);
    let port = Port::open();
    for place in Place::all() {
        allowing(
            &place,
            r#"case $1 in
                *'"call":"connect"'*)
                    pid=${1#*'"pid":'}
                    [ "$seen" ] || changes="{\"change\":\"restrict-network\",\"only\":[\"192.0.2.1\"],\"pid\":${pid%%,*}}"
                    seen=x;;
            esac"#,
        );
        let script = "python3 -c \"$0\" $1 2; python3 -c \"$0\" $1 1";
        let program = ["/bin/sh", "-c", script, CONNECTS, &port.number()];
        // Not even asked about processes.
        let options = ["--net-allow", "127.0.0.1", "--policy-asks", "network"];
        let output = place.ask(&options, &program);
        prints(&output, &["EACCES", "EACCES", "EACCES", "ok", "ok"]);
    }
}

#[test]
fn paths_are_taken_away_and_given_back() {
    require!(ptrace, userns, userland);
    for place in Place::all() {
        allowing(
            &place,
            r#"case $1 in
                *'"id","-u"'*) changes='{"change":"deny-path","path":"/etc/hostname"},{"change":"deny-path","path":"/usr/bin/uname"}';;
                *'"id","-g"'*) changes='{"change":"allow-path","path":"/etc/hostname"}';;
            esac"#,
        );
        let script = "cat /etc/hostname; id -u; cat /etc/hostname || echo denied; \
                      mv /etc/hostname /tmp/x; uname || echo denied; id -g; cat /etc/hostname; uname";
        let options = ["--path-deny", "/etc/passwd", "--policy-asks", "exec"];
        let output = place.ask(&options, &["sh", "-c", script]).code(126);
        let lines: Vec<&str> = output.out().lines().collect();
        let (user, group) = (lines[1], lines[4]);
        let expected = ["sandbox", user, "denied", "denied", group, "sandbox"];
        prints(&output, &expected);
        assert!(output.err().contains("mv: cannot"), "{}", output.err());
    }
}

#[test]
fn limits_are_lowered_and_never_raised() {
    require!(ptrace, userns, userland);
    for place in Place::all() {
        // With a cgroup init and, without, nobody else is there.
        allowing(
            &place,
            r#"case $1 in
                *'"id","-u"'*) changes='{"change":"limit-processes","most":1},{"change":"limit-memory","most":20000000}';;
                *'"id","-g"'*) changes='{"change":"limit-processes","most":4000000}';;
            esac"#,
        );
        let script = "(:) && echo forks; id -u >/dev/null; (:) && echo forks";
        let options = ["--pids", "20", "--memory", "500M", "--policy-asks", "exec"];
        let output = place.ask(&options, &["sh", "-c", script]);
        assert_eq!(output.out(), "forks\n", "{}", output.err());
        assert!(output.err().contains("Cannot fork"), "{}", output.err());
        let script = "id -u >/dev/null; exec dd if=/dev/zero of=/dev/null bs=100M count=1";
        let output = place.ask(&options, &["sh", "-c", script]);
        assert_ne!(output.status.code(), Some(0), "{}", output.err());
        let script = "id -g >/dev/null; for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21; do sleep 9 & done";
        let output = place.ask(&options, &["sh", "-c", script]);
        assert!(output.err().contains("Cannot fork"), "{}", output.err());
    }
}

#[test]
fn changes_that_cannot_be_deny_their_call_and_are_told() {
    require!(ptrace, userns, userland);
    let place = Place::new();
    let check = |options: &[&str], change: &str, why: &str| {
        allowing(
            &place,
            &format!(r#"case $1 in *'/id"'*) changes='{change}';; esac"#),
        );
        let options = [&["--policy-asks", "exec"], options].concat();
        let script = "id; echo $?; cat /dev/null && echo cat";
        let output = place.ask(&options, &["sh", "-c", script]);
        assert_eq!(output.out(), "126\ncat\n", "{change}: {}", output.err());
        for said in [why, "its call is denied"] {
            assert!(output.err().contains(said), "{said}: {}", output.err());
        }
    };
    let paths = r#"{"change":"deny-path","path":"/etc/hostname"}"#;
    check(&[], paths, "--path-deny or --policy-asks path");
    let limit = r#"{"change":"limit-processes","most":1}"#;
    check(
        &["--pids", "9", "--host"],
        r#"{"change":"limit-memory","most":1}"#,
        "--memory",
    );
    check(
        &["--network", "host"],
        r#"{"change":"restrict-network","only":[]}"#,
        "--net-allow",
    );
    check(&[], limit, "--pids");
    check(
        &[],
        r#"{"change":"restrict-network","only":[],"pid":1}"#,
        "process 1 is none of this run",
    );
    check(
        &[],
        r#"{"change":"restrict-network","only":[],"pid":null}"#,
        "null",
    );
    check(&[], r#"{"change":"allow-all"}"#, "allow-all");
}

#[test]
fn changes_come_without_a_verdict_too() {
    require!(ptrace, userns, userland);
    let place = Place::new();
    place.policy(&format!(
        r#"echo "version $NUCLEUS_POLICY_PROTOCOL" >&2
        echo '{{"changes":[{{"change":"deny-path","path":"/usr/bin/id"}}]}}'
        verdict() {{ echo "{{\"id\":$1,\"verdict\":\"allow\"}}"; }} {ANSWER}"#
    ));
    let options = ["--path-deny", "/etc/passwd", "--policy-asks", "exec"];
    let output = place.ask(&options, &["sh", "-c", "id; cat /usr/bin/id; echo $?"]);
    assert_eq!(output.out(), "1\n", "{}", output.err());
    assert!(output.err().contains("version 1\n"), "{}", output.err());
}

#[test]
fn the_documented_policy_takes_the_network_from_who_was_told_a_secret() {
    require!(ptrace, userns, tool("python3"), userland);
    let port = Port::open();
    for place in Place::all() {
        place.write("policy.py", &documented("python", 1));
        place.policy("exec python3 policy.py");
        place.write("gpg", "#!/bin/sh\n");
        let script = "python3 -c \"$0\" $1 1; ./gpg; python3 -c \"$0\" $1 1";
        let program = ["sh", "-c", script, CONNECTS, &port.number()];
        let output = place.ask(&["--net-allow", "127.0.0.1"], &program);
        prints(&output, &["ok", "ok", "EACCES", "EACCES"]);
    }
}

//! `--policy-exec`: what a program that is asked can allow and deny, and what
//! comes of one that answers badly or not at all.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what the helpers cannot do fails the test that asked for it"
)]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Instant;

use nucleus_tests::asked::{ANSWER, documented};
use nucleus_tests::elf64::{self, Exits};
use nucleus_tests::nucleus::{Said as _, path};
use nucleus_tests::place::Place;
use nucleus_tests::require;
use nucleus_tests::require::tries;

#[test]
fn a_program_allows_and_denies_what_is_executed() {
    require!(ptrace, userland);
    for place in Place::all() {
        place.policy(&format!(
            r#"verdict() {{
                case $2 in
                    *'"argv":["cat"'*secret*) echo "{{\"id\":$1,\"verdict\":\"deny\"}}";;
                    *'"path":"/usr/bin/env"'*)
                        echo "{{\"id\":$1,\"verdict\":\"deny\",\"errno\":\"ENOENT\"}}";;
                    *'/id"'*) echo "{{\"id\":$1,\"verdict\":\"audit\"}}";;
                    *) echo "{{\"verdict\":\"allow\",\"id\":$1}}";;
                esac
            }} {ANSWER}"#
        ));
        let script =
            "cat /dev/null && echo cat; cat secret; env; echo $?; id >/dev/null && echo id";
        let output = place.ask(&["--host", "--policy-asks", "exec"], &["sh", "-c", script]);
        assert_eq!(output.out(), "cat\n127\nid\n", "{}", output.err());
        for said in [
            "cat: Permission denied",
            "denied by the policy: execve /usr/bin/cat by /usr/bin/dash",
            "to be audited: execve /usr/bin/id by /usr/bin/dash",
        ] {
            assert!(output.err().contains(said), "{said}: {}", output.err());
        }
    }
}

#[test]
fn a_denial_of_the_rules_is_told_and_stands() {
    require!(ptrace, userland);
    let place = Place::new();
    place.policy(&format!(
        r#"verdict() {{
            case $2 in *'"denied":true'*) echo "told of $2" >&2;; esac
            echo "{{\"id\":$1,\"verdict\":\"allow\"}}"
        }} {ANSWER}"#
    ));
    let rules = ["--host", "--exec-deny", "env ..."];
    let output = place.ask(&rules, &["sh", "-c", "env A=B; cat /dev/null && echo cat"]);
    assert_eq!(output.out(), "cat\n", "{}", output.err());
    let told = r#""argv":["env","A=B"],"path":"/usr/bin/env","denied":true"#;
    assert!(output.err().contains(told), "{}", output.err());
}

#[test]
fn answers_come_in_any_order_and_others_go_on_meanwhile() {
    require!(ptrace, userland);
    let place = Place::new();
    // The first event of the three is the shell; the others wait for each
    // other, and the later one is answered first.
    place.policy(
        r#"
        answer() { id=${1#*:}; echo "{\"id\":${id%%,*},\"verdict\":\"allow\"}"; }
        read -r line; answer "$line"
        read -r one; read -r two
        answer "$two"; answer "$one"
        read -r end
        "#,
    );
    let script = "cat /dev/null & cat /dev/null & wait; echo done";
    let output = place.ask(&["--host", "--policy-asks", "exec"], &["sh", "-c", script]);
    assert_eq!(output.out(), "done\n", "{}", output.err());
    assert!(!output.err().contains("denied"), "{}", output.err());
}

#[test]
fn a_policy_that_hangs_holds_up_its_callers_alone() {
    require!(ptrace, userland);
    for place in Place::all() {
        let hang = r#"read -r line; echo '{"id":1,"verdict":"allow"}'; exec sleep 1000"#;
        place.policy(hang);
        // The forks are the tracer's to judge, too.
        let script = "/bin/cat /dev/null || echo denied & (:); (:); echo went on; wait; echo end";
        let options = ["--host", "--pids", "99", "--policy-timeout", "1s"];
        let options = [&options[..], &["--policy-asks", "exec"]].concat();
        let start = Instant::now();
        let output = place.ask(&options, &["sh", "-c", script]);
        let lines: Vec<&str> = output.out().lines().collect();
        assert_eq!(lines, ["went on", "denied", "end"], "{}", output.err());
        let late = "denied, as the policy did not answer in time: execve /usr/bin/cat";
        assert!(output.err().contains(late), "{}", output.err());
        assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
    }
}

#[test]
fn a_policy_that_dies_or_talks_nonsense_denies_all() {
    require!(ptrace, userland);
    let place = Place::new();
    let script = "cat /dev/null; echo $?; cat /dev/null; echo $?";
    let run = || place.ask(&["--host", "--policy-asks", "exec"], &["sh", "-c", script]);

    place.policy(r#"read -r line; echo '{"id":1,"verdict":"allow"}'; read -r line; exit 3"#);
    let output = run();
    assert_eq!(output.out(), "126\n126\n", "{}", output.err());
    let ended = "the policy program ended (exit status: 3)";
    assert_eq!(output.err().matches(ended).count(), 1, "{}", output.err());

    place.policy(
        r#"read -r line; echo '{"id":1,"verdict":"allow"}'; while read -r line; do echo yes; done"#,
    );
    let output = run();
    assert_eq!(output.out(), "126\n126\n", "{}", output.err());
    let nonsense = "the policy program said yes\\n, which is no verdict";
    assert_eq!(
        output.err().matches(nonsense).count(),
        1,
        "{}",
        output.err()
    );

    place.policy("exit 0");
    let output = run().code(126);
    assert_eq!(output.out(), "", "{}", output.err());

    fs::remove_file(place.file("policy")).unwrap();
    let output = run().code(125);
    assert!(
        output
            .err()
            .contains("cannot start the policy program \"./policy\"")
    );
}

#[test]
fn what_runs_is_what_was_asked_about_whatever_is_rewritten_meanwhile() {
    require!(ptrace);
    let place = Place::new();
    place.policy(&format!(
        r#"verdict() {{
            case $2 in
                *'/pasz","denied"'*|*'"q"]'*) echo "{{\"id\":$1,\"verdict\":\"deny\"}}";;
                *) echo "{{\"id\":$1,\"verdict\":\"allow\"}}";;
            esac
        }} {ANSWER}"#
    ));
    let file = |name: &str| place.file(name);
    fs::copy(env!("CARGO_BIN_EXE_exec-race"), file("race-it")).unwrap();
    for (kind, exits) in [
        ("path", Exits::With(0)),
        ("argument", Exits::WithItsArgument),
    ] {
        let written = elf64::write(&file("pass"), exits).unwrap();
        elf64::write(&file("pasz"), Exits::With(77)).unwrap();
        if written.is_none() {
            return nucleus_tests::require::say("no program for this machine");
        }
        let program = [
            "./race-it",
            kind,
            &tries(200).to_string(),
            "./pass",
            "./pasz",
        ];
        let options = ["--host", "--policy-asks", "exec"];
        let output = place.ask(&options, &program).code(0);
        let ends = output.out();
        for nobody in ["through: 0\n", "odd: 0\n"] {
            assert!(ends.contains(nobody), "{kind}: {ends} {}", output.err());
        }
        assert!(!ends.contains("ran: 0\n"), "{kind}: {ends}");
    }
}

#[test]
fn each_peer_is_asked_about_by_address_port_and_protocol() {
    require!(ptrace, userns, tool("python3"), userland);
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [good, bad] = listeners
        .each_ref()
        .map(|it| it.local_addr().unwrap().port());
    for place in Place::all() {
        place.policy(&format!(
            r#"verdict() {{
                case $2 in
                    *'"category":"exec"'*|*'"host":"127.0.0.1","names":[],"port":{good},"protocol":"tcp"'*)
                        echo "{{\"id\":$1,\"verdict\":\"allow\"}}";;
                    *) echo "{{\"id\":$1,\"verdict\":\"deny\",\"errno\":\"ECONNREFUSED\"}}";;
                esac
            }} {ANSWER}"#
        ));
        let script = format!(
            "import errno, socket\n\
             for port in ({good}, {bad}):\n\
             \x20   print(errno.errorcode.get(socket.socket().connect_ex(('127.0.0.1', port)), 'ok'))\n\
             with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:\n\
             \x20   try: s.sendto(b'x', ('127.0.0.1', {good}))\n\
             \x20   except OSError as e: print(errno.errorcode[e.errno])\n\
             \x20   try: s.bind(('127.0.0.1', {good}))\n\
             \x20   except OSError as e: print(errno.errorcode[e.errno])\n"
        );
        let options = ["--net-allow", "127.0.0.1", "--net-allow-bind", "0-65535"];
        let output = place.ask(&options, &["/usr/bin/python3", "-c", &script]);
        let lines: Vec<&str> = output.out().lines().collect();
        let refused = "ECONNREFUSED";
        assert_eq!(lines, ["ok", refused, refused, refused], "{}", output.err());
    }
}

#[test]
fn paths_processes_and_memory_are_asked_about_if_that_is_wanted() {
    require!(ptrace, userns, userland);
    for place in Place::all() {
        place.policy(&format!(
            r#"verdict() {{
                case $2 in
                    *'"category":"path"'*'"path":"/etc/hostname"'*|*'"category":"memory"'*'"size":1073'*)
                        echo "{{\"id\":$1,\"verdict\":\"deny\"}}";;
                    *'"category":"process"'*) echo "{{\"id\":$1,\"verdict\":\"audit\"}}";;
                    *) echo "{{\"id\":$1,\"verdict\":\"allow\"}}";;
                esac
            }} {ANSWER}"#
        ));
        let script = "cat /etc/hostname; cat /dev/null && echo cat; \
                      dd if=/dev/zero of=/dev/null bs=1G count=1 || echo no memory";
        let asks = ["--policy-asks", "path,process,memory"];
        let output = place.ask(&asks, &["sh", "-c", script]);
        assert_eq!(output.out(), "cat\nno memory\n", "{}", output.err());
        assert!(output.err().contains("/etc/hostname: Permission denied"));
        assert!(output.err().contains("to be audited: "), "{}", output.err());
    }
}

#[test]
fn the_policy_program_ends_with_the_run_and_with_nucleus() {
    require!(ptrace);
    let place = Place::new();
    let stubborn = r#"verdict() { echo "{\"id\":$1,\"verdict\":\"allow\"}"; }"#;
    let options = ["--host", "--policy-asks", "exec"];
    let ended = |kill: bool| {
        // One that does not end with its input. A child of it ends with the
        // run; when nucleus is killed, the kernel ends the program alone.
        let (child, program) = if kill {
            ("", "echo up; sleep 1000")
        } else {
            ("sleep 1000 &", "echo up")
        };
        place.policy(&format!("{stubborn}\n{child} {ANSWER}\nexec sleep 1000"));
        let mut command = place.asking(&options, &["sh", "-c", program]);
        // Whoever survives holds this open.
        let (mut watched, held) = std::io::pipe().unwrap();
        command.stdout(Stdio::piped()).stderr(held);
        let mut child = command.spawn().unwrap();
        drop(command);
        let mut up = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut up).unwrap();
        assert_eq!(up, "up\n");
        if kill {
            child.kill().unwrap();
        }
        child.wait().unwrap();
        watched.read_to_end(&mut Vec::new()).unwrap();
    };
    ended(false);
    ended(true);
}

#[test]
fn the_plan_starts_no_policy_program() {
    require!(ptrace, userns);
    let place = Place::new();
    place.policy("touch started");
    let output = place.ask(&["--print-plan"], &["true"]).code(0);
    let rule = "what the policy says of each program to execute: enforced by the supervisor, as the tracer\n";
    assert!(output.out().contains(rule), "{}", output.out());
    assert!(!place.file("started").exists());
}

#[test]
fn the_example_of_the_documentation_works() {
    require!(ptrace, tool("python3"), userland);
    let place = Place::new();
    place.write("policy.py", &documented("python", 0));
    place.policy("exec python3 policy.py");
    let script = "cat /dev/null && echo cat; cat secret; echo $?";
    let output = place.ask(&["--host"], &["sh", "-c", script]);
    assert_eq!(output.out(), "cat\n126\n", "{}", output.err());
}

#[test]
fn the_file_of_the_documentation_is_one() {
    let place = Place::new();
    place.write("policy.toml", &documented("toml", 0));
    let mut check = Command::new(path());
    check.args(["policy", "check", "policy.toml"]);
    let output = check.current_dir(place.path()).output().unwrap();
    let output = output.code(0);
    assert!(output.out().contains("network: talk to *.crates.io:443: "));
}

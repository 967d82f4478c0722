use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;

use super::*;
use crate::systemd::wire::{FIXED, rest};
use crate::testing::fake;

/// A message of a manager. Field 5 is the number of the call that it answers.
fn said(kind: u8, fields: impl FnOnce(&mut Writer), body: &Writer) -> Vec<u8> {
    let mut out = Writer::default();
    for byte in [b'l', kind, 0, 1] {
        out.byte(byte);
    }
    let length = body.clone().close(&Writer::default()).len();
    assert_eq!(length % 8, 0, "the body of a test is padded by itself");
    out.number(u32::try_from(length).unwrap());
    out.number(9);
    out.array(8, fields);
    out.close(body)
}

fn texts(all: &[&str]) -> Writer {
    let mut out = Writer::default();
    for text in all {
        out.text(text);
    }
    out.align(8);
    out
}

fn returned(serial: u32, job: &str) -> Vec<u8> {
    said(
        2,
        |out| {
            out.field(5, "u", |out| out.number(serial));
            out.field(8, "g", |out| out.signature("o"));
        },
        &texts(&[job]),
    )
}

fn refused(serial: u32, name: &str, message: &str) -> Vec<u8> {
    said(
        3,
        |out| {
            out.field(4, "s", |out| out.text(name));
            out.field(5, "u", |out| out.number(serial));
            out.field(8, "g", |out| out.signature("s"));
        },
        &texts(&[message]),
    )
}

fn removed(job: &str, result: &str) -> Vec<u8> {
    let mut body = Writer::default();
    body.number(7);
    for text in [job, "any.scope", result] {
        body.text(text);
    }
    body.align(8);
    said(
        4,
        |out| {
            out.field(3, "s", |out| out.text("JobRemoved"));
            out.field(8, "g", |out| out.signature("uoss"));
        },
        &body,
    )
}

fn read_message(stream: &mut UnixStream) -> Vec<u8> {
    let mut bytes = vec![0; FIXED];
    stream.read_exact(&mut bytes).unwrap();
    let more = rest(bytes.first_chunk().unwrap()).unwrap();
    bytes.resize(FIXED + more, 0);
    stream.read_exact(&mut bytes[FIXED..]).unwrap();
    bytes
}

/// Serves one client who authenticates and asks once; the answer is written in
/// one piece. What was asked is returned.
fn serve(listener: &UnixListener, answer: &[u8]) -> Vec<u8> {
    let (mut stream, _address) = listener.accept().unwrap();
    let uid = rustix::process::geteuid().as_raw().to_string();
    let digits: String = uid.bytes().map(|byte| format!("{byte:x}")).collect();
    let hello = format!("\0AUTH EXTERNAL {digits}\r\n");
    let mut line = vec![0; hello.len()];
    stream.read_exact(&mut line).unwrap();
    assert_eq!(line, hello.as_bytes());
    stream.write_all(b"OK 0123456789abcdef\r\n").unwrap();
    let mut begin = [0; 7];
    stream.read_exact(&mut begin).unwrap();
    assert_eq!(&begin, b"BEGIN\r\n");
    let asked = read_message(&mut stream);
    stream.write_all(answer).unwrap();
    asked
}

/// What comes of asking a manager that answers so, and what it was asked.
fn ask(answer: &[&[u8]]) -> (Result<(), String>, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("private");
    let listener = UnixListener::bind(&socket).unwrap();
    let answer = answer.concat();
    let manager = thread::spawn(move || serve(&listener, &answer));
    let uid = rustix::process::geteuid().as_raw();
    let connection = Connection::open(&socket, uid).unwrap();
    let started = start(connection, "nucleus-1.scope").map_err(|error| {
        let source = std::error::Error::source(&error);
        let source = source.map_or_else(String::new, |source| format!(": {source}"));
        format!("{error}{source}").replace(&socket.display().to_string(), "SOCKET")
    });
    (started, manager.join().unwrap())
}

#[test]
fn a_scope_is_there_when_its_job_is_done() {
    let (started, asked) = ask(&[
        &removed("/job/1", "failed"),
        &returned(1, "/job/2"),
        &removed("/job/3", "failed"),
        &removed("/job/2", "done"),
    ]);
    assert_eq!(started, Ok(()));
    for part in [
        &b"StartTransientUnit\0"[..],
        b"nucleus-1.scope\0",
        b"Delegate\0\x01b\0\x01\0\0\0",
        b"TasksMax\0\x01t\0",
        b"PIDs\0\x02au\0\0\0\0\x04\0\0\0\0\0\0\0",
    ] {
        assert!(
            asked.windows(part.len()).any(|window| window == part),
            "{}",
            part.escape_ascii()
        );
    }
}

#[test]
fn a_job_may_be_done_before_the_call_returns() {
    let (started, _asked) = ask(&[&removed("/job/2", "done"), &returned(1, "/job/2")]);
    assert_eq!(started, Ok(()));
}

#[test]
fn a_manager_that_does_not_is_quoted() {
    let check = |answer: &[&[u8]], expected: &str| {
        assert_eq!(ask(answer).0, Err(expected.to_owned()));
    };
    check(
        &[&returned(1, "/job/2"), &removed("/job/2", "timeout")],
        "systemd could not start nucleus-1.scope: timeout; \
         see systemctl --user status nucleus-1.scope",
    );
    check(
        &[&refused(1, "org.example.No", "not today")],
        "systemd at SOCKET refuses StartTransientUnit: not today (org.example.No)",
    );
    check(
        &[b"GET / HTTP/1.1\r\n"],
        "cannot hear from systemd at SOCKET: what it says is not D-Bus",
    );
    check(
        &[],
        "cannot hear from systemd at SOCKET: failed to fill whole buffer",
    );
}

#[test]
fn nobody_else_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("private");
    let _listener = UnixListener::bind(&socket).unwrap();
    let own = rustix::process::geteuid().as_raw();
    let error = Connection::open(&socket, own + 1).unwrap_err();
    assert!(
        matches!(&error, Error::Systemd { doing: "trust", .. }),
        "{error}"
    );
    let missing = Connection::open(&folder.path().join("absent"), own).unwrap_err();
    assert!(
        matches!(
            &missing,
            Error::Systemd {
                doing: "connect to",
                ..
            }
        ),
        "{missing}"
    );
}

#[test]
fn a_user_without_a_manager_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let own = rustix::process::geteuid().as_raw();
    let none = reach(folder.path(), own).unwrap_err();
    let private = folder.path().join("systemd/private");
    assert!(
        matches!(&none, Error::NoManager { uid, socket, .. } if *uid == own && *socket == private),
        "{none}"
    );
    // One that does not talk is another matter.
    let socket = folder.path().join("bus");
    let listener = UnixListener::bind(&socket).unwrap();
    let server = thread::spawn(move || drop(listener.accept().unwrap()));
    let silent = reach(folder.path(), own).unwrap_err();
    server.join().unwrap();
    assert!(
        matches!(&silent, Error::Systemd { socket: at, .. } if *at == socket),
        "{silent}"
    );
}

#[test]
fn limits_on_this_process_are_not_left() {
    let tree = tempfile::tempdir().unwrap();
    let check = |own: &str, limited: &str, expected: Option<&str>| {
        for entry in std::fs::read_dir(tree.path()).unwrap() {
            std::fs::remove_dir_all(entry.unwrap().path()).unwrap();
        }
        let mut path = PathBuf::new();
        for part in Path::new(own).components() {
            path.push(part);
            let name = path.to_str().unwrap();
            let limit = if name == limited { "1000\n" } else { "max\n" };
            fake(
                tree.path(),
                name,
                &[("cgroup.type", "domain\n"), ("memory.max", limit)],
            );
        }
        let host = Host::on(tree.path(), "/", &format!("0::/{own}\n"));
        let left = match leaves_no_limit(&host, 1000) {
            Ok(()) => None,
            Err(Error::LimitLeft { from, limit }) => {
                assert_eq!(limit, "memory.max");
                Some(from)
            }
            Err(error) => panic!("{error}"),
        };
        assert_eq!(left, expected.map(|path| tree.path().join(path)));
    };
    let session = "user.slice/user-1000.slice/session-1.scope";
    check(session, "", None);
    check(session, "user.slice/user-1000.slice", None);
    check(session, session, Some(session));
    let service = "user.slice/user-1000.slice/user@1000.service/app.slice/a.service";
    check(service, "user.slice", None);
    check(service, service, Some(service));
    check(
        "system.slice/cron.service",
        "system.slice",
        Some("system.slice"),
    );
}

//! Real programs under a policy on the network.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::thread;

use nucleus_tests::nucleus::Said as _;
use nucleus_tests::place::Place;
use nucleus_tests::require;

fn place(user: Option<u32>) -> Place {
    Place::with_probe(user, env!("CARGO_BIN_EXE_net-probe"))
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
    let place = place(None);
    let asyncio = "import asyncio\n\
        async def echo(r, w):\n  w.write((await r.read(9)).upper()); await w.drain(); w.close()\n\
        async def main():\n  s = await asyncio.start_server(echo, '127.0.0.1', 0)\n  \
        r, w = await asyncio.open_connection(*s.sockets[0].getsockname())\n  \
        w.write(b'hello'); print(await r.read(9))\nasyncio.run(main())";
    let local = ["--net-allow", "localhost", "--net-allow-bind", "0", "--"];
    let words = [&local[..], &["/usr/bin/python3", "-c", asyncio]].concat();
    assert_eq!(place.run(&words).code(0).out(), "b'HELLO'\n");

    let served = place.file("served");
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

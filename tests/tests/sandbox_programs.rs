//! Real programs work in the default sandbox, for root and anybody else.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use nucleus_tests::nucleus::{Said as _, path};
use nucleus_tests::require;
use nucleus_tests::scratch::Scratch;

/// Runs a script in the sandbox as root and as nobody, in a folder with a
/// program's source; it must print what is expected.
fn check(script: &str, expected: &str) {
    for user in [0, 65534] {
        let scratch = Scratch::new();
        fs::set_permissions(scratch.path(), Permissions::from_mode(0o755)).unwrap();
        fs::copy(path(), scratch.file("nucleus")).unwrap();
        let source = scratch.file("hello.c");
        fs::write(
            &source,
            "#include <stdio.h>\nint main(){puts(\"hello\");}\n",
        )
        .unwrap();
        fs::set_permissions(&source, Permissions::from_mode(0o644)).unwrap();
        let mut command = Command::new(scratch.file("nucleus"));
        command
            .args(["run", "--", "bash", "-c", script])
            .current_dir(scratch.path())
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", "/home/someone")
            .stdin(Stdio::null());
        if user != 0 {
            command.uid(user).gid(user);
        }
        assert_eq!(command.output().unwrap().code(0).out(), expected, "{user}");
    }
}

#[test]
fn shells() {
    require!(root, userns);
    check(
        "ls; ls | wc -l; echo ok > /dev/null",
        "hello.c\nnucleus\n2\n",
    );
    check(
        "for i in $(seq 20); do /bin/true & done; wait; echo $?",
        "0\n",
    );
    check(
        "cat <(echo a) <<< b; echo x > /tmp/f; mv /tmp/f ~; cat ~/f",
        "a\nx\n",
    );
}

#[test]
fn compilers() {
    require!(root, userns, userland, tool("gcc"));
    check("gcc -o /tmp/hello hello.c && /tmp/hello", "hello\n");
}

#[test]
fn git() {
    require!(root, userns, userland, tool("git"));
    check(
        "cd /tmp && git init -q a && cd a && git config user.email a@b && git config user.name a \
         && echo a > f && git add f && git commit -qm first && cd .. \
         && git clone -q a b && git -C b log --format=%s",
        "first\n",
    );
}

#[test]
fn python() {
    require!(root, userns, userland, path("/usr/bin/python3"));
    check(
        "/usr/bin/python3 -c 'import threading, subprocess, ssl, sqlite3, multiprocessing
t = threading.Thread(target=print, args=(\"thread\",), kwargs={\"flush\": True}); t.start(); t.join()
print(subprocess.check_output([\"echo\", \"child\"]))
c = sqlite3.connect(\"/tmp/a.db\"); c.execute(\"create table t(a)\"); c.commit()
print(multiprocessing.Pool(2).map(abs, [-1, -2]))'",
        "thread\nb'child\\n'\n[1, 2]\n",
    );
}

#[test]
fn python_s_virtual_environments() {
    require!(root, userns, userland, path("/usr/bin/python3"));
    check(
        "/usr/bin/python3 -m venv --without-pip /tmp/v \
         && /tmp/v/bin/python -c 'import sys; print(sys.prefix)'",
        "/tmp/v\n",
    );
}

#[test]
fn databases() {
    require!(root, userns, userland, tool("sqlite3"));
    check(
        "sqlite3 /tmp/a.db 'pragma journal_mode=wal; create table t(a); insert into t values(1)' \
         && sqlite3 /tmp/a.db 'select * from t'",
        "wal\n1\n",
    );
}

#[test]
fn applets() {
    require!(root, userns, tool("busybox"));
    check(
        "busybox sh -c 'busybox seq 3 | busybox sort -r | busybox head -1; busybox id -u > /dev/null; \
         busybox find . -name hello.c; busybox tar c hello.c | busybox tar t'",
        "3\n./hello.c\nhello.c\n",
    );
}

#[test]
fn go() {
    require!(root, userns, userland, tool("go"));
    check(
        "cd /tmp && printf 'package main\nimport \"fmt\"\nfunc main() { c := make(chan int); \
         go func() { c <- 1 }(); fmt.Println(\"go\", <-c) }' > a.go && go run a.go",
        "go 1\n",
    );
}

#[test]
fn java() {
    require!(root, userns, userland, tool("javac"));
    check(
        "cd /tmp && printf 'class A { public static void main(String[] a) throws Exception { \
         Thread t = new Thread(() -> System.out.println(\"java\")); t.start(); t.join(); } }' > A.java \
         && java A.java",
        "java\n",
    );
}

/// A crate of the user's own, in a workspace that it may write to. The
/// toolchain is the caller's; nobody has one only where it lets others read it.
#[test]
fn cargo() {
    require!(root, userns, userland, mapped_ids, tool("cargo"));
    for user in [0, 65534] {
        let scratch = Scratch::new();
        fs::set_permissions(scratch.path(), Permissions::from_mode(0o755)).unwrap();
        fs::copy(path(), scratch.file("nucleus")).unwrap();
        let folder = scratch.file("crate");
        fs::create_dir_all(folder.join("src")).unwrap();
        fs::write(
            folder.join("Cargo.toml"),
            "[package]\nname = \"small\"\nedition = \"2021\"\n[workspace]\n",
        )
        .unwrap();
        fs::write(
            folder.join("src/lib.rs"),
            "pub fn two() -> u32 { 1 + 1 }\n#[test]\nfn adds() { assert_eq!(two(), 2); }\n",
        )
        .unwrap();
        fs::write(
            folder.join("src/main.rs"),
            "fn main() { println!(\"{}\", small::two()); }\n",
        )
        .unwrap();
        for path in ["", "src", "src/lib.rs", "src/main.rs", "Cargo.toml"] {
            chown(folder.join(path), Some(user), Some(user)).unwrap();
        }
        let command = |program: &Path| {
            let mut command = Command::new(program);
            command.current_dir(&folder).stdin(Stdio::null());
            if user != 0 {
                command.uid(user).gid(user);
            }
            command
        };
        let found = command(Path::new("cargo")).arg("--version").output();
        if !found.is_ok_and(|output| output.status.success()) {
            nucleus_tests::require::say(&format!("user {user} may not run cargo"));
            continue;
        }
        let mut run = command(&scratch.file("nucleus"));
        run.args(["run", "--workspace", ".", "--", "sh", "-ec"])
            .arg("cargo build --offline -q; target/debug/small; cargo test --offline -q");
        let output = run.output().unwrap().code(0);
        assert!(output.out().starts_with("2\n"), "{}", output.out());
        let passed = output.out().matches("1 passed").count();
        assert_eq!(passed, 1, "{}", output.out());
        assert!(folder.join("target/debug/small").exists());
    }
}

#[test]
fn interpreters() {
    require!(root, userns, userland, tool("perl"), path("/usr/bin/node"));
    check("perl -e 'print `echo perl`'", "perl\n");
    check("node -e 'console.log(1 + 1)'", "2\n");
}

#[test]
fn the_network_is_a_loopback() {
    require!(root, userns, path("/usr/bin/python3"));
    check(
        "/usr/bin/python3 -c 'import socket
s = socket.create_server((\"127.0.0.1\", 0)); c = socket.create_connection(s.getsockname())
c.send(b\"x\"); print(s.accept()[0].recv(1))
try: socket.create_connection((\"1.1.1.1\", 53))
except OSError as e: print(e.errno)'",
        "b'x'\n101\n",
    );
}

#[test]
fn a_hidden_program_is_named_with_the_remedy() {
    require!(root);
    let scratch = Scratch::new();
    fs::copy("/bin/true", scratch.file("hidden")).unwrap();
    let output = Command::new(path())
        .args(["run", "-e"])
        .arg(format!("PATH={}", scratch.path().display()))
        .args(["--", "hidden"])
        .stdin(Stdio::null())
        .output()
        .unwrap()
        .code(127);
    assert!(output.err().contains("--volume"), "{}", output.err());
}

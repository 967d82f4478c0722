//! What is left of the sandbox where the host forbids user namespaces.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::unix::fs::chown;
use std::process::Output;

use nucleus_tests::nucleus::Said as _;
use nucleus_tests::place::{NOBODY, Place};
use nucleus_tests::require;

fn reduced(place: &Place, options: &[&str], script: &str) -> Output {
    let words = [
        &["run", "--no-userns"],
        options,
        &["--", "sh", "-c", script],
    ]
    .concat();
    place.of(NOBODY).nucleus(&words)
}

#[test]
fn the_error_without_userns_names_the_way_without() {
    require!(root, tool("unshare"));
    let place = Place::new();
    // In the test machine there are none to begin with.
    let script = "if [ $(cat /proc/sys/user/max_user_namespaces) = 0 ]; then exec ./nucleus run -- true; fi; \
        exec unshare --user --map-root-user sh -c \
        'echo 0 >/proc/sys/user/max_user_namespaces && exec ./nucleus run -- true'";
    let output = place.command("sh").args(["-c", script]).output().unwrap();
    let output = output.code(125);
    let said = output.err();
    assert!(said.contains("user.max_user_namespaces"), "{said}");
    assert!(said.contains("--no-userns"), "{said}");
    assert!(said.contains("--userns host"), "{said}");
}

#[test]
fn without_userns_landlock_and_the_filter_are_the_walls() {
    require!(root, landlock(1));
    let place = Place::new();
    place.write("readable", "of the folder\n");
    let others = Place::new();
    others.write("other", "of others\n");
    let other = others.path().join("other");
    let script = format!(
        "cat readable && echo x >/dev/null && echo \"$HOME\" && ! cat {other} && \
         ! touch new && ! ls / && ! cat /etc/shadow && ! ls /tmp && \
         grep NoNewPrivs:.1 /proc/self/status && ulimit -c",
        other = other.display()
    );
    let output = reduced(&place, &[], &script).code(0);
    let lines: Vec<_> = output.out().lines().collect();
    assert_eq!(lines[..2], ["of the folder", "/nonexistent"]);
    assert_eq!(lines.last(), Some(&"0"));
    // All that is off is said, once.
    let said = output.err().lines().next().unwrap();
    for word in [
        "--no-userns",
        "Landlock (ABI",
        "off",
        "namespaces",
        "processes",
    ] {
        assert!(said.contains(word), "{said}");
    }
}

#[test]
fn without_userns_a_grant_is_for_content_alone() {
    require!(root, landlock(3), tool("chmod"));
    let place = Place::new();
    let granted = place.path().join("granted");
    std::fs::create_dir(&granted).unwrap();
    chown(&granted, Some(NOBODY), Some(NOBODY)).unwrap();
    let script = "echo x >new && mkdir below && mv new below/old && \
        ! chmod 777 below/old && rm below/old && \
        ! ln -s x ../link";
    let output = reduced(&place, &["--workspace", "granted"], script);
    drop(output.code(0));
    assert!(granted.join("below").is_dir());
}

#[test]
fn without_userns_there_is_no_way_by_sockets_signals_or_tracing() {
    require!(root, landlock(6), tool("python3"));
    let place = Place::new();
    let script = "import os, signal, socket\n\
        def tried(what, call, *arguments):\n\
        \x20   try: call(*arguments); print(what, 0)\n\
        \x20   except OSError as error: print(what, error.errno)\n\
        parent = os.getppid()\n\
        tried('unix', socket.socket, socket.AF_UNIX)\n\
        tried('inet', socket.socket, socket.AF_INET)\n\
        tried('pair', socket.socketpair)\n\
        tried('kill', os.kill, parent, signal.SIGCONT)\n\
        tried('memory', open, f'/proc/{parent}/mem')\n\
        tried('environment', lambda: open(f'/proc/{parent}/environ').read())\n\
        tried('userns', os.unshare, 0x10000000) if hasattr(os, 'unshare') else print('userns 1')";
    let words = ["run", "--no-userns", "--", "python3", "-c", script];
    let output = place.of(NOBODY).nucleus(&words).code(0);
    let (perm, access) = (libc::EPERM, libc::EACCES);
    let expected = format!(
        "unix {perm}\ninet {perm}\npair 0\nkill {perm}\nmemory {access}\nenvironment {access}\nuserns {perm}\n"
    );
    assert_eq!(output.out(), expected);
}

#[test]
fn what_no_userns_cannot_have_is_refused() {
    require!(root);
    let place = Place::new();
    place.write("file", "");
    let root = place
        .nucleus(&["run", "--no-userns", "--", "true"])
        .code(125);
    assert!(root.err().contains("--userns host"), "{}", root.err());
    let elsewhere = reduced(&place, &["-v", "file:/elsewhere"], "true").code(125);
    assert!(
        elsewhere.err().contains("another place"),
        "{}",
        elsewhere.err()
    );
    let named = reduced(&place, &["--hostname", "other"], "true").code(125);
    assert!(
        named.err().contains("a name for the machine"),
        "{}",
        named.err()
    );
}

/// The doctor says which of the two there is.
#[test]
fn the_doctor_knows_of_no_userns() {
    require!(root, landlock(1));
    let place = Place::new();
    let output = place.of(NOBODY).nucleus(&["doctor", "--json"]);
    let findings: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let works = |what: &str| {
        let mut all = findings.as_array().unwrap().iter();
        all.find(|finding| finding["what"] == what).unwrap()["works"] == true
    };
    assert!(works("reduced sandbox"));
    let userns = std::fs::read_to_string("/proc/sys/user/max_user_namespaces").unwrap();
    assert_eq!(works("default sandbox"), userns.trim() != "0");
    assert_eq!(works("capabilities inside"), userns.trim() != "0");
}

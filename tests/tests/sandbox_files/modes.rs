//! Files by which whoever executes them becomes their owner: none is left in a
//! folder of the host that a program may write to.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use nucleus_tests::nucleus::Said as _;
use nucleus_tests::require;

use super::place::{Place, USERS};

/// What `sandbox-probe modes` tries, and what comes of it.
const EXPECTED: &[(&str, i32)] = &[
    ("set-user-ID by fchmod", libc::EPERM),
    ("set-group-ID by fchmod", libc::EPERM),
    ("set-user-ID by fchmodat", libc::EPERM),
    ("set-user-ID by fchmodat2", libc::EPERM),
    ("set-user-ID by fchmod with more bits", libc::EPERM),
    ("set-user-ID by openat", libc::EPERM),
    ("set-group-ID by openat", libc::EPERM),
    ("set-user-ID without a name", libc::EPERM),
    ("set-user-ID by openat2", libc::ENOSYS),
    ("set-user-ID by mknodat", libc::EPERM),
    #[cfg(target_arch = "x86_64")]
    ("set-user-ID by chmod", libc::EPERM),
    #[cfg(target_arch = "x86_64")]
    ("set-user-ID by open", libc::EPERM),
    #[cfg(target_arch = "x86_64")]
    ("open with a mode that means nothing", 0),
    #[cfg(target_arch = "x86_64")]
    ("set-user-ID by creat", libc::EPERM),
    #[cfg(target_arch = "x86_64")]
    ("set-user-ID by mknod", libc::EPERM),
    ("a folder with bits by mkdirat", 0),
    ("mode without them", 0),
];

fn place(user: u32) -> Place {
    let place = Place::new(user);
    fs::copy(
        env!("CARGO_BIN_EXE_sandbox-probe"),
        place.scratch.file("probe"),
    )
    .unwrap();
    place.prepare("mkdir ws");
    place
}

fn bits(file: &Path) -> u32 {
    fs::symlink_metadata(file).unwrap().permissions().mode() & 0o7777
}

#[test]
fn no_program_leaves_a_file_with_set_id_bits() {
    require!(root, userns, mapped_ids);
    for user in USERS {
        for options in [&[][..], &["--path-deny", "/opt"]] {
            let place = place(user);
            let grant = ["-v", "ws:/data:rw"];
            let probe = ["--", "./probe", "modes", "/data"];
            let output = place.run(&[&grant, options, &probe].concat()).code(0);
            let tried: Vec<_> = output
                .out()
                .lines()
                .map(|line| line.rsplit_once(": ").unwrap())
                .map(|(name, errno)| (name, errno.parse::<i32>().unwrap()))
                .collect();
            assert_eq!(tried, EXPECTED, "user {user}, {options:?}");
            for entry in fs::read_dir(place.scratch.file("ws")).unwrap() {
                let path = entry.unwrap().path();
                assert_eq!(bits(&path) & 0o6000, 0, "{}", path.display());
            }
        }
    }
}

/// What copies, unpacks and installs ordinary files keeps their modes; new
/// folders inherit a set-group-ID bit, for that is no call's mode.
#[test]
fn ordinary_modes_are_kept() {
    require!(
        root,
        userns,
        mapped_ids,
        userland,
        tool("tar"),
        tool("install")
    );
    for user in USERS {
        let place = place(user);
        place.prepare("mkdir ws/set; chmod 2755 ws/set");
        let work = "cd /data; echo text > a; chmod 1640 a; chmod +x a; cp -p a b; mkdir d set/e; \
            tar -cpf - a | tar -xpf - -C d; install -m 755 a c; cp -a d f; umask 0; echo > open";
        place
            .run(&["-v", "ws:/data:rw", "--", "sh", "-ec", work])
            .code(0);
        let at = |name: &str| bits(&place.scratch.file("ws").join(name));
        let found = ["a", "b", "d/a", "c", "f/a", "open"].map(at);
        assert_eq!(found, [0o1751, 0o1751, 0o1751, 0o755, 0o1751, 0o666]);
        assert_eq!(at("set/e") & 0o2000, 0o2000, "user {user}");
    }
}

#[test]
fn set_id_bits_can_be_allowed() {
    require!(root, userns, mapped_ids);
    for user in USERS {
        let place = place(user);
        let work = "echo > /data/file; chmod 6755 /data/file";
        let words = ["-v", "ws:/data:rw", "--", "sh", "-ec", work];
        let refused = place.run(&words).code(1);
        assert!(
            refused.err().contains("Operation not permitted"),
            "{}",
            refused.err()
        );
        let allow = ["--cap-add", "fsetid"];
        place.run(&[&allow[..], &words].concat()).code(0);
        assert_eq!(bits(&place.scratch.file("ws/file")), 0o6755, "user {user}");
    }
}

//! Capabilities that a program is given, and Landlock policies: what they give
//! and take, for root and for anybody else.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use nucleus_tests::nucleus::Said as _;
use nucleus_tests::place::{NOBODY, Place};
use nucleus_tests::require;

/// Every capability of Linux 5.9 and later (capabilities(7)).
const ALL: &[&str] = &[
    "audit_control",
    "audit_read",
    "audit_write",
    "block_suspend",
    "bpf",
    "checkpoint_restore",
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "ipc_lock",
    "ipc_owner",
    "kill",
    "lease",
    "linux_immutable",
    "mac_admin",
    "mac_override",
    "mknod",
    "net_admin",
    "net_bind_service",
    "net_broadcast",
    "net_raw",
    "perfmon",
    "setfcap",
    "setgid",
    "setpcap",
    "setuid",
    "sys_admin",
    "sys_boot",
    "sys_chroot",
    "sys_module",
    "sys_nice",
    "sys_pacct",
    "sys_ptrace",
    "sys_rawio",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "syslog",
    "wake_alarm",
];

#[test]
fn capabilities_are_there_in_all_five_sets_and_after_exec() {
    require!(root, userns);
    let place = Place::new();
    place.write("caps.toml", "add = [\"chown\"]\n");
    for user in [0, NOBODY] {
        let options = [
            "run",
            "--cap-add",
            "CAP_NET_BIND_SERVICE",
            "--caps-policy",
            "caps.toml",
        ];
        let script = ["--", "sh", "-c", "grep ^Cap /proc/self/status"];
        let output = place
            .of(user)
            .nucleus(&[&options[..], &script].concat())
            .code(0);
        let sets = output.out().lines();
        let sets: Vec<_> = sets.map(|line| line.split_once('\t').unwrap().1).collect();
        assert_eq!(sets, ["0000000000000401"; 5]);
    }
}

#[test]
fn a_capability_is_one_over_the_sandbox_s_own() {
    require!(root, userns, tool("python3"));
    let place = Place::new();
    let bind = "import socket; socket.socket().bind(('127.0.0.1', 80)); print('bound')";
    let name = "import socket; socket.sethostname('other'); print(socket.gethostname())";
    for user in [0, NOBODY] {
        for (capability, script, expected) in [
            ("net_bind_service", bind, "bound\n"),
            ("sys_admin", name, "other\n"),
        ] {
            let without = place
                .of(user)
                .nucleus(&["run", "--", "python3", "-c", script]);
            assert!(without.code(1).err().contains("PermissionError"));
            let options = [
                "run",
                "--cap-add",
                capability,
                "--",
                "python3",
                "-c",
                script,
            ];
            assert_eq!(place.of(user).nucleus(&options).code(0).out(), expected);
        }
    }
}

/// Not the host's files, processes, mounts, modules, devices, clock: what the
/// probe gets is over namespaces of the sandbox's own.
#[test]
fn no_capability_reaches_the_host() {
    const OWN: &[&str] = &[
        // Files and root of the sandbox; the whole table is in sandbox_attacks.
        "chroot",
        "sethostname",
        "setgroups",
        // Sockets of the sandbox's network.
        "packet socket",
        "raw socket",
        // Namespaces that it may make with CAP_SYS_ADMIN and an open filter.
        "unshare cgroup",
        "unshare ipc",
        "unshare mount",
        "unshare net",
        "unshare pid",
        "unshare time",
        "unshare uts",
        // Settings of its network and of its user namespace; its own UTS.
        "setns",
        "write a setting",
        "write the limit of namespaces",
        // A process may look at itself.
        "kcmp",
        // What only the filter closes, for whomever.
        "MPTCP",
        "add_key",
        "every other family",
        "fanotify_init",
        "io_uring_setup",
        "keyctl",
        "memfd_secret",
        "userfaultfd",
        "vsock",
    ];
    require!(root, userns, landlock(6));
    let place = Place::new();
    place.add("probe", env!("CARGO_BIN_EXE_sandbox-probe").as_ref());
    place.write("open.json", r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#);
    let given: Vec<_> = ALL.iter().flat_map(|name| ["--cap-add", name]).collect();
    let host = std::process::id().to_string();
    for user in [0, NOBODY] {
        for others in [&[][..], &["--no-landlock"]] {
            let filter = ["--seccomp-profile", "open.json"];
            let probe = ["--", "./probe", &host, "1", "no-such-socket"];
            let words = [&["run"][..], &given, &filter, others, &probe].concat();
            let output = place.of(user).nucleus(&words).code(0);
            let open = output
                .out()
                .lines()
                .filter_map(|line| line.strip_suffix(": 0"));
            let open: Vec<_> = open.filter(|name| !OWN.contains(name)).collect();
            assert_eq!(open, [""; 0], "user {user}, {others:?}");
        }
    }
}

#[test]
fn a_file_handle_opens_nothing_with_any_capability() {
    require!(root, userns, userland, tool("python3"));
    let place = Place::new();
    place.write("open.json", r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#);
    // name_to_handle_at("/usr"), then open_by_handle_at(that).
    let script = "import ctypes, os, struct\n\
        libc = ctypes.CDLL(None, use_errno=True)\n\
        handle = ctypes.create_string_buffer(struct.pack('Ii', 128, 0) + bytes(128))\n\
        mount = ctypes.c_int()\n\
        named = libc.name_to_handle_at(-100, b'/usr', handle, ctypes.byref(mount), 0)\n\
        folder = os.open('/usr', os.O_RDONLY)\n\
        opened = libc.open_by_handle_at(folder, handle, 0)\n\
        print(named, opened, ctypes.get_errno())";
    let given: Vec<_> = ALL.iter().flat_map(|name| ["--cap-add", name]).collect();
    for user in [0, NOBODY] {
        let program = [
            "--seccomp-profile",
            "open.json",
            "--",
            "python3",
            "-c",
            script,
        ];
        let words = [&["run"][..], &given, &program].concat();
        let output = place.of(user).nucleus(&words).code(0);
        assert_eq!(output.out(), format!("0 -1 {}\n", libc::EPERM));
    }
}

#[test]
fn mistakes_in_policies_have_a_file_and_a_place() {
    require!(root, userns);
    let place = Place::new();
    for (option, text, expected) in [
        (
            "--caps-policy",
            "add = [\n \"chwon\"]\n",
            "line 2, column 2: ",
        ),
        (
            "--caps-policy",
            "add = []\ndrop = []\n",
            "line 2, column 1: ",
        ),
        (
            "--landlock-policy",
            "[tcp]\nbind = [1, 70000]\n",
            "line 2, column 12: ",
        ),
        (
            "--landlock-policy",
            "[[path]]\nbeneath = [\"/\"]\nallow = [\"x\"]\n",
            "line 3, column 10: ",
        ),
        ("--landlock-policy", "", "restricts nothing"),
    ] {
        place.write("policy.toml", text);
        let output = place
            .of(NOBODY)
            .nucleus(&["run", option, "policy.toml", "--", "true"]);
        let output = output.code(125);
        assert!(output.err().contains("policy.toml"), "{}", output.err());
        assert!(output.err().contains(expected), "{}", output.err());
    }
    let none = place.nucleus(&[
        "run",
        "--userns",
        "host",
        "--cap-add",
        "chown",
        "--",
        "true",
    ]);
    assert!(none.code(125).err().contains("no capabilities"));
}

#[test]
fn reading_is_not_executing_in_a_landlock_policy() {
    require!(root, userns, landlock(5));
    let place = Place::new();
    let real = |program: &str| {
        let path = nucleus_tests::require::find(program).unwrap();
        path.canonicalize().unwrap().to_str().unwrap().to_owned()
    };
    // The loader is executed, too.
    let loader = std::path::Path::new("/lib64").canonicalize().unwrap();
    let beneath = [
        real("cat"),
        "/usr/lib".to_owned(),
        loader.to_str().unwrap().to_owned(),
    ];
    place.write(
        "policy.toml",
        &format!(
            "[[path]]\nbeneath = [\"/\"]\nallow = [\"read\"]\n\
             [[path]]\nbeneath = {beneath:?}\nallow = [\"execute\"]\n"
        ),
    );
    for user in [0, NOBODY] {
        let run = |words: &[&str]| {
            let options = ["run", "--landlock-policy", "policy.toml", "--"];
            place.of(user).nucleus(&[&options[..], words].concat())
        };
        let read = run(&["cat", "policy.toml"]).code(0);
        assert!(read.out().contains("beneath"), "{}", read.out());
        let other = real("ls");
        assert!(run(&[&other]).code(126).err().contains("Permission denied"));
    }
    place.write(
        "policy.toml",
        "[[path]]\nbeneath = [\"/no/such\"]\nallow = [\"read\"]\n",
    );
    let words = ["run", "--landlock-policy", "policy.toml", "--", "true"];
    let missing = place.of(NOBODY).nucleus(&words).code(125);
    assert!(missing.err().contains("\"/no/such\""), "{}", missing.err());
}

#[test]
fn ports_are_those_of_the_landlock_policy() {
    require!(root, userns, landlock(4), tool("python3"));
    let place = Place::new();
    place.write("policy.toml", "[tcp]\nbind = [8080]\n");
    let script = "import socket, sys\n\
        for port in (8080, 8081):\n\
        \x20   try: socket.socket().bind(('127.0.0.1', port)); print(0)\n\
        \x20   except OSError as error: print(error.errno)";
    for user in [0, NOBODY] {
        let options = ["run", "--landlock-policy", "policy.toml"];
        let program = ["--", "python3", "-c", script];
        let output = place
            .of(user)
            .nucleus(&[&options[..], &program].concat())
            .code(0);
        assert_eq!(output.out(), format!("0\n{}\n", libc::EACCES));
    }
}

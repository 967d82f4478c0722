//! Attempts to get out of the default sandbox, for root and anybody else: each
//! ends in the errno of this table.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output, Stdio};

use nucleus_tests::nucleus::{Said as _, path};
use nucleus_tests::require;
use nucleus_tests::scratch::Scratch;

/// What `sandbox-probe` tries, and what comes of it: the errno, or the signal
/// that killed it as a negative number.
const EXPECTED: &[(&str, i32)] = &[
    ("read /etc/shadow", libc::ENOENT),
    ("read shadow by ..", libc::ENOENT),
    ("read shadow by init's root", libc::EACCES),
    ("read init's memory", libc::EACCES),
    ("read init's environment", libc::EACCES),
    ("list init's descriptors", libc::EACCES),
    ("read /proc/kcore", libc::ENOENT),
    ("write /etc", libc::EROFS),
    ("write /usr", libc::EROFS),
    ("write /", libc::EROFS),
    ("write the working directory", libc::EROFS),
    ("write a program", libc::EACCES),
    ("write a program by its descriptor", libc::EACCES),
    ("write a program by a link", libc::EACCES),
    ("link a program", libc::EXDEV),
    ("write core_pattern", libc::EACCES),
    ("write a setting", libc::EACCES),
    ("write the limit of namespaces", libc::EACCES),
    ("write init's oom_score_adj", libc::EACCES),
    ("write a cgroup", libc::ENOENT),
    ("write sysrq-trigger", libc::ENOENT),
    ("chmod", libc::EROFS),
    ("chmod the working directory", libc::EROFS),
    ("chmod by a descriptor", libc::EROFS),
    ("chown", libc::EROFS),
    ("utimensat", libc::EROFS),
    ("setxattr", libc::EROFS),
    ("device node", libc::EACCES),
    ("write /usr by the own root", libc::EROFS),
    ("write by init's root", libc::EACCES),
    ("write init's program", libc::EACCES),
    ("read init's maps", libc::EACCES),
    ("read init's stack", libc::EACCES),
    ("set attributes of a program", libc::EROFS),
    ("fsetxattr", libc::EROFS),
    ("removexattr", libc::EROFS),
    ("rename a program", libc::EROFS),
    ("remove a program", libc::EROFS),
    ("open /dev/kmsg", libc::ENOENT),
    ("open /dev/mem", libc::ENOENT),
    ("open_by_handle_at", libc::EPERM),
    ("mount", libc::EPERM),
    ("remount /usr writable", libc::EPERM),
    ("mount_setattr", libc::EPERM),
    ("setns", libc::EPERM),
    ("umount", libc::EPERM),
    ("pivot_root", libc::EPERM),
    ("chroot", libc::EPERM),
    ("fsopen", libc::EPERM),
    ("open_tree", libc::EPERM),
    ("unshare user", libc::EPERM),
    ("unshare mount", libc::EPERM),
    ("unshare net", libc::EPERM),
    ("unshare pid", libc::EPERM),
    ("unshare ipc", libc::EPERM),
    ("unshare uts", libc::EPERM),
    ("unshare cgroup", libc::EPERM),
    ("unshare time", libc::EPERM),
    ("clone user", libc::EPERM),
    ("clone3 user", libc::ENOSYS),
    ("setuid 0", libc::EINVAL),
    ("setgroups", libc::EPERM),
    ("reboot", libc::EPERM),
    ("sethostname", libc::EPERM),
    ("settimeofday", libc::EPERM),
    ("init_module", libc::EPERM),
    ("finit_module", libc::EPERM),
    ("kexec_load", libc::EPERM),
    ("swapon", libc::EPERM),
    ("acct", libc::EPERM),
    ("syslog", libc::EPERM),
    ("kill init", libc::EPERM),
    ("ptrace init", libc::EPERM),
    ("read init by process_vm_readv", libc::EPERM),
    ("take a descriptor of init", libc::EPERM),
    ("int 0x80", -libc::SIGSYS),
    ("x32", -libc::SIGSYS),
    ("bpf", libc::EPERM),
    ("perf_event_open", libc::EPERM),
    ("userfaultfd", libc::EPERM),
    ("io_uring_setup", libc::ENOSYS),
    ("add_key", libc::EPERM),
    ("keyctl", libc::EPERM),
    ("fanotify_init", libc::EPERM),
    ("kcmp", libc::EPERM),
    ("memfd_secret", libc::EPERM),
    ("vsock", libc::EPERM),
    ("packet socket", libc::EPERM),
    ("raw socket", libc::EPERM),
    ("AF_ALG", libc::EPERM),
    ("TIPC", libc::EPERM),
    ("MPTCP", libc::EPROTONOSUPPORT),
    ("every other family", libc::EPERM),
    ("TIOCSTI", libc::EIO),
    ("TIOCLINUX", libc::EIO),
    ("signal the host", libc::ESRCH),
    ("ptrace the host", libc::EPERM),
    ("open the host's process", libc::ESRCH),
    ("connect to the host's loopback", libc::ECONNREFUSED),
    ("connect to the host's abstract socket", libc::ECONNREFUSED),
    ("see the host's process", libc::ENOENT),
    ("set-user-ID", libc::EPERM),
];

/// What only the filter closes: the kernel itself lets any process try these.
const BY_THE_FILTER: &[&str] = &[
    "MPTCP",
    "add_key",
    "every other family",
    "fanotify_init",
    "io_uring_setup",
    "keyctl",
    "kcmp",
    "memfd_secret",
    "userfaultfd",
    "vsock",
];

const NOBODY: u32 = 65534;

/// nucleus and the probe in a folder that everybody can enter.
struct Place {
    scratch: Scratch,
    user: u32,
}

impl Place {
    fn new(user: u32) -> Self {
        let scratch = Scratch::new();
        fs::set_permissions(scratch.path(), Permissions::from_mode(0o755)).unwrap();
        fs::copy(path(), scratch.file("nucleus")).unwrap();
        fs::copy(env!("CARGO_BIN_EXE_sandbox-probe"), scratch.file("probe")).unwrap();
        let allow_all = scratch.file("allow-all.json");
        fs::write(&allow_all, r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#).unwrap();
        fs::set_permissions(allow_all, Permissions::from_mode(0o644)).unwrap();
        Self { scratch, user }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.scratch.file("nucleus"));
        command
            .args(words)
            .current_dir(self.scratch.path())
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", "/home/someone")
            .env("SECRET", "of the caller")
            .stdin(Stdio::null());
        if self.user != 0 {
            command.uid(self.user).gid(self.user);
        }
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// Runs the probe, by another program, with real targets on the host.
    fn attempts(&self, options: &[&str], through: &[&str]) -> BTreeMap<String, i32> {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let name = format!("nucleus-sandbox-test-{}-{}", std::process::id(), self.user);
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let abstract_socket = UnixListener::bind_addr(&address).unwrap();
        let pid = std::process::id().to_string();
        let port = tcp.local_addr().unwrap().port().to_string();
        let probe = ["./probe", &pid, &port, &name];
        let words = [&["run"], options, &["--"], through, &probe].concat();
        let output = self.run(&words).code(0);
        drop((tcp, abstract_socket));
        output
            .out()
            .lines()
            .map(|line| {
                let (name, errno) = line.rsplit_once(": ").unwrap();
                (name.to_owned(), errno.parse().unwrap())
            })
            .collect()
    }
}

fn every_attempt_fails(user: u32) {
    let place = Place::new(user);
    let expected: BTreeMap<_, _> = EXPECTED
        .iter()
        .map(|&(name, errno)| (name.to_owned(), errno))
        .collect();
    // nucleus inside can do no more than any program.
    for through in [&[][..], &["./nucleus", "run", "--host", "--"]] {
        let mut attempts = place.attempts(&[], through);
        // Where the kernel has these files they are masked; the table is of one
        // that has not.
        for name in ["read /proc/kcore", "write sysrq-trigger"] {
            if attempts.get(name) == Some(&libc::EACCES) {
                attempts.insert(name.to_owned(), libc::ENOENT);
            }
        }
        assert_eq!(attempts, expected);
    }
}

/// With a filter that allows everything, the other walls stand; Landlock, and
/// without it the mounts, are one wall each.
fn the_other_walls_hold(user: u32) {
    let place = Place::new(user);
    for options in [
        &["--seccomp-profile", "allow-all.json"][..],
        &["--seccomp-profile", "allow-all.json", "--no-landlock"],
    ] {
        let mut open: Vec<_> = place
            .attempts(options, &[])
            .into_iter()
            .filter(|(_name, errno)| *errno == 0)
            .map(|(name, _errno)| name)
            .collect();
        open.retain(|name| !BY_THE_FILTER.contains(&name.as_str()));
        assert_eq!(open, [""; 0], "{options:?}");
    }
}

#[test]
fn every_attempt_of_a_program_that_root_runs_fails() {
    require!(root, landlock(6));
    every_attempt_fails(0);
}

#[test]
fn every_attempt_of_a_program_that_nobody_runs_fails() {
    require!(root, userns, landlock(6));
    every_attempt_fails(NOBODY);
}

#[test]
fn other_walls_than_the_filter_hold() {
    require!(root, userns, landlock(6));
    the_other_walls_hold(0);
    the_other_walls_hold(NOBODY);
}

#[test]
fn a_submount_of_a_read_only_volume_is_read_only() {
    require!(
        root,
        userns,
        mapped_ids,
        tool("unshare"),
        tool("mount"),
        tool("setpriv")
    );
    for user in [0, NOBODY] {
        let place = Place::new(user);
        let volume = place.scratch.file("volume");
        fs::create_dir_all(volume.join("below")).unwrap();
        let run = |mode: &str| {
            format!(
                "setpriv --reuid {user} --regid {user} --clear-groups \
                 ./nucleus run -v volume:/data:{mode} -- ./probe write /data/below/new"
            )
        };
        let script = format!(
            "mount -t tmpfs -o mode=777 none volume/below && {} && {}",
            run("ro"),
            run("rw")
        );
        let output = Command::new("unshare")
            .args(["--mount", "sh", "-c", &script])
            .current_dir(place.scratch.path())
            .output()
            .unwrap()
            .code(0);
        // A volume that is writable shows that the probe would have found a way.
        let lines: Vec<_> = output.out().lines().collect();
        assert_eq!(lines, [libc::EROFS.to_string(), "0".to_owned()]);
    }
}

/// A standard stream may be anything; a folder would lead out of the sandbox.
#[test]
fn no_descriptor_leads_out() {
    require!(root, userns);
    for user in [0, NOBODY] {
        let place = Place::new(user);
        let script = "exec 7</ 8<probe; exec ./nucleus run -- sh -c \
            'ls /proc/self/fd; cat /proc/self/fd/7/etc/hostname /dev/fd/8'";
        let mut shell = Command::new("sh");
        shell
            .args(["-c", script])
            .current_dir(place.scratch.path())
            .stdin(Stdio::null());
        if user != 0 {
            shell.uid(user).gid(user);
        }
        let output = shell.output().unwrap().code(1);
        assert_eq!(output.out(), "0\n1\n2\n3\n");
        let folder = fs::File::open(place.scratch.path()).unwrap();
        let mut run = place.command(&["run", "--", "true"]);
        let output = run.stdin(folder).output().unwrap().code(125);
        let said = "standard input is a folder of the host";
        assert!(output.err().contains(said), "{}", output.err());
    }
}

/// A copy of a program that its owner, root, has let anybody run as root.
#[test]
fn a_set_user_id_program_gives_nobody_another_user() {
    use std::os::unix::fs::chown;
    require!(root, userns, tool("id"));
    for user in [0, NOBODY] {
        let place = Place::new(user);
        let id = nucleus_tests::require::find("id").unwrap();
        fs::copy(id, place.scratch.file("id")).unwrap();
        let plain = place.run(&["run", "--", "./id", "-u"]).code(0);
        chown(place.scratch.file("id"), Some(0), Some(0)).unwrap();
        let bits = Permissions::from_mode(0o6755);
        fs::set_permissions(place.scratch.file("id"), bits).unwrap();
        for options in [&[][..], &["--no-landlock"]] {
            let words = [&["run"], options, &["--", "./id", "-u"]].concat();
            assert_eq!(place.run(&words).code(0).out(), plain.out());
        }
    }
}

/// x32 and 32-bit calls end as the help of --allow-arch says: by SIGSYS without
/// it, with it as the kernel has them.
#[cfg(target_arch = "x86_64")]
#[test]
fn calls_of_other_architectures_need_to_be_allowed() {
    require!(root, userns, landlock(1));
    for user in [0, NOBODY] {
        let place = Place::new(user);
        for call in ["int80", "x32"] {
            let killed = place.run(&["run", "--", "./probe", call]);
            assert_eq!(killed.status.code(), Some(128 + libc::SIGSYS), "{call}");
            let explained = place.run(&["run", "--explain", "--", "./probe", call]);
            let (name, option) = match call {
                "x32" => ("getpid() (x32)", "--allow-arch x32"),
                _ => ("getpid() (i386)", "--allow-arch x86"),
            };
            let said = explained.err();
            assert!(
                said.contains(name) && said.contains(option),
                "{call}: {said}"
            );
        }
        let allowed = place
            .run(&["run", "--allow-arch", "x32", "--", "./probe", "x32"])
            .code(0);
        // CONFIG_X86_X32_ABI is off in most kernels.
        let answer: i64 = allowed.out().trim().parse().unwrap();
        assert!(answer > 0 || answer == -i64::from(libc::ENOSYS), "{answer}");
    }
}

#[test]
fn a_program_starts_with_nothing_of_the_caller() {
    require!(root, userns);
    for user in [0, NOBODY] {
        let place = Place::new(user);
        let output = place
            .run(&[
                "run",
                "--",
                "sh",
                "-c",
                "env; ls /proc/self/fd; grep ^Cap /proc/self/status",
            ])
            .code(0);
        assert!(!output.out().contains("SECRET"), "{}", output.out());
        let lines: Vec<_> = output.out().lines().collect();
        let descriptors: Vec<_> = lines
            .iter()
            .filter(|line| line.parse::<u32>().is_ok())
            .collect();
        // The fourth is that of ls, on the folder.
        assert_eq!(descriptors, [&"0", &"1", &"2", &"3"]);
        let sets = lines.iter().filter(|line| line.starts_with("Cap"));
        let values: Vec<_> = sets.map(|line| line.split_once('\t').unwrap().1).collect();
        assert_eq!(values, ["0000000000000000"; 5]);
    }
}

#[test]
fn a_sandbox_in_a_sandbox_needs_to_be_allowed() {
    require!(root, userns);
    for user in [0, NOBODY] {
        let place = Place::new(user);
        let inner = ["./nucleus", "run", "--", "echo", "inner"];
        let refused = place.run(&[&["run", "--"][..], &inner].concat()).code(125);
        assert!(refused.err().contains("namespaces"), "{}", refused.err());
        let allowed = place.run(&[&["run", "--allow-nested", "--"][..], &inner].concat());
        assert_eq!(allowed.code(0).out(), "inner\n");
    }
}

#[test]
fn the_owner_of_a_workspace_is_the_owner_of_what_the_program_writes() {
    use std::os::unix::fs::{MetadataExt as _, chown};
    require!(root, userns, mapped_ids);
    let place = Place::new(0);
    let workspace = place.scratch.file("workspace");
    fs::create_dir(&workspace).unwrap();
    for owner in [0, NOBODY] {
        chown(&workspace, Some(owner), Some(owner)).unwrap();
        let file = workspace.join(owner.to_string());
        let script = format!("id -u; echo written > {owner}");
        place
            .run(&["run", "--workspace", "workspace", "--", "sh", "-c", &script])
            .code(0);
        assert_eq!(fs::read_to_string(&file).unwrap(), "written\n");
        let metadata = fs::metadata(&file).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (owner, owner));
    }
}

#[test]
fn secrets_of_root_stay_unread() {
    require!(root);
    let place = Place::new(0);
    let secret = place.scratch.file("secret");
    fs::write(&secret, "of root").unwrap();
    fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
    let output = place.run(&["run", "--", "cat", "secret"]).code(1);
    assert!(
        output.err().contains("Permission denied"),
        "{}",
        output.err()
    );
}

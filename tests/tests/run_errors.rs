//! What cannot be run is said in one line: what was tried, on what, why it
//! failed and what to do, with the documented exit code.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use nucleus_tests::anybody::{Anybody, NOBODY};
use nucleus_tests::nucleus::Said as _;
use nucleus_tests::require;

/// Options and program of `nucleus run`, the exit code, and the whole of what
/// is said behind `nucleus: `.
const ERRORS: &[(&[&str], i32, &str)] = &[
    (
        &["--", "absent"],
        127,
        "program \"absent\" not found in PATH (/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin)",
    ),
    (
        &["--", "/absent/program"],
        127,
        "program \"/absent/program\" not found",
    ),
    (
        &["--", "./plain"],
        126,
        "\"./plain\" cannot be executed; it needs execute permission, on a file system without \
         noexec: Permission denied (os error 13)",
    ),
    (
        &["--", "./folder"],
        126,
        "\"./folder\" cannot be executed; name a program in it: Is a directory (os error 21)",
    ),
    (
        &["--", "./binary"],
        126,
        "\"./binary\" cannot be executed; it is no binary of this machine, and names no \
         interpreter (#!): Exec format error (os error 8)",
    ),
    (
        &["--", "./script"],
        126,
        "\"./script\" is there, but the interpreter that it names (its #! line, or the loader of \
         a dynamic binary) is not; install that, or show it to the program with --volume",
    ),
    (
        &["--workdir", "/absent", "--", "true"],
        125,
        "the program sees no folder \"/absent\" to start in; show it that folder, or start it in \
         one that it sees, by an absolute path: No such file or directory (os error 2)",
    ),
    (
        &["--volume", "plain:/proc/x", "--", "true"],
        125,
        "the volume target \"/proc/x\" is the sandbox's own, as are all of /proc and its devices \
         in /dev; choose another place",
    ),
    (
        &["--workspace", "plain", "--", "true"],
        125,
        "the workspace plain is not a folder; grant a single file with --volume SRC:DST:rw",
    ),
    (
        &["--secret", "folder:/run/s", "--", "true"],
        125,
        "the secret \"folder\" must be a file of at most 1 MiB, or a pipe",
    ),
    (
        &["--tmpfs", "relative", "--", "true"],
        125,
        "the tmpfs target \"relative\" must be an absolute path below /, without . and .. parts",
    ),
    (
        &["--seccomp-profile", "plain", "--", "true"],
        125,
        "cannot use the profile plain: line 1, column 0: EOF while parsing a value",
    ),
    (
        &["--seccomp-profile", "absent", "--", "true"],
        125,
        "cannot read the profile absent: No such file or directory (os error 2)",
    ),
    (
        &["--caps-policy", "bad.toml", "--", "true"],
        125,
        "cannot use the policy bad.toml: line 1, column 6: unclosed array, expected `]`",
    ),
    (
        &["--landlock-policy", "bad.toml", "--", "true"],
        125,
        "cannot use the policy bad.toml: line 1, column 6: unclosed array, expected `]`",
    ),
    (
        &["--memory", "0", "--", "true"],
        125,
        "memory.max is 0, which is not within 4096 to 18446744073709551615",
    ),
    (
        &["--events", "99", "--", "true"],
        125,
        "cannot write events to descriptor 99; open it, as with 99>events: \
         Bad file descriptor (os error 9)",
    ),
    (
        &["-t", "--", "true"],
        125,
        "-t needs a terminal to join the program's to, and standard input is none; leave -t out",
    ),
    (
        &["--seccomp-profile", "nothing.json", "--", "true"],
        125,
        "the seccomp filter does not allow execve, so \"/usr/bin/true\" could not start; \
         allow execve in the profile",
    ),
];

fn place() -> Anybody {
    let place = Anybody::new();
    place.write("plain", "");
    place.write("bad.toml", "x = [");
    place.write("nothing.json", r#"{"defaultAction":"SCMP_ACT_ERRNO"}"#);
    place.write("script", "#!/absent\n");
    place.write("binary", "\0");
    fs::create_dir(place.path().join("folder")).unwrap();
    for program in ["script", "binary", "folder"] {
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(place.path().join(program), mode).unwrap();
    }
    place
}

#[test]
fn each_error_names_step_object_cause_and_remedy() {
    require!(root, userns, landlock(1), path("/usr/bin/true"));
    let place = place();
    for user in [0, NOBODY] {
        for (words, code, expected) in ERRORS {
            let words = [&["run"], *words].concat();
            let output = place.nucleus(user, &words).code(*code);
            assert_eq!(output.err(), format!("nucleus: {expected}\n"), "{words:?}");
            assert_eq!(output.out(), "", "{words:?}");
        }
    }
}

/// Whatever else is asked for, the inputs are read first: a program that could
/// run does not when one of them is bad.
#[test]
fn nothing_is_done_before_the_inputs_are_read() {
    require!(root, userns);
    let place = place();
    for bad in [
        &["--seccomp-profile", "bad.toml"][..],
        &["--caps-policy", "bad.toml"],
        &["--landlock-policy", "bad.toml"],
        &["--secret", "absent:/run/s"],
        &["--volume", "absent:/data"],
        &["--events", "99"],
    ] {
        let grant = ["--volume", "folder:/out:rw"];
        let program = ["--", "touch", "/out/ran"];
        let words = [&["run"], &grant[..], bad, &program].concat();
        drop(place.nucleus(0, &words).code(125));
        let left = fs::read_dir(place.path().join("folder")).unwrap().count();
        assert_eq!(left, 0, "{bad:?}");
    }
}

/// Limits of the caller's that leave no room for a sandbox.
#[test]
fn limits_of_the_caller_are_named() {
    require!(root, userns, landlock(1), tool("unshare"));
    let place = place();
    let output = place
        .command(NOBODY, "sh")
        .args(["-c", "ulimit -n 8; exec ./nucleus run -- true"])
        .output()
        .unwrap()
        .code(125);
    let remedy = "raise the limit on open files (ulimit -n)";
    assert!(output.err().contains(remedy), "{}", output.err());
    assert_eq!(output.err().lines().count(), 1, "{}", output.err());
    for kind in ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"] {
        let script =
            format!("echo 0 >/proc/sys/user/max_{kind}_namespaces && exec ./nucleus run -- true");
        let output = place
            .command(0, "unshare")
            .args(["--user", "--map-root-user", "sh", "-c", &script])
            .output()
            .unwrap()
            .code(125);
        let said = output.err();
        assert!(said.contains("user.max_*_namespaces"), "{kind}: {said}");
    }
}

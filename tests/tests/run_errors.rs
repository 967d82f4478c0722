//! What cannot be run is said in one line: what was tried, on what, why it
//! failed and what to do, with the documented exit code.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use nucleus_tests::nucleus::Said as _;
use nucleus_tests::place::{NOBODY, Place};
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
        &["--workspace", "absent", "--", "true"],
        125,
        "cannot find the workspace absent; create it, or correct the path: No such file or \
         directory (os error 2)",
    ),
    (
        &["--workspace", "folder:wr", "--", "true"],
        125,
        "cannot find the workspace folder:wr; correct the path, or the mode behind its last \
         colon, which is rw, ro or cow: No such file or directory (os error 2)",
    ),
    (
        &["--workspace", "/", "--", "true"],
        125,
        "the workspace / is the host's root directory; name a folder below it",
    ),
    (
        &["--volume", "absent:/data", "--", "true"],
        125,
        "could not open the volume \"absent\"; create it, or correct the path: No such file or \
         directory (os error 2)",
    ),
    (
        &["--volume", "plain/x:/data", "--", "true"],
        125,
        "could not open the volume \"plain/x\"; a part of the path is a file, not a folder: Not \
         a directory (os error 20)",
    ),
    (
        &["--volume", "/proc/self/root:/data", "--", "true"],
        125,
        "could not open the volume \"/proc/self/root\"; links go in a circle, or through /proc: \
         name the real path: Too many levels of symbolic links (os error 40)",
    ),
    (
        &["--secret", "absent:/run/s", "--", "true"],
        125,
        "could not open the secret \"absent\"; create it, or correct the path: No such file or \
         directory (os error 2)",
    ),
    (
        &["--rootfs", "absent", "--", "true"],
        125,
        "could not open the root directory \"absent\"; create it, or correct the path: No such \
         file or directory (os error 2)",
    ),
    (
        &["--rlimit", "nofile=3", "--path-deny", "/opt", "--", "true"],
        125,
        "could not install the seccomp filter: rules and reports of denials need a descriptor \
         for it, and --rlimit nofile=3 leaves none; set it to 64 or more: Too many open files \
         (os error 24)",
    ),
    (
        &["--", "--workspace", ".", "true"],
        127,
        "program \"--workspace\" not found in PATH (/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin); \
         options of nucleus stand before the --",
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

fn place() -> Place {
    let place = Place::new();
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
            let output = place.of(user).nucleus(&words).code(*code);
            assert_eq!(output.err(), format!("nucleus: {expected}\n"), "{words:?}");
            assert_eq!(output.out(), "", "{words:?}");
        }
    }
}

/// What is the user's to mend before: each with what it is that is closed.
#[test]
fn folders_that_are_closed_are_named() {
    require!(root, userns, landlock(1));
    let place = place();
    let closed = place.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    let real = place.path().canonicalize().unwrap();
    let check = |user, words: &[&str], expected: &str| {
        let words = [&["run"], words, &["--", "true"]].concat();
        let output = place.of(user).nucleus(&words).code(125);
        assert_eq!(output.err(), format!("nucleus: {expected}\n"), "{words:?}");
    };
    let denied = "Permission denied (os error 13)";
    let folder = real.join("closed");
    check(
        NOBODY,
        &["--workspace", "closed"],
        &format!(
            "could not read the folder {folder:?}; it is closed to this user: run nucleus as its \
             owner: {denied}"
        ),
    );
    check(
        NOBODY,
        &["--volume", "closed/x:/data"],
        &format!(
            "could not open the volume \"closed/x\"; a folder on the way is closed to this user: \
             open it, or run nucleus as its owner: {denied}"
        ),
    );
    check(
        NOBODY,
        &["--workspace", "folder:cow", "--on-exit", "commit"],
        &format!(
            "nothing can be committed to the workspace {}, which this user may not write to; use \
             --on-exit diff or discard: {denied}",
            real.join("folder").display()
        ),
    );
    for (user, step) in [
        (
            0,
            "forbid further user namespaces (user.max_user_namespaces)",
        ),
        (NOBODY, "make folder \"/dev\""),
    ] {
        let said = format!(
            "could not {step}: the root directory {folder:?} is closed to the program's user; let \
             everybody enter it (chmod a+rx): {denied}"
        );
        check(user, &["--rootfs", "closed"], &said);
    }
}

#[test]
fn what_a_program_does_not_see_is_named() {
    require!(root, userns, landlock(1), mapped_ids);
    let place = place();
    let real = place.path().canonicalize().unwrap();
    for user in [0, NOBODY] {
        let words = ["run", "--rootfs", "folder", "--", "/bin/true"];
        let output = place.of(user).nucleus(&words).code(127);
        let expected = format!(
            "nucleus: program \"/bin/true\" not found in the root directory {:?}, which is all \
             that the program sees; install it there, or show it with --volume\n",
            real.join("folder")
        );
        assert_eq!(output.err(), expected);
    }
    // By a relative path, and started elsewhere.
    let words = ["run", "--workspace", "folder", "--", "./nucleus"];
    let output = place.nucleus(&words).code(127);
    let expected = format!(
        "nucleus: program \"./nucleus\" is {:?} on the host, which the sandbox does not show \
         there; show its folder with --volume {real:?}:{real:?}:ro, and name the program by that \
         path\n",
        real.join("nucleus")
    );
    assert_eq!(output.err(), expected);
}

#[test]
fn a_hidden_proc_is_named() {
    require!(
        root,
        userns,
        tool("unshare"),
        tool("mount"),
        tool("setpriv")
    );
    let place = place();
    for user in [0, NOBODY] {
        let script = format!(
            "mount -t tmpfs none /proc && exec setpriv --reuid {user} --regid {user} \
             --clear-groups ./nucleus run -v folder:/data -- true"
        );
        let output = place
            .command("unshare")
            .args(["--mount", "sh", "-c", &script])
            .output()
            .unwrap()
            .code(125);
        let said = output.err();
        assert!(
            said.ends_with(
                "in /proc/self/fd; nucleus needs to see proc: mount it with mount -t proc proc \
                 /proc: No such file or directory (os error 2)\n"
            ),
            "{said}"
        );
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
        drop(place.nucleus(&words).code(125));
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
        .of(NOBODY)
        .command("sh")
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
            .command("unshare")
            .args(["--user", "--map-root-user", "sh", "-c", &script])
            .output()
            .unwrap()
            .code(125);
        let said = output.err();
        assert!(said.contains("user.max_*_namespaces"), "{kind}: {said}");
    }
}

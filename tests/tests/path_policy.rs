//! Which paths a program may use, and what it tries to get past that.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use nucleus_tests::nucleus::{Said as _, path};
use nucleus_tests::require;
use nucleus_tests::require::tries;
use nucleus_tests::scratch::Scratch;

const NOBODY: u32 = 65534;

/// What `path-probe attempts` tries, and what comes of it. The profile allows
/// everything.
const EXPECTED: &[(&str, i32)] = &[
    ("open where it may", 0),
    ("open what is granted below", 0),
    ("open", libc::EACCES),
    ("creat", libc::EACCES),
    ("openat", libc::EACCES),
    ("openat to write", libc::EACCES),
    ("openat as a path", libc::EACCES),
    ("open the folder", libc::EACCES),
    ("open a nameless file", libc::EACCES),
    ("make a file", libc::EACCES),
    ("openat2", libc::EACCES),
    ("openat2 with more", libc::E2BIG),
    ("openat2 with unknown flags", libc::EINVAL),
    ("open from a folder", libc::EACCES),
    ("open by ..", libc::EACCES),
    ("open by a link", libc::EACCES),
    ("open by a link to the folder", libc::EACCES),
    ("open by a name that is no text", libc::EACCES),
    ("open another name of a file", libc::EACCES),
    ("open by the root of proc", libc::EACCES),
    ("open by the thread's root", libc::EACCES),
    ("open by the folder of proc", libc::EACCES),
    ("open by a descriptor of proc", libc::EACCES),
    ("open by /dev/fd", libc::EACCES),
    ("open by the process's number", libc::EACCES),
    ("open by proc where it may", 0),
    // A folder to begin at gives access to nothing.
    ("enter the folder", 0),
    ("open from inside", libc::EACCES),
    ("open what is granted from inside", 0),
    ("leave it", 0),
    ("execute", libc::EACCES),
    ("execute from a folder", libc::EACCES),
    ("list", libc::EACCES),
    ("rename it", libc::EACCES),
    ("rename its folder", libc::EACCES),
    ("rename over it", libc::EACCES),
    ("rename into it", libc::EACCES),
    ("exchange it", libc::EACCES),
    ("exchange the folders", libc::EACCES),
    ("rename what is granted below", libc::EACCES),
    ("link", libc::EACCES),
    ("link into it", libc::EACCES),
    ("link another name", libc::EACCES),
    ("symlink", libc::EACCES),
    ("unlink", libc::EACCES),
    ("rmdir", libc::EACCES),
    ("mkdir", libc::EACCES),
    ("mknod", libc::EACCES),
    ("make what is denied by name", libc::ENOENT),
    ("make its folder", 0),
    ("make it then", libc::EACCES),
    ("make another there", 0),
    ("truncate", libc::EACCES),
    ("chmod", libc::EACCES),
    ("fchmodat2", libc::EACCES),
    ("chown", libc::EACCES),
    ("utimensat", libc::EACCES),
    ("setxattr", libc::EACCES),
    ("getxattr", libc::EACCES),
    ("removexattr", libc::EACCES),
    ("setxattrat", libc::EACCES),
    ("getxattrat", libc::EACCES),
    ("listxattrat", libc::EACCES),
    ("removexattrat", libc::EACCES),
    ("watch", libc::EACCES),
    ("watch where it may", 0),
    ("take a handle", libc::EOPNOTSUPP),
    ("open a handle", libc::EPERM),
    ("take a tree", libc::EPERM),
    ("take a snapshot", libc::EPERM),
    ("take a snapshot by bcachefs", libc::EPERM),
    ("mount", libc::EPERM),
    ("ring", libc::ENOSYS),
    ("fanotify", libc::ENOSYS),
    ("attributes", libc::ENOSYS),
    ("open at NULL", libc::EFAULT),
    ("open at nowhere", libc::EFAULT),
    ("open across pages", 0),
    ("open the denied across pages", libc::EACCES),
    ("open off the page", libc::EFAULT),
    ("open at the end of a page", libc::EACCES),
    ("open what is too long", libc::ENAMETOOLONG),
    ("open nothing", libc::ENOENT),
    ("openat2 off the page", libc::EFAULT),
    ("bind where it may", 0),
    ("connect where it may", 0),
    ("bind", libc::EACCES),
    ("connect", libc::EACCES),
    ("send to paths", libc::EPROTONOSUPPORT),
    ("talk to oneself", 0),
    ("rename the folder above", 0),
    ("open below the new name", libc::EACCES),
    ("open what is allowed there", 0),
    ("rename it back", 0),
];

const HIDDEN: &[(&str, i32)] = &[
    ("stat", libc::ENOENT),
    ("statx", libc::ENOENT),
    ("access", libc::ENOENT),
    ("faccessat2", libc::ENOENT),
    ("readlink", libc::ENOENT),
    ("statfs", libc::ENOENT),
    ("chdir", libc::ENOENT),
    ("stat the folder", libc::ENOENT),
    ("stat below a file", libc::ENOENT),
    ("a way through", libc::ENOENT),
    ("open", libc::ENOENT),
    ("make", libc::ENOENT),
    ("unlink", libc::ENOENT),
    ("execute", libc::ENOENT),
    ("stat where it may", 0),
    ("size", 6),
];

const ALLOW_ALL: &str = r#"{"defaultAction":"SCMP_ACT_ALLOW",
    "architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86","SCMP_ARCH_X32","SCMP_ARCH_AARCH64"]}"#;

/// A folder with what is open and what is denied, which the program may write
/// to.
struct Place {
    scratch: Scratch,
    user: Option<u32>,
    _socket: UnixListener,
}

impl Place {
    /// For this user or, when root tests, for another one.
    fn new(user: Option<u32>) -> Self {
        let scratch = Scratch::new();
        let at = |name: &str| scratch.file(name);
        fs::set_permissions(scratch.path(), Permissions::from_mode(0o755)).unwrap();
        fs::copy(path(), at("nucleus")).unwrap();
        fs::write(at("all.json"), ALLOW_ALL).unwrap();
        for folder in [
            "top/open",
            "top/deny/grant",
            "top/hide",
            "moved/open",
            "moved/deny",
        ] {
            fs::create_dir_all(at("w").join(folder)).unwrap();
        }
        let inside = |name: &str| at("w").join(name);
        for (name, text) in [
            ("top/open/a", "public"),
            ("top/deny/a", "secret"),
            ("top/hide/a", "secret"),
            ("top/deny/grant/a", "public"),
            ("moved/open/a", "public"),
            ("moved/deny/a", "secret"),
            ("single", "secret"),
        ] {
            fs::write(inside(name), text).unwrap();
        }
        for folder in ["", "top/deny", "top/hide"] {
            fs::copy(
                env!("CARGO_BIN_EXE_path-probe"),
                inside(folder).join("probe"),
            )
            .unwrap();
        }
        fs::hard_link(inside("single"), inside("alias")).unwrap();
        symlink("top/deny/a", inside("link")).unwrap();
        symlink("top/deny", inside("folder")).unwrap();
        symlink("a", inside("top/hide/link")).unwrap();
        symlink("top/open", inside("to-open")).unwrap();
        symlink("top/deny", inside("to-deny")).unwrap();
        let no_text = std::ffi::OsStr::from_bytes(b"\xff\xfe");
        symlink("top/deny/a", at("w").join(no_text)).unwrap();
        let socket = UnixListener::bind(inside("top/deny/socket")).unwrap();
        let place = Self {
            scratch,
            user,
            _socket: socket,
        };
        if let Some(user) = user {
            give(&place.scratch.file("w"), user);
        }
        place
    }

    fn run(&self, words: &[&str]) -> Output {
        let mut command = Command::new(self.scratch.file("nucleus"));
        command
            .args([
                "run",
                "--workspace",
                ".",
                "--seccomp-profile",
                "../all.json",
            ])
            .args(words)
            .current_dir(self.scratch.file("w"))
            .stdin(Stdio::null());
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command.output().unwrap()
    }

    /// A rule on a path in the folder.
    fn rule(&self, option: &str, name: &str) -> String {
        let path = self.scratch.file("w").join(name);
        format!("--path-{option}={}", path.to_str().unwrap())
    }

    /// What the probe says under rules.
    fn probe(&self, rules: &[String], words: &[&str]) -> BTreeMap<String, i64> {
        let mut all: Vec<&str> = rules.iter().map(String::as_str).collect();
        all.extend(["--", "./probe"]);
        all.extend(words);
        self.run(&all).code(0).numbers()
    }

    fn denials(&self) -> Vec<String> {
        let deny = ["top/deny", "moved/deny", "single", "missing/later"];
        let mut rules: Vec<String> = deny.iter().map(|name| self.rule("deny", name)).collect();
        rules.push(self.rule("grant", "top/deny/grant"));
        rules
    }
}

/// All of a folder, links themselves included, for a user.
fn give(path: &Path, user: u32) {
    std::os::unix::fs::lchown(path, Some(user), Some(user)).unwrap();
    if path.is_symlink() || !path.is_dir() {
        return;
    }
    chown(path, Some(user), Some(user)).unwrap();
    for entry in fs::read_dir(path).unwrap() {
        give(&entry.unwrap().path(), user);
    }
}

fn expected(table: &[(&str, i32)]) -> BTreeMap<String, i64> {
    let here = |name: &str| cfg!(target_arch = "x86_64") || !matches!(name, "open" | "creat");
    let lines = table.iter().filter(|(name, _)| here(name));
    lines
        .map(|&(name, errno)| (name.to_owned(), errno.into()))
        .collect()
}

fn check(user: Option<u32>) {
    let place = Place::new(user);
    let said = place.probe(&place.denials(), &["attempts"]);
    for (name, errno) in expected(EXPECTED) {
        assert_eq!(said.get(&name), Some(&errno), "{name}: {said:?}");
    }
    let inside = |name: &str| fs::read(place.scratch.file("w").join(name)).unwrap();
    assert_eq!(inside("top/deny/a"), b"secret");
    assert_eq!(inside("single"), b"secret");
    let said = place.probe(&[place.rule("hide", "top/hide")], &["hidden"]);
    assert_eq!(said, expected(HIDDEN));
}

#[test]
fn what_is_denied_is_reached_on_no_way() {
    require!(userns, mapped_ids);
    check(None);
}

#[test]
fn what_is_denied_is_reached_on_no_way_by_nobody() {
    require!(root, userns, mapped_ids);
    check(Some(NOBODY));
}

#[test]
fn a_path_that_changes_while_it_is_judged_leads_nowhere_else() {
    require!(userns, mapped_ids);
    let tries = tries(500).to_string();
    let place = Place::new(None);
    let said = place.probe(&place.denials(), &["race", &tries]);
    // Both judgements were reached, so that the race was one.
    assert!(said["allowed"] > 10 && said["denied"] > 10, "{said:?}");
    assert_eq!(said["through"], 0, "{said:?}");
}

#[test]
fn shells_work_under_rules_on_paths() {
    require!(userns, mapped_ids);
    let place = Place::new(None);
    let script = "mkdir d && echo one > d/f && cat < d/f | cat; mkfifo p; echo two > p & cat p; \
        wait; cat /proc/self/status > /dev/null && cat top/deny/a";
    let rule = place.rule("deny", "top/deny");
    let output = place.run(&[&rule, "--", "sh", "-c", script]);
    assert!(output.out() == "one\ntwo\n", "{output:?}");
    assert!(output.err().contains("Permission denied"), "{output:?}");
}

#[test]
fn rules_that_cannot_hold_are_errors() {
    let place = Place::new(None);
    for (rules, said) in [
        (&["--path-deny", "etc"][..], "not absolute"),
        (&["--path-grant", "/etc"], "--path-deny"),
        (&["--path-deny", "/etc", "--no-userns"], "--no-userns"),
    ] {
        let mut words = rules.to_vec();
        words.extend(["--", "true"]);
        let mut command = Command::new(place.scratch.file("nucleus"));
        let output = command.arg("run").args(words).output().unwrap().code(125);
        assert!(output.err().contains(said), "{output:?}");
    }
}

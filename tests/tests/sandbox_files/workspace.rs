//! A workspace that the program gets a copy of, and what becomes of it.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use nucleus_tests::nucleus::Said as _;
use nucleus_tests::require;
use nucleus_tests::terminal::Terminal;

use super::copy::{copy, users};
use super::place::{Place, USERS};

/// A workspace with a bit of everything.
fn place(user: u32) -> Place {
    let place = Place::new(user);
    place.prepare(
        "mkdir ws ws/gone ws/folder; cd ws; echo old > file; echo x > gone/x; \
         echo y > folder/y; ln -s file link; echo s > set; touch -d 2001-02-03 old; \
         ln file hard; echo keep > keep",
    );
    place
}

/// What a program does to it.
const WORK: &str = "echo more >> file; rm -r gone; mkdir gone; echo n > gone/new; \
    rm -r folder; mv link moved; ln -s /etc/shadow out; chmod 6755 set; \
    mkfifo fifo; mkdir -p deep/er; echo 1 > deep/er/one; ln deep/er/one deep/two; \
    touch -d 2002-02-02 deep/er/one; touch -d 2003-03-03 deep/er; chmod 1750 deep/er; \
    truncate -s 1T sparse; chmod 600 keep; cat old > /dev/null";

/// The words for that; set-user-ID bits need a capability.
fn work(on_exit: &str) -> Vec<&str> {
    [&["--cap-add", "fsetid"][..], &copy(on_exit, WORK)].concat()
}

const LISTED: &[&str] = &[
    "A deep/",
    "A deep/er/",
    "A deep/er/one",
    "A deep/two",
    "A fifo (neither file, folder nor link: not committed)",
    "M file",
    "D folder/",
    "A gone/new",
    "D gone/x",
    "M keep",
    "D link",
    "A moved",
    "A out",
    "M set (without its set-user-ID and set-group-ID bits)",
    "A sparse",
    "15 changes in the workspace, not committed",
];

#[test]
fn a_copy_is_listed_and_forgotten() {
    require!(root, userns, mapped_ids);
    for user in users() {
        let place = place(user);
        let before = snapshot(&place);
        let output = place.run(&work("diff")).code(0);
        let listed: Vec<_> = output
            .err()
            .lines()
            .map(|line| line.strip_prefix("nucleus: ").unwrap())
            .collect();
        assert_eq!(listed, LISTED, "user {user}");
        assert_eq!(place.run(&work("discard")).code(0).err(), "");
        assert_eq!(snapshot(&place), before, "user {user}");
    }
}

#[test]
fn a_copy_is_committed() {
    require!(root, userns, mapped_ids);
    for user in users() {
        let place = place(user);
        let at = |path: &str| place.scratch.file("ws").join(path);
        place.run(&work("commit")).code(0);
        assert_eq!(fs::read_to_string(at("file")).unwrap(), "old\nmore\n");
        // The other name of a file is another file, as the program saw it.
        assert_eq!(fs::read_to_string(at("hard")).unwrap(), "old\n");
        assert!(at("gone/new").exists() && !at("gone/x").exists());
        assert!(!at("folder").exists() && !at("link").is_symlink() && !at("fifo").exists());
        assert_eq!(fs::read_link(at("moved")).unwrap().to_str(), Some("file"));
        assert_eq!(
            fs::read_link(at("out")).unwrap().to_str(),
            Some("/etc/shadow")
        );
        let mode = |path: &str| at(path).metadata().unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode("set"), 0o755);
        assert_eq!(mode("keep"), 0o600);
        assert_eq!(mode("deep/er"), 0o1750);
        let (one, two) = (
            at("deep/er/one").metadata().unwrap(),
            at("deep/two").metadata().unwrap(),
        );
        assert_eq!(one.ino(), two.ino());
        assert_eq!(one.mtime(), 1_012_608_000, "2002-02-02");
        assert_eq!(
            at("deep/er").metadata().unwrap().mtime(),
            1_046_649_600,
            "2003-03-03"
        );
        let sparse = at("sparse").metadata().unwrap();
        assert_eq!((sparse.len(), sparse.blocks()), (1 << 40, 0));
        for entry in fs::read_dir(at("")).unwrap() {
            let entry = entry.unwrap();
            assert!(!entry.file_name().to_str().unwrap().starts_with(".nucleus"));
            let metadata = entry.metadata().unwrap();
            assert_eq!((metadata.uid(), metadata.gid()), (user, user));
        }
        // Nothing is left to do.
        let output = place.run(&copy("diff", "true")).code(0);
        assert_eq!(output.err(), "nucleus: the workspace is unchanged\n");
    }
}

#[test]
fn somebody_at_a_terminal_is_asked() {
    require!(root, userns, mapped_ids);
    for user in users() {
        for (answer, committed) in [(&b"y\n"[..], true), (b"n\n", false), (b"\n", false)] {
            let place = place(user);
            let words = copy("ask", "touch new");
            let (mut terminal, mut nucleus) = Terminal::start(&mut place.nucleus(&words));
            assert!(
                terminal
                    .wait_for("commit 1 change? [y/N] ")
                    .contains("A new")
            );
            terminal.type_in(answer);
            assert!(nucleus.wait().unwrap().success());
            assert_eq!(place.scratch.file("ws/new").exists(), committed);
        }
    }
}

#[test]
fn what_cannot_be_asked_or_kept_is_an_error_before_the_start() {
    require!(root, userns, tool("setsid"));
    let place = place(super::place::NOBODY);
    let check = |words: &[&str], expected: &str| {
        let all = [
            &["--wait", "./nucleus", "run"],
            words,
            &["--", "echo", "started"],
        ]
        .concat();
        let output = place
            .command("setsid")
            .args(all)
            .output()
            .unwrap()
            .code(125);
        assert!(output.err().contains(expected), "{}", output.err());
        assert_eq!(output.out(), "");
    };
    check(&["--workspace", "ws:cow", "--on-exit", "ask"], "/dev/tty");
    check(&["--workspace", "ws", "--on-exit", "diff"], "DIR:cow");
    check(&["--workspace", "ws/file:cow"], "is not a folder");
    check(&["--workspace", "absent:cow"], "absent");
}

#[test]
fn a_read_only_workspace_is_where_the_program_starts() {
    require!(root, userns);
    for user in USERS {
        let place = place(user);
        let words = [
            "--workspace",
            "ws:ro",
            "--",
            "sh",
            "-c",
            "cat file; touch new",
        ];
        let output = place.run(&words).code(1);
        assert_eq!(output.out(), "old\n");
        assert!(output.err().contains("Read-only file system"));
    }
}

/// Everything that a run could change, but times of access.
fn snapshot(place: &Place) -> String {
    let script = "find ws -printf '%p %M %U:%G %T@ %s %n %l\\n' | sort; cat ws/file ws/hard";
    let output = place.command("sh").args(["-ec", script]).output().unwrap();
    output.code(0).out().to_owned()
}

//! Grants at odd places: each works, or is refused before anything changes.

use nucleus_tests::nucleus::Said as _;
use nucleus_tests::require;

use super::place::{Place, USERS};

fn place(user: u32) -> Place {
    let place = Place::new(user);
    place.prepare(
        "mkdir -p dir/sub other; echo text > file; echo more > second; ln -s dir link; \
         ln -s nowhere dangling; mkfifo fifo",
    );
    place
}

/// Everything of the host that a grant could change.
fn listing(place: &Place) -> String {
    let script = "find dir other file -printf '%p %M\\n' | sort";
    let output = place.command("sh").args(["-ec", script]).output().unwrap();
    output.code(0).out().to_owned()
}

#[test]
fn odd_grants_work_where_they_mean_something() {
    require!(root, userns);
    for user in USERS {
        let place = place(user);
        let before = listing(&place);
        let check = |words: &[&str], look: &str, expected: &str| {
            let words = [words, &["--workdir", "/", "--", "sh", "-c", look]].concat();
            let output = place.run(&words).code(0);
            assert_eq!(output.out(), expected, "user {user}: {words:?}");
        };
        check(&["-v", "link:/a"], "ls /a", "sub\n");
        check(&["-v", "dir://a/"], "ls /a", "sub\n");
        check(&["-v", "fifo:/a"], "test -p /a && echo fifo", "fifo\n");
        check(&["-v", "file:/etc/passwd"], "cat /etc/passwd", "text\n");
        check(&["-v", "dir:/etc"], "ls /etc", "sub\n");
        check(&["-v", "dir:/tmp"], "ls /tmp", "sub\n");
        check(&["-v", "dir:/var/run/x"], "ls /run", "x\n");
        check(&["-v", "file:/bin/true"], "cat /usr/bin/true", "text\n");
        // The one further up comes first, whatever the order.
        let nested = ["-v", "other:/a/sub", "-v", "dir:/a"];
        check(&nested, "ls /a /a/sub", "/a:\nsub\n\n/a/sub:\n");
        let nested = ["-v", "dir:/a/new", "--tmpfs", "/a"];
        check(&nested, "ls /a/new", "sub\n");
        let nested = ["--secret", "file:/a/b/key", "--tmpfs", "/a"];
        check(&nested, "cat /a/b/key", "text\n");
        check(
            &["--secret", "file:/usr/bin/true"],
            "cat /bin/true",
            "text\n",
        );
        assert_eq!(listing(&place), before);
    }
}

#[test]
fn grants_that_mean_nothing_are_refused_before_the_start() {
    require!(root, userns);
    for user in USERS {
        let place = place(user);
        let before = listing(&place);
        let check = |words: &[&str], expected: &str| {
            let words = [words, &["--", "echo", "started"]].concat();
            let output = place.run(&words).code(125);
            assert_eq!(output.out(), "");
            assert!(
                output.err().contains(expected),
                "{words:?} {}",
                output.err()
            );
            assert_eq!(output.err().lines().count(), 1, "{}", output.err());
            assert_eq!(listing(&place), before);
        };
        const OWN: &str = "is the sandbox's own";
        for target in ["/proc", "/proc/self", "/proc/kcore", "/dev", "/dev/null"] {
            check(&["-v", &format!("dir:{target}")], OWN);
            check(&["-v", &format!("file:{target}")], OWN);
            check(&["--tmpfs", target], OWN);
            check(&["--secret", &format!("file:{target}")], OWN);
        }
        check(&["-v", "dir:/dev/fd/x"], OWN);
        check(&["-v", "dir:/.nucleus"], OWN);
        check(&["-v", "dir:/"], "absolute path below /");
        check(&["-v", "dir:/a/../b"], "absolute path below /");
        check(&["--tmpfs", "/"], "absolute path below /");
        check(&["--workspace", "/"], "the host's root directory");
        let missing = "\"/a/new\", which is not there";
        for access in ["ro", "rw"] {
            let volume = format!("dir:/a:{access}");
            check(&["-v", &volume, "-v", "other:/a/new"], missing);
            check(&["-v", &volume, "-v", "file:/a/new"], missing);
            check(&["-v", &volume, "--tmpfs", "/a/new"], missing);
            check(&["-v", &volume, "--secret", "file:/a/new"], missing);
        }
        check(&["-v", "file:/usr/new"], "\"/usr/new\", which is not there");
        check(&["-v", "file:/usr/bin"], "is a file, and there is a folder");
        check(&["-v", "dir:/bin/true"], "is a folder, and there is a file");
        check(
            &["--tmpfs", "/etc/passwd"],
            "is a folder, and there is a file",
        );
        check(
            &["--secret", "file:/tmp"],
            "is a file, and there is a folder",
        );
        check(&["-v", "dir:/etc/passwd/x"], "is no folder");
        check(&["-v", "dir:/a", "-v", "other:/a"], "would cover");
        check(&["--tmpfs", "/a", "--tmpfs", "/a"], "would cover");
        check(
            &["--secret", "file:/a", "--secret", "second:/a"],
            "would cover",
        );
        check(&["-v", "dangling:/a"], "No such file");
        check(&["-v", "/dev/null:/a"], "is a device");
        check(&["-v", "/dev/null:/a:rw"], "is a device");
    }
}

/// What is shown without being asked for does not cover what was.
#[test]
fn a_volume_below_the_working_directory_is_seen() {
    require!(root, userns, mapped_ids);
    for user in USERS {
        let place = place(user);
        let inside = place.scratch.file("dir/sub");
        let volume = format!("other:{}:rw", inside.display());
        let words = ["-v", &volume, "--", "sh", "-c", "touch dir/sub/new; ls dir"];
        let output = place.run(&words).code(0);
        assert_eq!(output.out(), "sub\n");
        assert!(place.scratch.file("other/new").exists());
        assert!(!inside.join("new").exists());
    }
}

/// Who asks for it gets it: the program starts, and can open nothing.
#[test]
fn a_program_may_be_left_without_files() {
    require!(root, userns, tool("busybox"));
    for user in USERS {
        let place = place(user);
        let busybox = nucleus_tests::require::find("busybox").unwrap();
        std::fs::copy(busybox, place.scratch.file("busybox")).unwrap();
        let words = ["--rlimit", "nofile=0", "--", "./busybox", "cat", "file"];
        let output = place.run(&words).code(1);
        assert!(output.err().contains("file"), "{}", output.err());
    }
}

#[test]
fn a_closed_working_directory_is_named_with_the_remedy() {
    require!(root);
    let place = place(0);
    place.prepare("chmod 700 dir");
    let mut command = place.command("../nucleus");
    command.current_dir(place.scratch.file("dir"));
    let output = command.args(["run", "true"]).output().unwrap().code(125);
    for part in ["may not enter", "--workspace", "--workdir /"] {
        assert!(output.err().contains(part), "{}", output.err());
    }
}

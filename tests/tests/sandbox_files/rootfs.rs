//! A root directory of the user's own.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::MetadataExt as _;
use std::process::{Command, Stdio};

use nucleus_tests::nucleus::Said as _;
use nucleus_tests::require;

use super::place::{NOBODY, Place, USERS};

/// A small image with traps: links that lead out of it if they are followed on
/// the host.
pub(crate) fn place(user: u32) -> Place {
    let place = Place::new(user);
    let busybox = nucleus_tests::require::find("busybox").unwrap();
    fs::copy(busybox, place.scratch.file("busybox")).unwrap();
    place.prepare(
        "mkdir -p image/bin image/etc image/outside ws outside; cp busybox image/bin/sh; \
         for name in cat chmod ls mkdir touch rm id echo; do ln -s sh image/bin/$name; done; \
         echo of the image > image/etc/os-release; \
         ln -s $PWD/outside/resolv image/etc/resolv.conf; \
         ln -s $PWD/outside/group image/etc/group; ln -s $PWD/outside image/run; \
         echo secret > outside/file; echo w > ws/file",
    );
    place
}

/// Everything of the image and beside it, but times of access.
fn snapshot(place: &Place) -> String {
    let script = "find image outside -printf '%p %M %T@ %s %l\\n' | sort";
    let output = place.command("sh").args(["-ec", script]).output().unwrap();
    output.code(0).out().to_owned()
}

#[test]
fn an_image_is_the_root_and_cannot_be_written_to() {
    require!(root, userns, tool("busybox"));
    for user in USERS {
        let place = place(user);
        let before = snapshot(&place);
        let look = "cat /etc/os-release; ls /; echo x > /dev/null; echo $PATH; \
                    cat /outside/file; touch /new; touch /dev/new; touch /tmp/new && echo private";
        let words = ["--rootfs", "image", "--", "sh", "-c", look];
        let output = place.run(&words).code(0);
        assert_eq!(
            output.out(),
            "of the image\nbin\ndev\netc\nhome\noutside\nproc\nrun\ntmp\n\
             /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nprivate\n",
        );
        let errors: Vec<_> = output.err().lines().collect();
        assert!(errors[0].contains("No such file"), "{errors:?}");
        assert!(
            errors[1].contains("/new: Read-only file system"),
            "{errors:?}"
        );
        assert!(
            errors[2].contains("/dev/new: Read-only file system"),
            "{errors:?}"
        );
        assert_eq!(snapshot(&place), before);
    }
}

#[test]
fn a_layer_over_an_image_can_be_written_to_and_is_gone_in_the_end() {
    require!(root, userns, mapped_ids, tool("busybox"));
    for user in USERS {
        let place = place(user);
        let before = snapshot(&place);
        let change = "touch /new /etc/new && rm -r /outside /bin/id && echo changed > /etc/os-release \
                      && cat /etc/os-release; touch /dev/new; ls /dev/new";
        let words = [
            "--rootfs",
            "image",
            "--rootfs-mode",
            "overlay",
            "--",
            "sh",
            "-c",
            change,
        ];
        let output = place.run(&words).code(1);
        assert_eq!(output.out(), "changed\n");
        assert_eq!(snapshot(&place), before);
    }
}

#[test]
fn an_image_goes_with_volumes_workspace_and_hosts() {
    require!(root, userns, mapped_ids, tool("busybox"));
    for user in USERS {
        let place = place(user);
        let words = [
            "--rootfs",
            "image",
            "--workspace",
            "ws",
            "-v",
            "outside:/deep/er",
            "--add-host",
            "db:10.1.2.3",
            "--",
            "sh",
            "-c",
            "cat file /deep/er/file; echo more >> file; cat /etc/hosts",
        ];
        let output = place.run(&words).code(0);
        assert!(output.out().starts_with("w\nsecret\n127.0.0.1 localhost"));
        assert!(output.out().ends_with("10.1.2.3 db\n"));
        assert_eq!(
            fs::read_to_string(place.scratch.file("ws/file")).unwrap(),
            "w\nmore\n"
        );
    }
}

#[test]
fn what_an_image_has_not_is_not_the_hosts() {
    require!(root, userns, tool("busybox"));
    for user in USERS {
        let place = place(user);
        let check = |words: &[&str], code, expected: &str| {
            let output = place.run(words).code(code);
            assert!(output.err().contains(expected), "{}", output.err());
        };
        check(
            &["--rootfs", "image", "--", "env"],
            127,
            "not found in PATH",
        );
        check(
            &["--rootfs", "absent", "--", "sh"],
            125,
            "root directory \"absent\"",
        );
        check(&["--rootfs", "busybox", "--", "sh"], 125, "is not a folder");
    }
}

/// An image that root has unpacked is for others, too, as far as nothing needs
/// to be added to its folders.
#[test]
fn an_image_of_another_user_is_used_as_it_is() {
    require!(
        root,
        userns,
        kernel(5, 11),
        userland,
        tool("busybox"),
        path("/etc/resolv.conf")
    );
    let mut place = place(0);
    place.prepare("rm image/etc/*; echo of the image > image/etc/resolv.conf; chmod 755 image");
    place.user = NOBODY;
    let words = ["--rootfs", "image", "--", "sh", "-c", "ls /etc; ls -d /tmp"];
    assert_eq!(place.run(&words).code(0).out(), "resolv.conf\n/tmp\n");
    let show = ["--", "cat", "/etc/resolv.conf"];
    let words = [&["--rootfs", "image", "--network", "host"][..], &show].concat();
    let of_host = fs::read_to_string("/etc/resolv.conf").unwrap();
    assert_eq!(place.run(&words).code(0).out(), of_host);

    place.user = 0;
    place.prepare("rm image/etc/resolv.conf");
    place.user = NOBODY;
    let output = place.run(&words).code(125);
    let said = format!(
        "in the root directory {:?} its folder belongs to another user than yours",
        place.scratch.path().canonicalize().unwrap().join("image")
    );
    assert!(output.err().contains(&said), "{}", output.err());
}

/// The words for a script over an image, with what it writes kept.
fn kept<'a>(folder: &'a str, script: &'a str) -> [&'a str; 8] {
    [
        "--rootfs",
        "image",
        "--rootfs-upper",
        folder,
        "--",
        "sh",
        "-c",
        script,
    ]
}

#[test]
fn a_kept_layer_is_there_in_the_next_run() {
    require!(root, userns, mapped_ids, kernel(5, 19), tool("busybox"));
    for user in USERS {
        let place = place(user);
        place.prepare("mkdir upper");
        let before = snapshot(&place);
        let change = "echo one > /new; rm -r /outside /bin/id; mkdir /outside; touch /outside/a; \
                      echo changed > /etc/os-release; chmod 4755 /new; ln /new /hard; exit 3";
        let words = [&["--cap-add", "fsetid"][..], &kept("upper", change)].concat();
        assert_eq!(place.run(&words).code(3).err(), "");
        let look = "cat /new /hard /etc/os-release; ls /outside; ls /bin/id; \
                    echo two >> /new && rm /hard && touch /outside/b && ls /outside";
        let output = place.run(&kept("upper", look)).code(0);
        assert_eq!(output.out(), "one\none\nchanged\na\na\nb\n");
        assert!(output.err().contains("/bin/id: No such file"));
        let output = place
            .run(&kept("upper", "cat /new; rm -r /outside"))
            .code(0);
        assert_eq!(output.out(), "one\ntwo\n");
        assert_eq!(snapshot(&place), before);
        // Whatever the program wrote, on the host nobody else can reach it.
        let own = fs::metadata(place.scratch.file("upper/nucleus")).unwrap();
        assert_eq!((own.uid(), own.mode() & 0o777), (user, 0o700));
    }
}

#[test]
fn a_kept_layer_has_one_user_one_root_and_one_run_at_a_time() {
    require!(root, userns, mapped_ids, kernel(5, 19), tool("busybox"));
    for user in USERS {
        let place = place(user);
        place.prepare("mkdir upper other full; cp -a image second; touch full/file");
        let refused = |words: &[&str], expected: &str| {
            let output = place.run(words).code(125);
            assert!(output.err().contains(expected), "{}", output.err());
            assert_eq!(output.out(), "");
        };
        let start = "echo started";
        refused(&kept("absent", start), "for the kept layer \"absent\"");
        refused(&kept("busybox", start), "is not a folder");
        refused(&kept("full", start), "holds \"file\"");
        let mut words = kept("other", start).to_vec();
        words.splice(0..0, ["--rootfs-mode", "ro"]);
        refused(&words, "leave one out");
        let plan = place.run(&[&["--print-plan"], &kept("other", start)[..]].concat());
        assert!(plan.code(0).out().contains("under the layer in tree"));
        assert_eq!(
            fs::read_dir(place.scratch.file("other")).unwrap().count(),
            0
        );

        place.run(&kept("upper", "true")).code(0);
        let mut second = kept("upper", start);
        second[1] = "second";
        refused(&second, "is over the root directory");
        let mut first = place
            .nucleus(&kept("upper", "echo ready; read line; touch /late"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(first.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        refused(&kept("upper", start), "in use by another run");
        drop(first.stdin.take());
        assert!(first.wait().unwrap().success());
        place.run(&kept("upper", "ls /late")).code(0);
    }
    let place = place(super::place::NOBODY);
    place.prepare("mkdir upper");
    place.run(&kept("upper", "true")).code(0);
    let mut command = Command::new(place.scratch.file("nucleus"));
    command.current_dir(place.scratch.path()).arg("run");
    let output = command.args(kept("upper", "true")).output().unwrap();
    let output = output.code(125);
    assert!(output.err().contains("is user 65534's"), "{}", output.err());
}

/// A file system that cannot have one is named, and nothing is started.
#[test]
fn a_kept_layer_needs_attributes() {
    require!(root, tool("unshare"), tool("mount"), tool("busybox"));
    let place = place(0);
    place.prepare("mkdir upper");
    let words = kept("upper", "true").join(" ");
    let script = format!("mount -t ramfs none upper && ./nucleus run {words}");
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", &script])
        .current_dir(place.scratch.path())
        .output()
        .unwrap()
        .code(125);
    assert!(
        output.err().contains("extended attributes"),
        "{}",
        output.err()
    );
}

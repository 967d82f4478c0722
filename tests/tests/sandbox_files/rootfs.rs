//! A root directory of the user's own.

use std::fs;

use nucleus_tests::nucleus::Said as _;
use nucleus_tests::require;

use super::place::{Place, USERS};

/// A small image with traps: links that lead out of it if they are followed on
/// the host.
fn place(user: u32) -> Place {
    let place = Place::new(user);
    let busybox = nucleus_tests::require::find("busybox").unwrap();
    fs::copy(busybox, place.scratch.file("busybox")).unwrap();
    place.prepare(
        "mkdir -p image/bin image/etc image/outside ws outside; cp busybox image/bin/sh; \
         for name in cat ls touch rm id echo; do ln -s sh image/bin/$name; done; \
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

//! Nucleus is killed at random moments, with all kinds of files in the sandbox:
//! nothing of them is left on the host, and nothing stands in the way of the
//! next run.

use std::hash::{BuildHasher as _, RandomState};
use std::io::Read as _;
use std::time::Duration;

use nucleus_tests::nucleus::Said as _;
use nucleus_tests::require;

use super::place::{Place, USERS};

fn place(user: u32) -> Place {
    let place = Place::new(user);
    let busybox = nucleus_tests::require::find("busybox").unwrap();
    std::fs::copy(busybox, place.scratch.file("busybox")).unwrap();
    place.prepare(
        "mkdir -p image/bin image/etc ws temporary upper; cp busybox image/bin/sh; \
         for name in cat sleep setsid; do ln -s sh image/bin/$name; done; \
         echo w > ws/file; echo s > token",
    );
    place
}

/// Everything on the host but times, and but the kept layer.
fn snapshot(place: &Place) -> String {
    let script = "find . -path ./upper -prune -o -printf '%p %M %s %l\n' | sort";
    let output = place.command("sh").args(["-ec", script]).output().unwrap();
    output.code(0).out().to_owned()
}

/// Kills it 30 times, half of them in the start itself; whatever is left of the
/// sandbox holds the other end of the pipe.
fn nothing_is_left(place: &Place, options: &[&str]) {
    let before = snapshot(place);
    let work = "echo x >/new; echo x >/ws/new; echo x >/tmp/new; setsid sleep 1000 & sleep 1000";
    let grants = [
        "--workspace",
        "ws:cow",
        "--on-exit",
        "commit",
        "--secret",
        "token:/run/token",
        "--tmpfs",
        "/scratch",
        "--rlimit",
        "nofile=256",
        "--rlimit",
        "nproc=50",
    ];
    for round in 0..30 {
        let span = if round % 2 == 0 { 20_000 } else { 120_000 };
        let random = RandomState::new().hash_one(round);
        let moment = Duration::from_micros(random % span);
        let (mut read, write) = std::io::pipe().unwrap();
        let words = [&grants[..], options, &["--", "sh", "-c", work]].concat();
        let mut command = place.nucleus(&words);
        command.env("TMPDIR", place.scratch.file("temporary"));
        let mut run = command.stdout(write).spawn().unwrap();
        drop(command);
        // Not to wait for anything, but to hit any moment.
        std::thread::sleep(moment);
        run.kill().unwrap();
        run.wait().unwrap();
        let mut rest = Vec::new();
        read.read_to_end(&mut rest).unwrap();
        assert_eq!(snapshot(place), before, "after {moment:?}");
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(" - tmpfs sandbox "), "{mounts}");
}

/// Kills it with these options of a root file system, and what there is to see
/// `after` that.
fn kill_with_image(options: &[&str], after: impl Fn(&Place, &[&str])) {
    require!(
        root,
        userns,
        mapped_ids,
        kernel(6, 6),
        userland,
        tool("busybox")
    );
    let image = [&["--rootfs", "image"], options].concat();
    for user in USERS {
        let place = place(user);
        nothing_is_left(&place, &image);
        after(&place, &image);
    }
}

#[test]
fn nothing_is_left_of_a_killed_overlay() {
    kill_with_image(&["--rootfs-mode", "overlay"], |_place, _image| {});
}

/// A layer that is kept is there after a kill, and free.
#[test]
fn a_kept_layer_outlives_a_kill() {
    kill_with_image(&["--rootfs-upper", "upper"], |place, image| {
        let write = [image, &["--", "sh", "-c", "echo kept >/kept"]].concat();
        place.run(&write).code(0);
        nothing_is_left(place, image);
        let read = [image, &["--", "cat", "/kept"]].concat();
        assert_eq!(place.run(&read).code(0).out(), "kept\n");
    });
}

//! What belongs to a target that is looked for in the tree of processes.

use std::path::PathBuf;

use nucleus_audit::Belonging::{Other, Ours, Unattributed};
use nucleus_audit::{Call, Event, Scope, Selection};
use nucleus_seccomp::Action;

use super::made::{CONTAINER, HOST, Made};

#[test]
fn a_process_and_its_descendants_are_ours() {
    let made = Made::new();
    made.start(10, 1, "/user/job", HOST);
    made.start(20, 1, "/user/other", HOST);
    let mut watch = made.select_pid(10);
    made.wait(1000);
    made.start(11, 10, "/user/job", HOST);
    made.start(12, 11, "/user/job", HOST);
    made.start(21, 20, "/user/other", HOST);
    let now = made.wait(100);
    for pid in [10, 11, 12] {
        watch.check(pid, now, Ours);
    }
    for pid in [1, 20, 21, std::process::id()] {
        watch.check(pid, now, Other);
    }
    watch.check(99, now, Unattributed);
}

#[test]
fn the_dead_that_were_known_stay_ours() {
    let made = Made::new();
    made.start(10, 1, "/job", HOST);
    made.start(11, 10, "/job", HOST);
    let mut watch = made.select_pid(10);
    let made_call = made.wait(100);
    made.end(11);
    made.wait(5);
    watch.check(11, made_call, Ours);
    // Long after, the id may have been anybody's.
    let later = made.wait(60_000);
    watch.check(11, later, Unattributed);
}

#[test]
fn a_pid_that_is_used_again_never_matches() {
    let made = Made::new();
    made.start(10, 1, "/job", HOST);
    made.start(11, 10, "/job", HOST);
    made.start(20, 1, "/other", HOST);
    let mut watch = made.select_pid(10);
    let before = made.wait(100);
    made.end(11);
    made.end(20);
    made.wait(30);
    made.start(11, 1, "/other", HOST);
    made.start(20, 10, "/job", HOST);
    let reused = made.wait(0);
    made.wait(30);
    // The record of the first holder is read late, that of the second early.
    watch.check(11, before, Ours);
    watch.check(11, reused + 30, Other);
    watch.check(20, reused + 30, Ours);
    watch.check(20, before, Unattributed);
    // Within the clocks' precision nobody knows.
    made.wait(1000);
    made.end(20);
    made.start(20, 1, "/other", HOST);
    let swapped = made.wait(1);
    watch.check(20, swapped, Unattributed);
    made.wait(100);
    watch.check(20, swapped + 100, Other);
}

#[test]
fn a_target_whose_own_pid_is_used_again_does_not_match() {
    let made = Made::new();
    made.wait(100);
    made.start(10, 1, "/job", HOST);
    let mut watch = made.select_pid(10);
    made.wait(100);
    made.end(10);
    made.wait(100);
    made.start(10, 1, "/other", HOST);
    made.start(11, 10, "/other", HOST);
    let now = made.wait(100);
    watch.check(10, now, Other);
    watch.check(11, now, Other);
}

#[test]
fn orphans_are_ours_if_known_and_never_guessed() {
    let made = Made::new();
    made.start(10, 1, "/job", HOST);
    made.wait(100);
    made.start(11, 10, "/job", HOST);
    made.start(12, 11, "/job", HOST);
    let mut watch = made.select_pid(10);
    made.end(11);
    // A child of the orphan that is known.
    made.start(13, 12, "/job", HOST);
    // Orphans that nobody saw in time.
    made.start(14, 1, "/job", HOST);
    made.start(15, 1, "/elsewhere", HOST);
    let now = made.wait(1000);
    watch.check(12, now, Ours);
    watch.check(13, now, Ours);
    watch.check(14, now, Unattributed);
    watch.check(15, now, Other);
}

/// What is looked up while it is being reaped has no cgroup to show.
#[test]
fn one_without_a_cgroup_is_not_taken_for_another_s() {
    let made = Made::new();
    made.start(10, 1, "/job", HOST);
    let mut watch = made.select_pid(10);
    made.wait(100);
    made.start(11, 1, "/job", HOST);
    made.0
        .lock()
        .unwrap()
        .processes
        .get_mut(&11)
        .unwrap()
        .cgroup = None;
    let now = made.wait(1000);
    watch.check(11, now, Unattributed);
}

#[test]
fn a_cgroup_holds_its_subtree_only() {
    let made = Made::new();
    made.start(10, 1, "/pod/a", HOST);
    made.start(11, 1, "/pod/a/b", HOST);
    made.start(12, 1, "/pod/ab", HOST);
    let mut watch = made.select(Selection {
        cgroup: Some(PathBuf::from("/pod/a")),
        ..Selection::default()
    });
    let now = made.wait(10);
    watch.check(10, now, Ours);
    watch.check(11, now, Ours);
    watch.check(12, now, Other);
    made.start(13, 1, "/pod/a", HOST);
    let now = made.wait(10);
    watch.check(13, now, Ours);
}

#[test]
fn a_namespace_matches_unless_it_is_our_own() {
    let made = Made::new();
    made.start(10, 1, "/pod", CONTAINER);
    made.start(11, 1, "/exec", CONTAINER);
    made.start(20, 1, "/shared", HOST);
    made.start(21, 1, "/x", HOST);
    let namespace = |pid| Selection {
        pid: Some(pid),
        cgroup: None,
        namespace: true,
    };
    let now = made.wait(10);
    let mut container = made.select(namespace(10));
    container.check(11, now, Ours);
    container.check(21, now, Other);
    let mut shared = made.select(namespace(20));
    shared.check(20, now, Ours);
    shared.check(21, now, Other);
}

#[test]
fn a_storm_causes_no_scan_per_record() {
    let made = Made::new();
    made.start(10, 1, "/job", HOST);
    made.start(20, 1, "/other", HOST);
    let mut watch = made.select_pid(10);
    let mut now = made.wait(10);
    watch.check(20, now, Other);
    let before = {
        let world = made.0.lock().unwrap();
        (world.looked_up, world.scanned)
    };
    for _ in 0..1000 {
        now = made.wait(1);
        watch.check(20, now, Other);
    }
    let after = {
        let world = made.0.lock().unwrap();
        (world.looked_up, world.scanned)
    };
    assert_eq!(before, after, "a known process costs nothing");
    // Unknown ones, with ids that no process has, as our own: one look-up each,
    // and a scan every 250 ms.
    for step in 0..1000 {
        now = made.wait(1);
        watch.check(5_000_000 + step, now, Unattributed);
    }
    let world = made.0.lock().unwrap();
    assert!(world.looked_up - after.0 <= 1000, "{world:?}");
    assert!(world.scanned - after.1 <= 5, "{}", world.scanned);
}

#[test]
fn a_session_matches_exactly() {
    let mut scope = Scope::Session(7);
    let event = |session| Event {
        time: None,
        pid: 1,
        tid: None,
        session,
        call: Call {
            arch: 0,
            nr: 0,
            instruction_pointer: 0,
            args: None,
        },
        action: Action::Errno(1),
        comm: None,
        exe: None,
    };
    assert_eq!(scope.judge(&event(Some(7))), Ours);
    assert_eq!(scope.judge(&event(Some(8))), Other);
    assert_eq!(scope.judge(&event(None)), Other);
}

//! Whose event it was, by made processes and a made clock.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use nucleus_audit::Belonging::{Other, Ours, Unattributed};
use nucleus_audit::{
    Belonging, Birth, Births, Call, Event, Process, Processes, Scope, Selection, Target,
};
use nucleus_seccomp::Action;

const HOST: u64 = 1;
const CONTAINER: u64 = 2;

#[derive(Debug, Default)]
struct World {
    now: u64,
    processes: BTreeMap<u32, Process>,
    looked_up: u32,
    scanned: u32,
    births: Option<Births>,
    /// Ended, and not waited for yet.
    zombies: BTreeSet<u32>,
    /// What happens while children are looked for: one at each look.
    meanwhile: VecDeque<fn(&Made)>,
}

/// Milliseconds since boot are both the clock and the start times.
#[derive(Debug, Clone, Default)]
struct Made(Arc<Mutex<World>>);

fn at(milliseconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(milliseconds)
}

impl Made {
    fn new() -> Self {
        let made = Self::default();
        made.start(1, 0, "/init", HOST);
        // The one that asks.
        made.start(std::process::id(), 1, "/user/shell", HOST);
        made
    }

    fn start(&self, pid: u32, parent: u32, cgroup: &str, namespace: u64) {
        let mut world = self.0.lock().unwrap();
        let now = world.now;
        let mut process = Process::new(pid, now, at(now), parent);
        process.cgroup = Some(cgroup.into());
        process.pid_namespace = Some(namespace);
        world.processes.insert(pid, process);
        if let Some(told) = &mut world.births {
            told.births.push(Birth {
                parent,
                child: pid,
                time: at(now),
            });
        }
    }

    /// From now on new processes are told.
    fn tell_births(&self) {
        self.0.lock().unwrap().births = Some(Births::default());
    }

    fn end(&self, pid: u32) {
        let mut world = self.0.lock().unwrap();
        world.processes.remove(&pid);
        for process in world.processes.values_mut() {
            if process.parent == pid {
                process.parent = 1;
            }
        }
    }

    fn end_unnoticed(&self, pid: u32) {
        self.0.lock().unwrap().zombies.insert(pid);
    }

    fn wait(&self, milliseconds: u64) -> u64 {
        let mut world = self.0.lock().unwrap();
        world.now += milliseconds;
        world.now
    }

    fn select(&self, selection: Selection) -> Watch {
        let target = Target::new(selection, Box::new(self.clone())).unwrap();
        Watch(Scope::Target(target))
    }

    fn select_pid(&self, pid: u32) -> Watch {
        self.select(Selection {
            pid: Some(pid),
            ..Selection::default()
        })
    }
}

impl Processes for Made {
    fn find(&self, pid: u32) -> Option<Process> {
        let mut world = self.0.lock().unwrap();
        world.looked_up += 1;
        world.processes.get(&pid).cloned()
    }

    fn runs(&self, process: &Process) -> bool {
        let world = self.0.lock().unwrap();
        let now = world.processes.get(&process.pid);
        now.is_some_and(|now| now.start == process.start && !world.zombies.contains(&now.pid))
    }

    fn children(&self, pid: u32) -> Vec<u32> {
        let next = self.0.lock().unwrap().meanwhile.pop_front();
        if let Some(happens) = next {
            happens(self);
        }
        let mut world = self.0.lock().unwrap();
        world.scanned += 1;
        let all = world.processes.values();
        all.filter(|process| process.parent == pid)
            .map(|process| process.pid)
            .collect()
    }

    fn in_cgroup(&self, cgroup: &Path) -> Vec<u32> {
        let mut world = self.0.lock().unwrap();
        world.scanned += 1;
        let within = |process: &&Process| process.cgroup.as_ref().unwrap().starts_with(cgroup);
        let all = world.processes.values();
        all.filter(within).map(|process| process.pid).collect()
    }

    fn all(&self) -> Vec<u32> {
        let mut world = self.0.lock().unwrap();
        world.scanned += 1;
        world.processes.keys().copied().collect()
    }

    fn born(&mut self) -> Option<Births> {
        self.0.lock().unwrap().births.as_mut().map(std::mem::take)
    }

    fn now(&self) -> SystemTime {
        at(self.0.lock().unwrap().now)
    }
}

struct Watch(Scope);

impl Watch {
    #[track_caller]
    fn check(&mut self, pid: u32, time: u64, expected: Belonging) {
        assert_eq!(self.judge(pid, time), expected, "process {pid} at {time}");
    }

    fn judge(&mut self, pid: u32, time: u64) -> Belonging {
        self.0.judge(&Event {
            time: Some(at(time)),
            pid,
            tid: None,
            session: None,
            call: Call {
                arch: 0xc000_003e,
                nr: 41,
                instruction_pointer: 0,
                args: None,
            },
            action: Action::Errno(1),
            comm: None,
            exe: None,
        })
    }
}

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

#[test]
fn those_that_were_told_are_ours_however_short_they_lived() {
    let made = Made::new();
    made.tell_births();
    made.start(10, 1, "/job", HOST);
    made.start(20, 1, "/job", HOST);
    let mut watch = made.select_pid(10);
    // A daemon made by a child that is gone, and gone itself; and another's.
    made.wait(1000);
    made.start(11, 10, "/job", HOST);
    made.start(12, 11, "/job", HOST);
    made.start(21, 20, "/job", HOST);
    let now = made.wait(1);
    made.end(11);
    made.end(12);
    made.end(21);
    made.wait(1);
    watch.check(11, now, Ours);
    watch.check(12, now, Ours);
    watch.check(21, now, Unattributed);
    // Later records of the dead are theirs until the id is given away.
    made.wait(60_000);
    watch.check(12, now, Ours);
    made.start(12, 20, "/elsewhere", HOST);
    let now = made.wait(100);
    watch.check(12, now, Other);
    made.start(21, 10, "/job", HOST);
    let now = made.wait(100);
    watch.check(21, now, Ours);
}

/// Records are stamped by a clock that may stand still for long on a virtual
/// machine: whoever alone had the id has made the record.
#[test]
fn those_that_were_told_are_ours_however_the_clocks_disagree() {
    let made = Made::new();
    made.tell_births();
    made.start(10, 1, "/job", HOST);
    made.start(20, 1, "/job", HOST);
    let began = made.wait(1000);
    let mut watch = made.select_pid(10);
    made.wait(1000);
    made.start(11, 10, "/job", HOST);
    made.end(11);
    watch.check(11, began + 1, Ours);
    // Before the watch began it may have been anybody's.
    watch.check(11, began - 1, Unattributed);
    made.end(20);
    made.start(20, 10, "/job", HOST);
    watch.check(20, began + 1, Unattributed);
    let now = made.wait(100);
    watch.check(20, now, Ours);
    // And when it changes hands within the precision of the clocks.
    made.end(11);
    made.start(11, 1, "/elsewhere", HOST);
    let handed_over = made.wait(1);
    watch.check(11, handed_over, Unattributed);
    watch.check(11, made.wait(100), Other);
}

/// Made and orphaned while the tree is looked through, so that it is seen as
/// an orphan before it is told whose child it was.
#[test]
fn one_that_is_looked_up_before_it_is_told_is_no_other_holder_of_its_id() {
    let made = Made::new();
    made.tell_births();
    made.start(10, 1, "/job", HOST);
    let mut watch = made.select_pid(10);
    let now = made.wait(1000);
    let happens: [fn(&Made); 2] = [|made| made.start(11, 10, "/job", HOST), |made| made.end(10)];
    made.0.lock().unwrap().meanwhile.extend(happens);
    watch.check(99, now, Unattributed);
    watch.check(11, now, Ours);
    made.end(11);
    watch.check(11, now, Ours);
}

/// The target ends while the tree is looked through, in which a member is that
/// has ended: there is nobody left whose child it could be seen to be.
#[test]
fn one_that_was_told_stays_ours_when_it_is_looked_up_again() {
    let made = Made::new();
    made.tell_births();
    made.start(10, 1, "/job", HOST);
    let mut watch = made.select_pid(10);
    made.wait(1000);
    made.start(11, 10, "/job", HOST);
    made.end_unnoticed(11);
    let happens: [fn(&Made); 2] = [|_| (), |made| made.end(10)];
    made.0.lock().unwrap().meanwhile.extend(happens);
    let now = made.wait(1);
    watch.check(99, now, Unattributed);
    watch.check(11, now, Ours);
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
fn after_a_miss_only_the_living_are_still_known() {
    let made = Made::new();
    made.tell_births();
    made.start(10, 1, "/job", HOST);
    made.start(11, 10, "/job", HOST);
    made.start(12, 10, "/job", HOST);
    let mut watch = made.select_pid(10);
    made.end(11);
    let now = made.wait(100);
    made.0.lock().unwrap().births.as_mut().unwrap().missed = true;
    watch.check(11, now, Unattributed);
    watch.check(12, now, Ours);
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

//! A program that is frozen stands still, and goes on when it is thawed.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::ptr::null_mut;
use std::sync::mpsc::channel;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nucleus_tracer::{FreezeError, Freezer, Judge, Mode, TracedCall, Verdict};

use crate::shared::{Counter, counter};
use crate::{Held, call, stands, stat};

/// Nothing takes as long, but on a machine that does nothing else.
const PATIENCE: Duration = Duration::from_secs(60);

/// Lets everything happen, and can be frozen; by itself at `getuid`.
struct Freezes(Freezer);

impl Judge for Freezes {
    fn freezer(&self) -> Option<Freezer> {
        Some(self.0.clone())
    }

    fn enter(&mut self, call: &TracedCall) -> Verdict {
        if i64::from(call.data.nr) == libc::SYS_getuid {
            self.0.freeze(Duration::ZERO).unwrap();
        }
        Verdict::GoAndTell
    }
}

/// A program under a tracer of a thread of its own.
struct Run {
    pid: u32,
    freezer: Freezer,
    tracer: JoinHandle<ExitStatus>,
}

impl Run {
    /// `child` leads a process group of its own.
    fn start(child: impl FnOnce() -> i32 + Send + 'static) -> Self {
        Self::start_in(Mode::Judge, child)
    }

    fn start_in(mode: Mode, child: impl FnOnce() -> i32 + Send + 'static) -> Self {
        let freezer = Freezer::default();
        let judge = Freezes(freezer.clone());
        let (send, pid) = channel();
        let tracer = thread::spawn(move || {
            let calls = [libc::SYS_getuid, libc::SYS_getgid];
            let held = Held::fork(&calls, || in_own_group(child));
            let pid = held.pid;
            let mut tracer = held.traced(mode, judge);
            send.send(pid).unwrap();
            tracer.run().unwrap();
            tracer.root_status().unwrap()
        });
        Self {
            pid: pid.recv().unwrap(),
            freezer,
            tracer,
        }
    }

    fn freeze(&self) {
        self.freezer.freeze(PATIENCE).unwrap();
        assert!(self.freezer.is_frozen());
    }

    fn thaw(&self) {
        self.freezer.thaw();
        assert!(!self.freezer.is_frozen());
    }

    /// Kills its group, frozen or not; nobody is left then.
    fn kill(self) {
        signal(self.pid, libc::SIGKILL);
        let ended = self.tracer.join().unwrap();
        assert_eq!(ended.signal(), Some(libc::SIGKILL));
        assert_eq!(self.freezer.freeze(PATIENCE), Err(FreezeError::NotTraced));
        reap(self.pid);
    }
}

fn in_own_group(child: impl FnOnce() -> i32) -> i32 {
    // SAFETY: plain values.
    unsafe { libc::setpgid(0, 0) };
    child()
}

fn signal(group: u32, signal: i32) {
    // SAFETY: plain values.
    assert_eq!(unsafe { libc::kill(-group.cast_signed(), signal) }, 0);
}

/// Waits for all of a group, whose orphans are this process's.
fn reap(group: u32) {
    // SAFETY: plain values, and no status is asked for.
    while unsafe { libc::waitpid(-group.cast_signed(), null_mut(), 0) } > 0 {}
    assert_eq!(members(group), BTreeSet::new());
}

/// The processes of a group.
fn members(group: u32) -> BTreeSet<u32> {
    let all = std::fs::read_dir("/proc").unwrap();
    let numbers = all.filter_map(|it| it.unwrap().file_name().to_str()?.parse().ok());
    numbers
        .filter(|&process| stat(process).is_some_and(|stat| stat.group == group))
        .collect()
}

/// That nobody of a frozen group moves, and nothing that they count.
fn stands_still(group: u32, counters: &[&Counter]) {
    let counts = || -> Vec<_> { counters.iter().map(|it| it.get()).collect() };
    let before = counts();
    let all = members(group);
    assert!(all.len() > 1, "{all:?}");
    // One that was just made has no way to go but into its first stop.
    let is_still = |&process: &u32| stat(process).is_none_or(|it| matches!(it.state, 't' | 'Z'));
    while !all.iter().all(is_still) {
        thread::yield_now();
    }
    for _ in 0..5 {
        assert_eq!(members(group), all);
        assert!(all.iter().all(is_still));
        assert_eq!(counts(), before);
    }
}

/// Up to 50 processes that make others all the time, and count.
fn bomb(processes: &Counter, forks: &Counter, steps: &Counter) -> i32 {
    let mut is_first = true;
    let mut age = 0_u32;
    while is_first || age < 200 {
        age += 1;
        steps.add(1);
        call(libc::SYS_getgid);
        // SAFETY: no status is asked for.
        unsafe { libc::waitpid(-1, null_mut(), libc::WNOHANG) };
        if processes.add(1) >= 50 {
            processes.take(1);
            continue;
        }
        // SAFETY: the child goes on here and makes raw calls alone.
        if unsafe { libc::fork() } == 0 {
            forks.add(1);
            (is_first, age) = (false, 0);
        }
    }
    processes.take(1);
    0
}

/// Orphans are this process's from now on.
fn adopt() {
    // SAFETY: plain values.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) }, 0);
}

#[test]
fn a_fork_bomb_stands_still_and_goes_on() {
    freeze_a_bomb(Mode::Judge);
}

/// In this mode a thread stops at its end, too.
#[test]
fn a_fork_bomb_whose_ends_are_told_stands_still_and_goes_on() {
    freeze_a_bomb(Mode::Deny);
}

fn freeze_a_bomb(mode: Mode) {
    adopt();
    let [processes, forks, steps] = [counter(), counter(), counter()];
    let run = Run::start_in(mode, || bomb(processes, forks, steps));
    while processes.get() < 50 {
        thread::yield_now();
    }
    for _ in 0..3 {
        run.freeze();
        stands_still(run.pid, &[processes, forks, steps]);
        run.freeze();
        stands_still(run.pid, &[processes, forks, steps]);
        run.thaw();
        run.thaw();
        forks.goes_on();
        steps.goes_on();
    }
    run.freeze();
    run.kill();
}

#[test]
fn who_is_killed_while_frozen_is_dead_and_the_others_go_on() {
    let steps = counter();
    let run = Run::start(|| {
        for _ in 0..2 {
            // SAFETY: the child makes raw calls alone.
            if unsafe { libc::fork() } == 0 {
                loop {
                    steps.add(1);
                }
            }
        }
        let mut status = 0;
        // SAFETY: the status can be written.
        unsafe { libc::wait(&raw mut status) };
        let killed = libc::WIFSIGNALED(status);
        // SAFETY: plain values; the whole group, this process included.
        unsafe { libc::kill(0, if killed { libc::SIGKILL } else { libc::SIGTERM }) };
        1
    });
    while members(run.pid).len() < 3 {
        thread::yield_now();
    }
    run.freeze();
    let child = *members(run.pid).last().unwrap();
    // SAFETY: plain values.
    unsafe { libc::kill(child.cast_signed(), libc::SIGKILL) };
    while stat(child).is_some_and(|stat| stat.state != 'Z') {
        thread::yield_now();
    }
    stands_still(run.pid, &[steps]);
    run.freezer.thaw();
    assert_eq!(run.tracer.join().unwrap().signal(), Some(libc::SIGKILL));
}

#[test]
fn who_waits_for_a_child_of_vfork_counts_as_standing_still() {
    adopt();
    let [steps, go] = [counter(), counter()];
    let run = Run::start(|| {
        // As vfork(2), but in memory of its own.
        let flags = libc::CLONE_VFORK | libc::SIGCHLD;
        // SAFETY: without a stack the child has a copy of this one.
        let child = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
        while child != 0 || go.get() == 0 {
            steps.add(1);
        }
        0
    });
    steps.goes_on();
    let state = || stat(run.pid).unwrap().state;
    while state() != 'D' {
        thread::yield_now();
    }
    run.freeze();
    assert_eq!(state(), 'D');
    let before = steps.get();
    let child = *members(run.pid).last().unwrap();
    assert!(child != run.pid && stands(child));
    assert_eq!(steps.get(), before);
    run.thaw();
    steps.goes_on();
    go.add(1);
    // Now it is its maker that counts.
    while state() == 'D' {
        thread::yield_now();
    }
    steps.goes_on();
    run.freeze();
    stands_still(run.pid, &[steps]);
    run.kill();
}

#[test]
fn a_first_thread_that_has_ended_is_not_waited_for() {
    extern "C" fn count(counter: *mut libc::c_void) -> *mut libc::c_void {
        // SAFETY: a counter, which is there for ever.
        let counter = unsafe { &*counter.cast_const().cast::<Counter>() };
        loop {
            counter.add(1);
        }
    }
    let steps = counter();
    let run = Run::start(|| {
        let argument = std::ptr::from_ref(steps).cast_mut().cast();
        let mut thread = 0;
        // SAFETY: the thread's argument is there for ever.
        unsafe { libc::pthread_create(&raw mut thread, std::ptr::null(), count, argument) };
        // SAFETY: ends this thread alone.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
        1
    });
    while stat(run.pid).is_none_or(|stat| stat.state != 'Z') {
        thread::yield_now();
    }
    steps.goes_on();
    run.freeze();
    let before = steps.get();
    let threads = std::fs::read_dir(format!("/proc/{}/task", run.pid)).unwrap();
    let mut threads = threads.map(|it| it.unwrap().file_name().to_str().unwrap().parse().unwrap());
    assert!(threads.any(stands));
    assert_eq!(steps.get(), before);
    run.thaw();
    steps.goes_on();
    run.kill();
}

#[test]
fn job_control_is_as_without_a_freeze() {
    let steps = counter();
    let run = Run::start(|| {
        loop {
            steps.add(1);
        }
    });
    steps.goes_on();
    signal(run.pid, libc::SIGSTOP);
    while !stands(run.pid) {
        thread::yield_now();
    }
    run.freeze();
    let before = steps.get();
    run.thaw();
    run.freeze();
    run.thaw();
    assert_eq!(steps.get(), before);
    signal(run.pid, libc::SIGCONT);
    steps.goes_on();
    // What comes while it is frozen is not lost.
    run.freeze();
    signal(run.pid, libc::SIGTERM);
    run.thaw();
    assert_eq!(run.tracer.join().unwrap().signal(), Some(libc::SIGTERM));
}

#[test]
fn nobody_outlives_a_tracer_that_is_killed_while_they_are_frozen() {
    adopt();
    let [processes, forks, steps] = [counter(), counter(), counter()];
    let (mut said, say) = std::io::pipe().unwrap();
    // SAFETY: nobody holds a lock that the child needs.
    let supervisor = unsafe { libc::fork() };
    if supervisor == 0 {
        let run = Run::start(|| bomb(processes, forks, steps));
        while processes.get() < 50 {
            thread::yield_now();
        }
        run.freeze();
        rustix::io::write(&say, &run.pid.to_ne_bytes()).unwrap();
        run.tracer.join().unwrap();
        // SAFETY: ends the child.
        unsafe { libc::_exit(1) };
    }
    let mut group = [0; 4];
    said.read_exact(&mut group).unwrap();
    let group = u32::from_ne_bytes(group);
    stands_still(group, &[processes, forks, steps]);
    // SAFETY: plain values.
    unsafe { libc::kill(supervisor, libc::SIGKILL) };
    // SAFETY: no status is asked for.
    let waited = unsafe { libc::waitpid(supervisor, null_mut(), 0) };
    assert_eq!(waited, supervisor);
    reap(group);
}

#[test]
fn a_judge_can_freeze_from_within() {
    adopt();
    let [steps, ask] = [counter(), counter()];
    let run = Run::start(|| {
        // SAFETY: the child makes raw calls alone.
        if unsafe { libc::fork() } != 0 {
            while ask.get() == 0 {}
            call(libc::SYS_getuid);
        }
        loop {
            steps.add(1);
        }
    });
    steps.goes_on();
    ask.add(1);
    while !run.freezer.is_frozen() {
        thread::yield_now();
    }
    stands_still(run.pid, &[steps]);
    run.thaw();
    steps.goes_on();
    run.kill();
}

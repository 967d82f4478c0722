//! Limits that act, on a kernel with cgroup v2 and its controllers.

#![allow(
    clippy::expect_used,
    reason = "what the helpers cannot do fails the test that asked for it"
)]

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::chown;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nucleus_cgroup::{Cgroup, Controller, CpuWeight, Error, Group, Host, Limits, PidsMax, Place};
use nucleus_tests::require;

/// Long enough for an emulated machine under load.
const PATIENCE: Duration = Duration::from_secs(60);

const NOBODY: u32 = 65534;

const HELPER: &str = env!("CARGO_BIN_EXE_cgroup-helper");

fn host() -> Host {
    Host::detect().expect("the host's cgroups")
}

fn group(limits: &Limits) -> Group {
    let place = Place::find(&host(), &limits.controllers()).expect("a place");
    Group::create(place, limits).expect("a group")
}

fn tasks(most: u64) -> Limits {
    Limits::new().pids_max(PidsMax::new(most).expect("valid"))
}

fn names(parent: &Cgroup) -> BTreeSet<PathBuf> {
    let names = parent.children().expect("listed");
    names.into_iter().map(PathBuf::from).collect()
}

fn remove(mut group: Group) {
    let path = group.path().to_owned();
    group.remove(PATIENCE).expect("removed");
    assert!(!path.exists(), "{}", path.display());
}

/// A shell that waits for a line before it runs a script.
struct Held(Child);

impl Held {
    fn spawn(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        Self(command.spawn().expect("spawned"))
    }

    fn in_group(group: &Group, script: &str) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("read go; {script}")]);
        let held = Self::spawn(command);
        group.admit(held.pid()).expect("admitted");
        held
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).expect("a process id")
    }

    fn line(&mut self) {
        let stdin = self.0.stdin.as_mut().expect("piped");
        stdin.write_all(b"go\n").expect("written");
    }

    fn output(&mut self) -> BufReader<ChildStdout> {
        BufReader::new(self.0.stdout.take().expect("piped"))
    }

    /// Lets it run to its end.
    fn run(mut self) -> Output {
        self.line();
        self.0.wait_with_output().expect("waited for")
    }
}

/// The helper as nobody, held until it gets a line.
fn as_nobody(task: &str) -> Held {
    let mut command = Command::new("sh");
    command.args(["-c", "read go; exec \"$@\"", "sh", HELPER, task]);
    command.uid(NOBODY).gid(NOBODY).stderr(Stdio::piped());
    Held::spawn(command)
}

#[test]
fn memory_beyond_the_limit_is_an_oom_kill_that_is_counted() {
    require!(root, cgroup2("memory"));
    let limits = Limits::new()
        .memory_max("16M".parse().expect("valid"))
        .swap_max("0".parse().expect("valid"))
        .oom_group();
    let group = group(&limits.check().expect("sensible"));
    let status = Held::in_group(&group, "dd if=/dev/zero of=/dev/null bs=64M count=1")
        .run()
        .status;
    assert_eq!(status.signal(), Some(9), "{status}");
    let memory = group.stats().expect("stats").memory.expect("enabled");
    assert!(memory.events.oom_kill >= 1, "{memory:?}");
    assert_eq!(memory.events.oom_group_kill, Some(1), "{memory:?}");
    if let Some(peak) = memory.peak {
        assert!(peak <= 16 << 20, "{memory:?}");
    }
    remove(group);
}

#[test]
fn a_fork_beyond_the_limit_is_refused_and_counted() {
    require!(root, cgroup2("pids"));
    let group = group(&tasks(4));
    let script = "for i in 1 2 3 4 5 6; do sleep 1000 >&- & done; wait";
    let status = Held::in_group(&group, script).run().status;
    assert!(!status.success(), "the shell could fork: {status}");
    let pids = group.stats().expect("stats").pids.expect("enabled");
    assert!(pids.refused >= 1, "{pids:?}");
    assert!(pids.peak.is_none_or(|peak| peak == 4), "{pids:?}");
    assert!(
        group.cgroup().is_populated().expect("events"),
        "the sleepers live"
    );
    remove(group);
}

#[test]
fn cpu_time_beyond_the_quota_is_throttled() {
    require!(root, cgroup2("cpu"));
    let limits = Limits::new()
        .cpu_max("0.1".parse().expect("valid"))
        .cpu_weight(CpuWeight::new(10).expect("valid"));
    let group = group(&limits);
    let script = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done";
    let status = Held::in_group(&group, script).run().status;
    assert!(status.success(), "{status}");
    let cpu = group.stats().expect("stats").cpu.expect("there");
    assert!(cpu.throttled_periods > 0, "{cpu:?}");
    assert!(
        cpu.throttled > cpu.usage,
        "nine tenths of the time: {cpu:?}"
    );
    remove(group);
}

#[test]
fn a_cpu_set_binds_and_one_that_is_not_there_is_an_error() {
    require!(root, cgroup2("cpuset"));
    let group = group(&Limits::new().cpus("0".parse().expect("valid")));
    let output = Held::in_group(&group, "grep Cpus_allowed_list /proc/self/status").run();
    let cpus = String::from_utf8_lossy(&output.stdout);
    assert_eq!(cpus.split_whitespace().last(), Some("0"), "{cpus}");
    let parent = host().own().expect("own cgroup");
    let before = names(&parent);
    let absent = Limits::new().cpus("8000".parse().expect("valid"));
    let place = Place::find(&host(), &absent.controllers()).expect("a place");
    let error = Group::create(place, &absent).expect_err("no such CPU");
    assert!(
        matches!(error, Error::NotTaken { .. } | Error::Write { .. }),
        "{error}"
    );
    assert_eq!(names(&parent), before, "nothing is left of a failure");
    remove(group);
}

#[test]
fn block_io_is_limited_and_counted() {
    require!(root, cgroup2("io"), path("/dev/nullb0"));
    let limits = Limits::new().io_max("/dev/nullb0:wbps=1M".parse().expect("a device"));
    let group = group(&limits);
    let start = Instant::now();
    let script = "dd if=/dev/zero of=/dev/nullb0 bs=1M count=2 oflag=direct";
    let status = Held::in_group(&group, script).run().status;
    assert!(status.success(), "{status}");
    let took = start.elapsed();
    assert!(took >= Duration::from_secs(1), "{took:?}");
    let io = group.stats().expect("stats").io.expect("enabled");
    let written: u64 = io.values().map(|device| device.written_bytes).sum();
    assert!(written >= 2 << 20, "{io:?}");
    remove(group);
}

#[test]
fn a_frozen_program_stands_still_runs_on_and_can_be_killed() {
    require!(root, cgroup2("pids"));
    let mut group = group(&Limits::new());
    let mut held = Held::in_group(&group, "while read x; do echo $x; done");
    held.line();
    let mut output = held.output();
    let mut echo = |held: &mut Held| {
        held.line();
        let mut line = String::new();
        output.read_line(&mut line).expect("read");
        assert_eq!(line, "go\n");
    };
    echo(&mut held);
    group.cgroup().freeze(PATIENCE).expect("frozen");
    group.cgroup().thaw(PATIENCE).expect("thawed");
    echo(&mut held);
    group.cgroup().freeze(PATIENCE).expect("frozen");
    assert!(group.cgroup().is_populated().expect("events"));
    group.remove(PATIENCE).expect("killed while frozen");
    assert_eq!(held.0.wait().expect("reaped").signal(), Some(9));
}

#[test]
fn removal_takes_processes_in_cgroups_that_the_program_made() {
    require!(root, cgroup2("pids"));
    let group = group(&tasks(50));
    // The program's own cgroup has no processes once the shell has moved.
    let script = format!(
        "mkdir -p {0}/x/y && echo $$ > {0}/x/y/cgroup.procs && \
         for i in 1 2 3 4 5 6 7 8 9; do sleep 1000 & done; echo ready; wait",
        group.path().join("run").display()
    );
    let mut held = Held::in_group(&group, &script);
    held.line();
    let mut line = String::new();
    held.output().read_line(&mut line).expect("read");
    assert_eq!(line, "ready\n");
    remove(group);
    assert_eq!(held.0.wait().expect("reaped").signal(), Some(9));
}

#[test]
fn nobody_above_can_take_the_controllers_away() {
    require!(root, cgroup2("memory"));
    let limits = Limits::new().memory_max("64M".parse().expect("valid"));
    let group = group(&limits);
    let parent = group.path().parent().expect("a parent");
    let error = std::fs::write(parent.join("cgroup.subtree_control"), "-memory")
        .expect_err("the controller is in use");
    assert_eq!(error.raw_os_error(), Some(libc::EBUSY));
    limits.verify(group.cgroup()).expect("still limited");
    remove(group);
}

#[test]
fn many_groups_are_made_at_once_and_none_is_left() {
    require!(root, cgroup2("pids"));
    let parent = host().own().expect("own cgroup");
    let before = names(&parent);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..10).for_each(|_| remove(group(&tasks(5)))));
        }
    });
    assert_eq!(names(&parent), before);
}

#[test]
fn what_a_killed_maker_left_is_removed_by_the_next() {
    require!(root, cgroup2("pids"));
    let mut command = Command::new(HELPER);
    command.arg("hold");
    let mut maker = Held::spawn(command);
    let mut line = String::new();
    maker.output().read_line(&mut line).expect("read");
    let left = PathBuf::from(line.trim_end());

    let first = group(&Limits::new());
    assert!(left.is_dir(), "the maker of {} lives", left.display());
    maker.0.kill().expect("killed");
    maker.0.wait().expect("reaped");
    assert!(left.is_dir(), "nobody has looked yet");
    remove(group(&Limits::new()));
    assert!(!left.exists(), "{}", left.display());
    assert!(first.path().is_dir(), "a living one stays");
    remove(first);
}

#[test]
fn a_user_limits_below_a_delegated_cgroup() {
    require!(root, cgroup2("memory"), cgroup2("pids"));
    let top = host().own().expect("own cgroup");
    top.enable(&BTreeSet::from([Controller::Memory, Controller::Pids]))
        .expect("enabled");
    let delegated = top
        .create_child(OsStr::new("delegated-for-test"))
        .expect("created");
    for file in ["", "cgroup.procs", "cgroup.subtree_control"] {
        let path = delegated.path().join(file);
        chown(path, Some(NOBODY), Some(NOBODY)).expect("handed over");
    }
    let user = as_nobody("limit");
    delegated.admit(user.pid()).expect("admitted");
    let output = user.run();
    assert!(output.status.success(), "{output:?}");
    let made = Path::new(OsStr::from_bytes(output.stdout.trim_ascii_end()));
    assert_eq!(made.parent(), Some(delegated.path()), "{output:?}");
    std::fs::remove_dir(delegated.path().join("nucleus-self")).expect("left empty");
    std::fs::remove_dir(delegated.path()).expect("nothing else is left");
}

#[test]
fn a_user_without_delegation_is_told_what_to_do() {
    require!(root, cgroup2("memory"));
    let output = as_nobody("find").run();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("no write permission on it"), "{message}");
    assert!(message.contains("systemd-run --user --scope"), "{message}");
}

#[test]
fn a_controller_of_cgroup_version_1_is_refused_by_name() {
    let host = host();
    // A kernel without CONFIG_MEMCG_V1 cannot have memory there.
    let bound = Controller::ALL.into_iter().find(|&it| host.is_v1(it));
    let Some(controller) = bound else {
        let group = std::env::var("NUCLEUS_TEST_GROUP");
        assert_ne!(group.as_deref(), Ok("hybrid-cgroups"));
        nucleus_tests::require::say("no controller is bound to cgroup v1");
        return;
    };
    let message = Place::find(&host, &BTreeSet::from([controller]))
        .expect_err("bound to version 1")
        .to_string();
    let expected = format!("controller {controller} is bound to cgroup v1 on this host");
    assert!(message.starts_with(&expected), "{message}");
}

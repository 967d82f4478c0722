//! Limits for a user by a scope of the user's own systemd, in a machine that a
//! real one runs: what is asked of it, what it gives, and what is left.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what the helpers cannot do fails the test that asked for it"
)]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nucleus_cgroup::Host;
use nucleus_tests::nucleus::{self, Said as _};
use nucleus_tests::require;
use rustix::process::{Pid, Signal, kill_process};

/// Long enough for an emulated machine under load.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the manager of the user with id 1000 makes scopes.
const SLICE: &str = "/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/app.slice";

/// A shell in a login session of the user, with `$nucleus` to run.
fn session(script: &str) -> Command {
    let nucleus = nucleus::path().display();
    let mut command = Command::new("runuser");
    command.args(["-l", "user", "-c", &format!("nucleus={nucleus}\n{script}")]);
    command
}

fn said(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().expect("started")
}

/// Units of ours that the user's manager knows.
fn units() -> String {
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=1000", "--regid=1000", "--clear-groups"])
        .args(["systemctl", "--user", "list-units", "--all", "--plain"])
        .args(["--no-legend", "nucleus-*"])
        .env("XDG_RUNTIME_DIR", "/run/user/1000");
    said(&mut command).code(0).out().to_owned()
}

fn folders(parent: &Path, begins: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(parent).expect("a folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let ours = |path: &PathBuf| {
        let name = path.file_name().expect("a name");
        path.is_dir() && name.to_string_lossy().starts_with(begins)
    };
    paths.filter(ours).collect()
}

/// systemd learns from the kernel that a scope is empty, removes it, and
/// forgets it.
fn nothing_is_left() {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let folders = folders(Path::new(SLICE), "nucleus-");
        let units = units();
        if folders.is_empty() && units.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "{folders:?} {units}");
    }
}

/// A limited program that waits for the end of its standard input.
struct Run {
    session: Child,
    output: BufReader<ChildStdout>,
    nucleus: Pid,
}

impl Run {
    fn start() -> Self {
        let script = "echo $$; exec $nucleus run --memory 64M --pids 20 -- \
                      sh -c 'echo ready; read nothing; echo done'";
        let mut session = session(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("started");
        let mut output = BufReader::new(session.stdout.take().expect("piped"));
        let mut line = || {
            let mut line = String::new();
            output.read_line(&mut line).expect("read");
            line.trim_end().to_owned()
        };
        let nucleus = line().parse().ok().and_then(Pid::from_raw);
        assert_eq!(line(), "ready");
        Self {
            session,
            output,
            nucleus: nucleus.expect("a process id"),
        }
    }

    /// The cgroup with the limits.
    fn group() -> PathBuf {
        let [scope] = &folders(Path::new(SLICE), "nucleus-")[..] else {
            panic!("no scope, or several, in {SLICE}");
        };
        let [group] = &folders(scope, "nucleus-run-")[..] else {
            panic!("no group, or several, in {}", scope.display());
        };
        group.clone()
    }

    /// What it still says, to its end.
    fn rest(&mut self) -> String {
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).expect("read");
        rest
    }
}

#[test]
fn a_user_s_limits_are_the_kernel_s() {
    require!(machine("systemd"), root);
    let mut run = Run::start();
    let group = Run::group();
    let held = || {
        ["memory.max", "memory.swap.max", "pids.max"].map(|file| {
            let value = fs::read_to_string(group.join(file)).expect("a limit");
            value.trim_end().to_owned()
        })
    };
    assert_eq!(held(), ["67108864", "0", "21"]);
    let scope = group.parent().expect("a scope");
    let tasks = fs::read_to_string(scope.join("pids.max")).expect("a limit");
    assert_eq!(tasks, "max\n", "systemd adds no limit of its own");
    // A manager puts in force again what it knows of each cgroup.
    said(Command::new("systemctl").arg("daemon-reload")).code(0);
    said(&mut session("systemctl --user daemon-reload")).code(0);
    assert_eq!(held(), ["67108864", "0", "21"]);

    let cgroup = Host::detect().unwrap().open(&group).expect("a cgroup");
    cgroup.freeze(PATIENCE).expect("frozen");
    cgroup.thaw(PATIENCE).expect("thawed");
    let stats = cgroup.stats().expect("stats");
    let memory = stats.memory.expect("memory is counted");
    assert!((1..64 << 20).contains(&memory.current), "{memory:?}");
    let pids = stats.pids.expect("processes are counted");
    assert!(pids.current >= 2, "init and the program: {pids:?}");

    drop(run.session.stdin.take());
    assert_eq!(run.rest(), "done\n");
    assert!(run.session.wait().expect("waited for").success());
    nothing_is_left();
}

#[test]
fn who_meets_a_limit_is_told_in_a_line() {
    require!(machine("systemd"), root);
    let hog = "$nucleus run --memory 64M -- dd if=/dev/zero of=/dev/null bs=100M count=1";
    let output = said(&mut session(hog)).code(137);
    let line = "nucleus: out of memory: 1 of its processes killed at --memory 64M\n";
    assert_eq!(output.err(), line);

    let forks = "$nucleus run --pids 5 -- sh -c 'for i in 1 2 3 4 5 6; do sleep 1000 & done'";
    let output = said(&mut session(forks));
    assert!(!output.status.success(), "{output:?}");
    let ours: Vec<_> = output
        .err()
        .lines()
        .filter(|line| line.starts_with("nucleus:"))
        .collect();
    assert_eq!(ours, ["nucleus: forks refused at --pids 5: 1"]);
    nothing_is_left();
}

#[test]
fn a_killed_nucleus_leaves_no_scope() {
    require!(machine("systemd"), root);
    let mut run = Run::start();
    assert!(units().contains(".scope"), "while it runs");
    kill_process(run.nucleus, Signal::KILL).expect("killed");
    assert_eq!(run.rest(), "", "the program is killed, too");
    let ended = run.session.wait().expect("waited for");
    assert_eq!(ended.code(), Some(137), "{ended}");
    nothing_is_left();
}

#[test]
fn many_at_once_get_a_scope_each() {
    require!(machine("systemd"), root);
    let script = "
        for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
            $nucleus run --verbose --memory 64M -- true & all=\"$all $!\"
        done
        for run in $all; do wait $run || echo failed; done";
    let output = said(&mut session(script)).code(0);
    assert_eq!(output.out(), "", "{}", output.err());
    let given = "which systemd has made for this run";
    assert_eq!(output.err().matches(given).count(), 20, "{}", output.err());
    nothing_is_left();
}

#[test]
fn the_message_bus_will_do() {
    require!(machine("systemd"), root);
    // As in a sandbox that lets only the bus in.
    let script = "
        export XDG_RUNTIME_DIR=$(mktemp -d)
        ln -s /run/user/1000/bus $XDG_RUNTIME_DIR/bus
        $nucleus run --verbose --memory 64M -- true
        rm -r $XDG_RUNTIME_DIR";
    let output = said(&mut session(script)).code(0);
    assert!(
        output.err().contains("which systemd has made for this run"),
        "{}",
        output.err()
    );
    nothing_is_left();
}

#[test]
fn a_service_of_the_user_needs_no_scope() {
    require!(machine("systemd"), root);
    let script = "systemd-run --user --quiet --pipe --wait --collect \
                  $nucleus run --verbose --memory 64M -- true";
    let output = said(&mut session(script)).code(0);
    assert!(
        output.err().contains("limits are on cgroup"),
        "{}",
        output.err()
    );
    assert!(
        !output.err().contains("systemd has made"),
        "{}",
        output.err()
    );
    nothing_is_left();
}

#[test]
fn a_controller_that_the_user_s_manager_has_not_is_named_with_the_remedy() {
    require!(machine("systemd"), root);
    let output = said(&mut session("$nucleus run --cpuset 0 -- true")).code(125);
    for part in [
        "controllers not delegated to it: cpuset",
        "systemctl edit user@.service",
    ] {
        assert!(output.err().contains(part), "{}", output.err());
    }
    nothing_is_left();
}

#[test]
fn without_a_manager_the_error_says_how_to_get_one() {
    require!(machine("systemd"), root);
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    command
        .arg(nucleus::path())
        .args(["run", "--cpus", "0.5", "--", "true"]);
    let output = said(&mut command).code(125);
    for part in ["/run/user/65534/systemd/private", "loginctl enable-linger"] {
        assert!(output.err().contains(part), "{}", output.err());
    }
}

#[test]
fn root_limits_without_a_scope() {
    require!(machine("systemd"), root);
    let limited = ["run", "--verbose", "--memory", "64M", "--cpus", "0.5", "--"];
    let hog = ["dd", "if=/dev/zero", "of=/dev/null", "bs=100M", "count=1"];
    let check = |words: &[&str]| {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg(nucleus::path());
        let output = said(command.args(limited).args(hog));
        for part in [
            "limits are on cgroup",
            "1 of its processes killed at --memory 64M",
        ] {
            assert!(output.err().contains(part), "{}", output.err());
        }
        output.status.code()
    };
    assert_eq!(check(&["env"]), Some(137));
    // A service of which the kernel had to kill a process has failed, whatever
    // its main process says (systemd.service(5), `OOMPolicy=`).
    let service = ["systemd-run", "--quiet", "--pipe", "--wait", "--collect"];
    assert_ne!(check(&service), Some(0));
    let delegated = [&service[..], &["--property=Delegate=yes"]].concat();
    assert_eq!(check(&delegated), Some(137));
}

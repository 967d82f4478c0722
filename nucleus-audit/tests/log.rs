//! The sources that read the kernel's own records.
#![allow(
    unsafe_code,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the children make raw system calls"
)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

use nucleus_audit::{
    DenialLogger, Denials, Error, Event, LogKind, LogPurpose, LogSource, ProcFs, Scope, Selection,
    Source, Target, enter_session,
};
use nucleus_seccomp::{Action, Completeness, Insn, InstallFlags, Program, offset, op};
use support::*;

const CHILDREN: usize = 200;
const CALLS: usize = 10;

/// Denies `getuid` and logs that; kills for `getgid`.
fn denying() -> Program {
    let number = |number: libc::c_long| u32::try_from(number).unwrap();
    Program::new(vec![
        Insn::load(offset::NR),
        Insn::jump(op::JEQ_K, number(libc::SYS_getuid), 0, 1),
        Insn::ret(Action::Errno(1)),
        Insn::jump(op::JEQ_K, number(libc::SYS_getgid), 0, 1),
        Insn::ret(Action::KillProcess),
        Insn::ret(Action::Allow),
    ])
    .unwrap()
}

/// A child whose 200 grandchildren make 10 denied calls each: double-forked,
/// in sessions of their own, every tenth killed by the filter at its last.
fn burst() {
    // Grandchildren come back to this process, which waits for all.
    let own = rustix::process::Pid::from_raw(1);
    check(rustix::process::set_child_subreaper(own).is_ok(), 5);
    check(rustix::thread::set_no_new_privs(true).is_ok(), 1);
    check(denying().install(InstallFlags::LOG).is_ok(), 2);
    for index in 0..CHILDREN {
        let child = clone_with(libc::SIGCHLD, || {
            call0(libc::SYS_setsid);
            clone_with(libc::SIGCHLD, || {
                for _ in 1..CALLS {
                    check(call0(libc::SYS_getuid) == -1, 3);
                }
                let last = if index % 10 == 0 {
                    libc::SYS_getgid
                } else {
                    libc::SYS_getuid
                };
                call0(last);
            });
        });
        check(wait_for(child, 0) == 0, 4);
    }
    while call(libc::SYS_wait4, [usize::MAX, 0, 0, 0]) > 0 {}
}

/// Opens a source, or says why the test is skipped.
fn open(kind: LogKind, purpose: LogPurpose) -> Option<LogSource> {
    match LogSource::open(kind, purpose) {
        Ok(source) => Some(source),
        Err(error @ (Error::NoAuditRead | Error::OpenKmsg { .. })) => {
            skip(&error.to_string());
            None
        }
        // The rate limit may be used up by whatever else runs here.
        Err(error @ Error::SilentKmsg { .. }) => {
            say(&error.to_string());
            None
        }
        Err(error) => panic!("{error:?}"),
    }
}

/// Runs `child` in an audit session of its own while `source` listens.
fn listen(mut source: LogSource, child: impl FnOnce()) -> (Vec<Event>, u32, Completeness) {
    // The reader must not lag behind: it has a thread of its own.
    let stopper = source.stopper();
    let reader = std::thread::spawn(move || {
        let mut events = Vec::new();
        while let Some(event) = source.next().unwrap() {
            events.push(event);
        }
        (events, source.completeness())
    });
    let session = enter_session().unwrap();
    assert!(run(child).success());
    stopper.stop().unwrap();
    let (events, verdict) = reader.join().unwrap();
    (events, session, verdict)
}

#[test]
fn audit_netlink_gets_every_denial_of_a_burst_with_its_process() {
    let Some(source) = open(LogKind::Audit, LogPurpose::Denials) else {
        return;
    };
    // At the same time as many denials of somebody else.
    let other = std::thread::spawn(|| run(burst));
    let (events, session, verdict) = listen(source, burst);
    assert!(other.join().unwrap().success());
    assert_eq!(verdict, Completeness::Complete);

    let mut calls = BTreeMap::<u32, Vec<Event>>::new();
    for event in events {
        if event.session == Some(session) {
            calls.entry(event.pid).or_default().push(event);
        }
    }
    assert_eq!(calls.len(), CHILDREN);
    let killed = |events: &&Vec<Event>| events.last().unwrap().action == Action::KillProcess;
    assert_eq!(calls.values().filter(killed).count(), CHILDREN / 10);
    for events in calls.values() {
        assert_eq!(events.len(), CALLS);
        assert_eq!(events[0].exe, Some(std::env::current_exe().unwrap()));
    }
}

/// The same for a process that somebody else has started: its descendants are
/// known, orphans too, and what cannot be decided is said to be undecided.
#[test]
fn a_target_is_told_from_others_by_its_processes() {
    let Some(source) = open(LogKind::Audit, LogPurpose::Denials) else {
        return;
    };
    if !source.numbers_as_here() {
        return skip("this is a PID namespace of its own");
    }
    let processes = ProcFs::default();
    if !processes.is_told_births() {
        return skip("the kernel does not tell of new processes here");
    }
    let (pid, mut go) = fork_waiting(burst);
    let selection = Selection {
        pid: Some(pid),
        ..Selection::default()
    };
    let target = Target::new(selection, Box::new(processes)).unwrap();
    let logger =
        DenialLogger::start(source, Denials::new(Scope::Target(target)), |_, _| {}).unwrap();
    let other = std::thread::spawn(|| run(burst));
    go.write_all(b"!").unwrap();
    let mut status = 0;
    // SAFETY: `status` is valid for writing.
    unsafe { libc::waitpid(pid.cast_signed(), &raw mut status, 0) };
    assert_eq!(status, 0);
    assert!(other.join().unwrap().success());
    let report = logger.finish().unwrap();
    assert_eq!(report.completeness, Completeness::Complete);
    let counts = report.denials.iter().map(|denial| denial.count);
    let (ours, all) = (counts.sum::<u64>(), (CHILDREN * CALLS) as u64);
    // All of ours, though none was there any more when its record was read, and
    // none of the others'. What those are cannot always be known.
    assert_eq!(ours, all, "{report:?}");
}

#[test]
fn kmsg_counts_what_it_lost_of_a_burst() {
    let Some(source) = open(LogKind::Kmsg, LogPurpose::Denials) else {
        return;
    };
    let (events, session, verdict) = listen(source, burst);
    let ours = events
        .iter()
        .filter(|event| event.session == Some(session))
        .count();
    match verdict {
        Completeness::Complete => assert_eq!(ours, CHILDREN * CALLS),
        Completeness::Incomplete { why, .. } => {
            assert!(ours < CHILDREN * CALLS, "{why:?}");
        }
    }
}

#[test]
fn a_reader_at_rest_sleeps_and_stops_at_once() {
    let Some(mut source) = open(LogKind::Audit, LogPurpose::Denials) else {
        return;
    };
    let stopper = source.stopper();
    let (ready, started) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let tid = rustix::thread::gettid().as_raw_nonzero().get();
        ready.send(tid).unwrap();
        while source.next().unwrap().is_some() {}
        (Instant::now(), source.completeness())
    });
    let tid = started.recv().unwrap();
    let switches = || {
        let status = std::fs::read_to_string(format!("/proc/self/task/{tid}/status")).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("voluntary_ctxt_switches"))
            .unwrap();
        let count = line.split_ascii_whitespace().nth(1).unwrap();
        count.parse::<u64>().unwrap()
    };
    // Records of whatever else runs here wake it too: wait for a quiet time.
    let quiet = (0..2000).any(|_| {
        let before = switches();
        std::thread::sleep(Duration::from_millis(20));
        switches() == before
    });
    assert!(quiet, "the reader never slept through 20 ms");
    let asked = Instant::now();
    stopper.stop().unwrap();
    let (ended, verdict) = reader.join().unwrap();
    assert_eq!(verdict, Completeness::Complete);
    let took = ended.duration_since(asked);
    // Some 2 ms on a machine with nothing else to do.
    assert!(took < Duration::from_secs(20), "{took:?}");
}

#[test]
fn without_the_privilege_the_error_names_the_capability() {
    if !rustix::process::geteuid().is_root() {
        let error = LogSource::open(LogKind::Audit, LogPurpose::Denials).unwrap_err();
        assert!(error.to_string().contains("CAP_AUDIT_READ"), "{error}");
        return;
    }
    let status = run(|| {
        let nobody = rustix::process::Uid::from_raw(65534);
        check(rustix::thread::set_thread_uid(nobody).is_ok(), 1);
        let error = LogSource::open(LogKind::Audit, LogPurpose::Denials).map(drop);
        check(matches!(error, Err(Error::NoAuditRead)), 2);
    });
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_network_namespace_of_its_own_is_found_out() {
    let status = run(|| {
        let flags = rustix::thread::UnshareFlags::NEWNET;
        // SAFETY: the child has one thread and shares nothing afterwards.
        if unsafe { rustix::thread::unshare_unsafe(flags) }.is_err() {
            quit(77);
        }
        match LogSource::open(LogKind::Audit, LogPurpose::Denials) {
            Err(Error::SilentAudit { .. }) => {}
            Err(Error::NoAuditRead) => quit(77),
            _ => quit(1),
        }
    });
    if status.code() == Some(77) {
        return skip("may not make a network namespace or read audit records");
    }
    assert_eq!(status.code(), Some(0), "{status:?}");
}

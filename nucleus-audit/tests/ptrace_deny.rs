//! In deny mode the tracer answers as the profile says, and tells it.
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

use std::os::unix::process::ExitStatusExt;

use nucleus_audit::{Error, PtraceMode, PtraceRefusal, PtraceSource};
use nucleus_seccomp::{Action, Completeness, Insn, InstallFlags, Program, offset, op};
use support::*;

/// Answers each of these numbers with its action, and allows the rest.
fn filter(rules: &[(libc::c_long, Action)]) -> Program {
    let mut insns = vec![Insn::load(offset::NR)];
    for &(number, action) in rules {
        let number = u32::try_from(number).unwrap();
        insns.push(Insn::jump(op::JEQ_K, number, 0, 1));
        insns.push(Insn::ret(action));
    }
    insns.push(Insn::ret(Action::Allow));
    Program::new(insns).unwrap()
}

fn deny(rules: &[(libc::c_long, Action)], child: impl FnOnce()) -> Outcome {
    trace(PtraceMode::Deny, &filter(rules), child)
}

fn seen(outcome: &Outcome) -> Vec<(String, Action)> {
    let events = outcome.events.iter();
    events
        .map(|event| (name_of(&event.call), event.action))
        .collect()
}

#[test]
fn a_denied_call_is_not_made_and_returns_the_profiles_errno() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("made");
    let name = std::ffi::CString::new(path.clone().into_os_string().into_encoded_bytes()).unwrap();
    let rules = [
        (libc::SYS_mkdirat, Action::Trace(1)),
        (libc::SYS_getuid, Action::Trace(38)),
        (libc::SYS_getppid, Action::Trace(0)),
        (libc::SYS_getpgid, Action::Trace(4095)),
    ];
    let outcome = deny(&rules, || {
        let at = libc::AT_FDCWD as usize;
        let made = call(libc::SYS_mkdirat, [at, name.as_ptr() as usize, 0o700]);
        check(made == -1, 1);
        check(call0(libc::SYS_getuid) == -38, 2);
        check(call0(libc::SYS_getppid) == 0, 3);
        check(call0(libc::SYS_getpid) > 0, 4);
        // The C library takes up to 4095 for an errno.
        check(call0(libc::SYS_getpgid) == -4095, 5);
    });
    outcome.assert_well();
    assert!(!path.exists());
    let expected = [
        ("mkdirat".to_owned(), Action::Errno(1)),
        ("getuid".to_owned(), Action::Errno(38)),
        ("getppid".to_owned(), Action::Errno(0)),
        ("getpgid".to_owned(), Action::Errno(4095)),
    ];
    assert_eq!(seen(&outcome), expected);

    let event = &outcome.events[0];
    assert_eq!(event.call.args.unwrap()[2], 0o700);
    assert_eq!(event.exe, Some(std::env::current_exe().unwrap()));
    assert!(event.comm.is_some() && event.time.is_some());
}

#[test]
fn a_rehearsal_names_what_is_denied_and_goes_on() {
    let rules = [
        (libc::SYS_getppid, Action::Trace(1)),
        (libc::SYS_getuid, Action::Trace(38)),
    ];
    let outcome = trace(PtraceMode::Rehearse, &filter(&rules), || {
        check(call0(libc::SYS_getppid) > 0, 1);
        check(call0(libc::SYS_getuid) == -38, 2);
        let child = clone_with(libc::SIGCHLD, || {
            check(call0(libc::SYS_getppid) > 0, 3);
        });
        check(wait_for(child, 0) == 0, 4);
    });
    outcome.assert_well();
    let getppid = ("getppid".to_owned(), Action::Errno(1));
    let getuid = ("getuid".to_owned(), Action::Errno(38));
    assert_eq!(seen(&outcome), [getppid.clone(), getuid, getppid]);
}

#[test]
fn children_and_programs_are_denied_and_named_alike() {
    let outcome = deny(&[(libc::SYS_uname, Action::Trace(1))], || {
        for _ in 0..50 {
            let child = clone_with(libc::SIGCHLD, || {
                call0(libc::SYS_setsid);
                clone_with(libc::SIGCHLD, || {
                    check(call0(libc::SYS_uname) == -1, 1);
                });
            });
            wait_for(child, 0);
        }
        exec(c"/bin/uname", &[c"uname"]);
    });
    assert_eq!(outcome.completeness, Completeness::Complete);
    assert_eq!(outcome.count("uname"), 51);
    // The grandchildren may outlive the one that becomes uname.
    let named = |event: &&nucleus_audit::Event| event.comm.as_deref() == Some("uname".as_ref());
    assert_eq!(outcome.events.iter().filter(named).count(), 1);
    let pids: std::collections::BTreeSet<u32> =
        outcome.events.iter().map(|event| event.pid).collect();
    assert_eq!(pids.len(), 51);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn callers_of_other_architectures_get_the_errno_too() {
    use nucleus_seccomp::Arch;
    let rules = [
        (24, Action::Trace(5)),
        (0x4000_0000 | libc::SYS_getppid, Action::Trace(6)),
    ];
    let outcome = deny(&rules, || {
        let result: i32;
        // SAFETY: the call takes no argument; int 0x80 clobbers r8 to r11.
        unsafe {
            std::arch::asm!("int 0x80", inlateout("eax") 24 => result, out("r8") _, out("r9") _,
                out("r10") _, out("r11") _);
        }
        check(result == -5, 1);
        check(call0(0x4000_0000 | libc::SYS_getppid) == -6, 2);
    });
    outcome.assert_well();
    assert_eq!(outcome.count_in(Arch::I386, "getuid"), 1);
    assert_eq!(outcome.count_in(Arch::X32, "getppid"), 1);
}

#[test]
fn a_kill_by_the_filter_is_told_with_its_call() {
    for action in [Action::KillProcess, Action::KillThread] {
        let outcome = deny(&[(libc::SYS_getuid, action)], || {
            call0(libc::SYS_getuid);
        });
        assert_eq!(outcome.status.signal(), Some(libc::SIGSYS), "{action}");
        // Killing the last thread and killing the process look the same.
        assert_eq!(seen(&outcome), [("getuid".to_owned(), Action::KillProcess)]);
        assert_eq!(outcome.completeness, Completeness::Complete);
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn of_several_threads_the_killed_one_is_told() {
    extern "C" fn fatal(_: *mut libc::c_void) -> *mut libc::c_void {
        call0(libc::SYS_getuid);
        quit(9);
    }
    extern "C" fn blocked(_: *mut libc::c_void) -> *mut libc::c_void {
        forever();
        quit(9);
    }
    for _ in 0..10 {
        let outcome = deny(&[(libc::SYS_getuid, Action::KillProcess)], || {
            for _ in 0..4 {
                start_thread(blocked);
            }
            start_thread(fatal);
            forever();
        });
        assert_eq!(outcome.status.signal(), Some(libc::SIGSYS));
        assert_eq!(seen(&outcome), [("getuid".to_owned(), Action::KillProcess)]);
        let event = &outcome.events[0];
        assert_ne!(event.tid, Some(event.pid));
    }
    // One thread alone: the process lives on.
    let outcome = deny(&[(libc::SYS_getuid, Action::KillThread)], || {
        join(start_thread(fatal));
    });
    outcome.assert_well();
    assert_eq!(seen(&outcome), [("getuid".to_owned(), Action::KillThread)]);
}

#[test]
fn a_trap_is_told_once_whether_handled_or_not() {
    extern "C" fn handle(_: i32) {}
    let rules = [(libc::SYS_getuid, Action::Trap(77))];
    let outcome = deny(&rules, || {
        // SAFETY: the handler does nothing.
        unsafe { libc::signal(libc::SIGSYS, handle as *const () as usize) };
        for _ in 0..3 {
            call0(libc::SYS_getuid);
        }
    });
    outcome.assert_well();
    let trap = ("getuid".to_owned(), Action::Trap(77));
    assert_eq!(seen(&outcome), vec![trap.clone(); 3]);

    let outcome = deny(&rules, || {
        call0(libc::SYS_getuid);
    });
    assert_eq!(outcome.status.signal(), Some(libc::SIGSYS));
    assert_eq!(seen(&outcome), [trap]);
}

#[test]
fn a_sigsys_that_somebody_sent_is_no_denial() {
    let outcome = deny(&[], || {
        let own = std::process::id() as isize;
        kill(own, libc::SIGSYS);
    });
    assert_eq!(outcome.status.signal(), Some(libc::SIGSYS));
    assert_eq!(outcome.events, []);
    // One that is ignored does not hide the kill that follows.
    let outcome = deny(&[(libc::SYS_getuid, Action::KillProcess)], || {
        // SAFETY: ignoring a signal installs no code.
        unsafe { libc::signal(libc::SIGSYS, libc::SIG_IGN) };
        kill(std::process::id() as isize, libc::SIGSYS);
        call0(libc::SYS_getuid);
    });
    assert_eq!(seen(&outcome), [("getuid".to_owned(), Action::KillProcess)]);
}

/// Tries to attach to `pid` and returns the reason of the refusal.
fn refusal(pid: u32) -> PtraceRefusal {
    match PtraceSource::seize(pid, PtraceMode::Record) {
        Err(Error::Trace(nucleus_tracer::Error::Seize { source, .. })) => source,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_refusal_tells_that_there_is_a_tracer() {
    let (pid, attached) = fork_waiting(|| {});
    let source = PtraceSource::seize(pid, PtraceMode::Record).unwrap();
    let second = std::thread::spawn(move || refusal(pid)).join().unwrap();
    let tracer = rustix::thread::gettid()
        .as_raw_nonzero()
        .get()
        .cast_unsigned();
    assert!(
        matches!(second, PtraceRefusal::Traced { tracer: seen } if seen == tracer),
        "{second:?}"
    );
    drop(attached);
    drop(source);
}

#[test]
fn a_refusal_tells_that_the_process_is_gone() {
    let mut child = std::process::Command::new("/bin/true").spawn().unwrap();
    let pid = child.id();
    child.wait().unwrap();
    assert!(matches!(refusal(pid), PtraceRefusal::Gone));
}

#[test]
fn a_refusal_tells_of_a_filter_on_ourselves() {
    let status = run(|| {
        let own = std::process::id();
        let blocked = filter(&[(libc::SYS_ptrace, Action::Errno(1))]);
        check(rustix::thread::set_no_new_privs(true).is_ok(), 1);
        check(blocked.install(InstallFlags::empty()).is_ok(), 2);
        check(matches!(refusal(own), PtraceRefusal::Filtered), 3);
    });
    assert_eq!(status.code(), Some(0), "{status:?}");
}

#[test]
fn a_refusal_tells_of_missing_permission() {
    if rustix::process::geteuid().is_root() {
        let status = run(|| {
            let nobody = rustix::process::Gid::from_raw(65534);
            check(rustix::thread::set_thread_gid(nobody).is_ok(), 1);
            let nobody = rustix::process::Uid::from_raw(65534);
            check(rustix::thread::set_thread_uid(nobody).is_ok(), 2);
            let expected = PtraceRefusal::NotPermitted {
                target_uid: 0,
                own_uid: 65534,
            };
            check(refusal(1).to_string() == expected.to_string(), 3);
        });
        assert_eq!(status.code(), Some(0), "{status:?}");
    } else {
        assert!(matches!(refusal(1), PtraceRefusal::NotPermitted { .. }));
    }
}

#[test]
fn a_child_without_a_tracer_is_refused_and_told_of() {
    let asked = Action::Trace(nucleus_tracer::ASK);
    let outcome = deny(&[(libc::SYS_clone, asked)], || {
        let flags = libc::CLONE_UNTRACED as usize | libc::SIGCHLD as usize;
        check(call(libc::SYS_clone, [flags, 0, 0]) == -1, 1);
    });
    outcome.assert_well();
    assert_eq!(outcome.events, []);
    let [note] = outcome.notes.as_slice() else {
        panic!("{:?}", outcome.notes);
    };
    assert!(note.contains("CLONE_UNTRACED"), "{note}");
}

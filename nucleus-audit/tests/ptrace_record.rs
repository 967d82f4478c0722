//! The ptrace source records every call, exactly, and disturbs nothing.
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

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::process::Command;

use nucleus_audit::{PtraceMode, PtraceSource};
use nucleus_seccomp::{Action, Completeness, Insn, InstallFlags, Program, offset, op};
use support::*;

/// A filter that answers `getuid` of the native table with `action`.
fn getuid_filter(action: Action) -> Program {
    let getuid = u32::try_from(libc::SYS_getuid).unwrap();
    Program::new(vec![
        Insn::load(offset::NR),
        Insn::jump(op::JEQ_K, getuid, 0, 1),
        Insn::ret(action),
        Insn::ret(Action::Allow),
    ])
    .unwrap()
}

#[test]
fn counts_and_arguments_are_exact() {
    let outcome = record(|| {
        for _ in 0..1000 {
            call0(libc::SYS_getppid);
        }
        call(libc::SYS_close, [usize::MAX, 2, 3, 4, 5, 6]);
    });
    outcome.assert_well();
    let expected = BTreeMap::from([
        ("close".to_owned(), 1),
        ("exit_group".to_owned(), 1),
        ("getppid".to_owned(), 1000),
    ]);
    assert_eq!(outcome.counts(), expected);
    let close = &outcome.events[1000];
    assert_eq!(close.call.args, Some([u64::MAX, 2, 3, 4, 5, 6]));
    assert_eq!(close.tid, Some(close.pid));
    assert_eq!(close.action, Action::Trace(0));
}

#[test]
fn daemons_are_followed_to_their_end() {
    let outcome = record(|| {
        for _ in 0..20 {
            let child = clone_with(libc::SIGCHLD, || {
                call0(libc::SYS_setsid);
                clone_with(libc::SIGCHLD, || {
                    for _ in 0..10 {
                        call0(libc::SYS_getuid);
                    }
                });
            });
            wait_for(child, 0);
        }
    });
    outcome.assert_well();
    assert_eq!(outcome.count("getuid"), 200);
    assert_eq!(outcome.count("setsid"), 20);
    assert_eq!(outcome.count("exit_group"), 41);
    let pids: BTreeSet<u32> = outcome.events.iter().map(|event| event.pid).collect();
    assert_eq!(pids.len(), 41);
}

extern "C" fn ten_calls(_: *mut libc::c_void) -> *mut libc::c_void {
    for _ in 0..10 {
        call0(libc::SYS_getuid);
    }
    std::ptr::null_mut()
}

#[test]
fn threads_carry_the_id_of_their_process() {
    let outcome = record(|| {
        let threads = [0; 8].map(|_| start_thread(ten_calls));
        threads.into_iter().for_each(join);
    });
    outcome.assert_well();
    assert_eq!(outcome.count("getuid"), 80);
    let pids: BTreeSet<u32> = outcome.events.iter().map(|event| event.pid).collect();
    let tids: BTreeSet<_> = outcome.events.iter().map(|event| event.tid).collect();
    assert_eq!((pids.len(), tids.len()), (1, 9));
}

#[test]
fn exec_by_a_thread_replaces_the_process() {
    extern "C" fn execute(_: *mut libc::c_void) -> *mut libc::c_void {
        exec(c"/bin/sh", &[c"sh", c"-c", c"exit 7"]);
        std::ptr::null_mut()
    }
    extern "C" fn spin(_: *mut libc::c_void) -> *mut libc::c_void {
        loop {
            call0(libc::SYS_sched_yield);
        }
    }
    for _ in 0..10 {
        let outcome = record(|| {
            for _ in 0..3 {
                start_thread(spin);
            }
            join(start_thread(execute));
        });
        assert_eq!(outcome.status.code(), Some(7));
        assert_eq!(outcome.completeness, Completeness::Complete);
        let last = outcome.events.last().unwrap();
        assert_eq!(name_of(&last.call), "exit_group");
        assert_eq!(last.tid, Some(last.pid));
    }
}

#[test]
fn vfork_and_posix_spawn_work() {
    let outcome = record(|| {
        for _ in 0..5 {
            let mut pid = 0;
            let argv = [c"true".as_ptr().cast_mut(), std::ptr::null_mut()];
            // SAFETY: path and arguments are terminated; there are no actions.
            let result = unsafe {
                libc::posix_spawn(
                    &raw mut pid,
                    c"/bin/true".as_ptr(),
                    std::ptr::null(),
                    std::ptr::null(),
                    argv.as_ptr(),
                    std::ptr::null(),
                )
            };
            check(result == 0, 112);
            check(wait_for(pid as isize, 0) == 0, 113);
        }
    });
    outcome.assert_well();
    assert_eq!(outcome.count("execve"), 5);
}

#[test]
fn clone_untraced_does_not_escape() {
    let outcome = record(|| {
        let child = clone_with(libc::SIGCHLD | libc::CLONE_UNTRACED, || {
            // Without a tracer this would be ENOSYS.
            check(call0(libc::SYS_getuid) >= 0, 114);
        });
        check(wait_for(child, 0) == 0, 115);

        let mut args = [0_u64; 8];
        args[0] = libc::CLONE_UNTRACED as u64;
        args[4] = libc::SIGCHLD as u64;
        let address = (&raw const args) as usize;
        let child = call(libc::SYS_clone3, [address, size_of_val(&args)]);
        if child == 0 {
            check(call0(libc::SYS_getuid) >= 0, 116);
            quit(0);
        }
        check(wait_for(child, 0) == 0, 117);
        // The flags in memory are the program's again.
        check(args[0] == libc::CLONE_UNTRACED as u64, 118);
    });
    outcome.assert_well();
    assert_eq!(outcome.count("getuid"), 2);
    assert_eq!(outcome.count("wait4"), 2);
}

/// Whether there is something to read within so many milliseconds.
fn readable(fd: usize, milliseconds: i64) -> bool {
    let poll = libc::pollfd {
        fd: fd as i32,
        events: libc::POLLIN,
        revents: 0,
    };
    let time = [milliseconds / 1000, milliseconds % 1000 * 1_000_000];
    let address = (&raw const poll) as usize;
    call(libc::SYS_ppoll, [address, 1, (&raw const time) as usize]) == 1
}

#[test]
fn job_control_works_as_without_a_tracer() {
    let outcome = record(|| {
        for stop in [libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN] {
            let mut ends = [0_i32; 2];
            let address = (&raw mut ends) as usize;
            check(call(libc::SYS_pipe2, [address, 0]) == 0, 120);
            let [reader, writer] = ends.map(|end| end as usize);
            let child = clone_with(libc::SIGCHLD, || {
                // A check that fails must not leave it behind.
                let kill_me = libc::SIGKILL as usize;
                call(libc::SYS_prctl, [libc::PR_SET_PDEATHSIG as usize, kill_me]);
                // An orphaned process group would ignore SIGTSTP.
                let own = call0(libc::SYS_getpid);
                kill(own, stop);
                let byte = c"x".as_ptr() as usize;
                check(call(libc::SYS_write, [writer, byte, 1]) == 1, 121);
                forever();
            });
            let status = wait_for(child, libc::WUNTRACED);
            let stopped = libc::WIFSTOPPED(status) && libc::WSTOPSIG(status) == stop;
            check(stopped, 122);
            // It stays stopped: nothing comes within 30 ms.
            check(!readable(reader, 30), 123);
            kill(child, libc::SIGCONT);
            check(libc::WIFCONTINUED(wait_for(child, libc::WCONTINUED)), 124);
            check(readable(reader, 30_000), 125);
            kill(child, libc::SIGTERM);
            check(libc::WTERMSIG(wait_for(child, 0)) == libc::SIGTERM, 126);
        }
    });
    outcome.assert_well();
}

#[test]
fn signals_arrive_once_with_their_sender() {
    use std::sync::atomic::{AtomicU32, Ordering};
    static SEEN: AtomicU32 = AtomicU32::new(0);
    extern "C" fn handle(_: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
        // SAFETY: the kernel passes a valid siginfo to an SA_SIGINFO handler.
        let info = unsafe { &*info };
        // SAFETY: a signal by kill(2) has a sender.
        let sender = unsafe { info.si_pid() };
        if sender == std::process::id().cast_signed() {
            SEEN.fetch_add(1, Ordering::Relaxed);
        }
    }
    let outcome = record(|| {
        // SAFETY: zero is a valid sigaction.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = handle as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        for signal in [libc::SIGUSR1, libc::SIGTRAP, libc::SIGSYS, libc::SIGCHLD] {
            // SAFETY: the handler touches an atomic only.
            check(
                unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) } == 0,
                126,
            );
            let own = std::process::id() as isize;
            for _ in 0..10 {
                kill(own, signal);
            }
        }
        check(SEEN.load(Ordering::Relaxed) == 40, 128);
        // Default actions too: this one ends it.
        let own = std::process::id() as isize;
        kill(own, libc::SIGTERM);
    });
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(
        outcome.status.signal(),
        Some(libc::SIGTERM),
        "{:?}",
        outcome.status
    );
    assert_eq!(outcome.completeness, Completeness::Complete);
    assert_eq!(outcome.count("rt_sigreturn"), 40);
}

#[test]
fn sigkill_at_any_point_is_no_error() {
    let outcome = record(|| {
        for round in 0..150_u32 {
            let child = clone_with(libc::SIGCHLD, || {
                loop {
                    let grandchild = clone_with(libc::SIGCHLD, || {});
                    wait_for(grandchild, 0);
                }
            });
            for _ in 0..round * 20 {
                std::hint::spin_loop();
            }
            for _ in 0..round % 7 {
                call0(libc::SYS_getuid);
            }
            kill(child, libc::SIGKILL);
            check(libc::WTERMSIG(wait_for(child, 0)) == libc::SIGKILL, 130);
        }
    });
    outcome.assert_well();
    assert_eq!(
        outcome.count("getuid"),
        (0..150).map(|round| round % 7).sum::<usize>()
    );
}

#[test]
fn calls_that_the_programs_own_filter_answers_are_recorded() {
    for action in [Action::Errno(5), Action::Log, Action::Allow] {
        let outcome = record(|| {
            check(call0(libc::SYS_getuid) >= 0, 131);
            install(&getuid_filter(action));
            let expected = if action == Action::Errno(5) { -5 } else { 0 };
            for _ in 0..10 {
                let result = call0(libc::SYS_getuid);
                check(result.min(0) == expected, 132);
            }
            let child = clone_with(libc::SIGCHLD, || {
                check(call0(libc::SYS_getuid).min(0) == expected, 133);
            });
            check(wait_for(child, 0) == 0, 134);
        });
        outcome.assert_well();
        assert_eq!(outcome.count("getuid"), 12, "{action}");
        assert_eq!(outcome.count("clone"), 1);
        assert_eq!(outcome.count("exit_group"), 2);
    }
}

#[test]
fn a_filter_for_every_thread_hides_nothing() {
    use std::sync::atomic::{AtomicBool, Ordering};
    static INSTALLED: AtomicBool = AtomicBool::new(false);
    extern "C" fn wait_then_call(_: *mut libc::c_void) -> *mut libc::c_void {
        while !INSTALLED.load(Ordering::Acquire) {
            std::hint::spin_loop();
        }
        for _ in 0..10 {
            check(call0(libc::SYS_getuid) == -5, 135);
        }
        std::ptr::null_mut()
    }
    let outcome = record(|| {
        let thread = start_thread(wait_then_call);
        let filter = getuid_filter(Action::Errno(5));
        check(filter.install(InstallFlags::TSYNC).is_ok(), 136);
        INSTALLED.store(true, Ordering::Release);
        join(thread);
    });
    outcome.assert_well();
    assert_eq!(outcome.count("getuid"), 10);
}

#[test]
fn a_program_that_traces_is_refused_and_it_is_said() {
    let outcome = record(|| {
        let traceme = call(libc::SYS_ptrace, [libc::PTRACE_TRACEME as usize]);
        check(traceme == -(libc::EPERM as isize), 137);
    });
    outcome.assert_well();
    assert_eq!(outcome.count("ptrace"), 1);
    assert_eq!(outcome.notes.len(), 1);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn calls_of_other_architectures_are_told_apart() {
    use nucleus_seccomp::Arch;
    let outcome = record(|| {
        // 32-bit getuid16 (24) out of a 64-bit program.
        // SAFETY: the call takes no argument; int 0x80 clobbers r8 to r11.
        unsafe {
            std::arch::asm!("int 0x80", inlateout("eax") 24 => _, out("r8") _, out("r9") _,
                out("r10") _, out("r11") _);
        }
        call0(0x4000_0000 | libc::SYS_getppid);
    });
    outcome.assert_well();
    assert_eq!(outcome.count_in(Arch::I386, "getuid"), 1);
    assert_eq!(outcome.count_in(Arch::X32, "getppid"), 1);
    assert_eq!(outcome.count_in(Arch::X86_64, "exit_group"), 1);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_static_32_bit_program_is_recorded() {
    use nucleus_seccomp::Arch;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("static32");
    // getpid(); exit(0);
    let code = [
        0xb8, 20, 0, 0, 0, 0xcd, 0x80, 0xb8, 1, 0, 0, 0, 0x31, 0xdb, 0xcd, 0x80,
    ];
    std::fs::write(&path, elf32(&code)).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&path, mode).unwrap();
    let path = std::ffi::CString::new(path.into_os_string().into_encoded_bytes()).unwrap();

    let outcome = record(|| exec(&path, &[c"static32"]));
    if outcome.status.code() == Some(127) {
        return skip("this kernel runs no 32-bit programs");
    }
    outcome.assert_well();
    assert_eq!(outcome.count_in(Arch::X86_64, "execve"), 1);
    assert_eq!(outcome.count_in(Arch::I386, "getpid"), 1);
    assert_eq!(outcome.count_in(Arch::I386, "exit"), 1);
    assert_eq!(outcome.events.len(), 3);
}

/// The smallest i386 program: one segment, the code behind the headers.
#[cfg(target_arch = "x86_64")]
fn elf32(code: &[u8]) -> Vec<u8> {
    const BASE: u32 = 0x0804_8000;
    const HEADERS: u32 = 52 + 32;
    let size = HEADERS + u32::try_from(code.len()).unwrap();
    let mut elf = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let half = |elf: &mut Vec<u8>, value: u16| elf.extend(value.to_le_bytes());
    let word = |elf: &mut Vec<u8>, value: u32| elf.extend(value.to_le_bytes());
    half(&mut elf, 2); // ET_EXEC
    half(&mut elf, 3); // EM_386
    for value in [1, BASE + HEADERS, 52, 0, 0] {
        word(&mut elf, value);
    }
    for value in [52, 32, 1, 0, 0, 0] {
        half(&mut elf, value);
    }
    for value in [1, 0, BASE, BASE, size, size, 5, 0x1000] {
        word(&mut elf, value);
    }
    elf.extend(code);
    elf
}

#[test]
fn other_children_of_the_thread_are_left_alone() {
    let mut other = Command::new("/bin/sh")
        .args(["-c", "exit 3"])
        .spawn()
        .unwrap();
    let outcome = record(|| {
        for _ in 0..100 {
            call0(libc::SYS_getppid);
        }
    });
    outcome.assert_well();
    assert_eq!(other.wait().unwrap().code(), Some(3));
}

#[test]
fn attaching_after_the_filter_is_incomplete() {
    let (mut ready, mut tell) = std::io::pipe().unwrap();
    let (mut go, mut attached) = std::io::pipe().unwrap();
    let (pid, mut start) = fork_waiting(|| {
        install(&allow_io_filter());
        check(tell.write_all(b"r").is_ok(), 140);
        check(go.read_exact(&mut [0]).is_ok(), 141);
    });
    start.write_all(b"!").unwrap();
    ready.read_exact(&mut [0]).unwrap();
    let mut source = PtraceSource::seize(pid, PtraceMode::Record).unwrap();
    attached.write_all(b"!").unwrap();
    let outcome = drain(&mut source);
    assert_eq!(outcome.status.code(), Some(0));
    assert!(!outcome.completeness.is_complete());
}

/// Like the recording filter, but read and write need no tracer.
fn allow_io_filter() -> Program {
    Program::new(vec![
        Insn::load(offset::NR),
        Insn::jump(op::JEQ_K, u32::try_from(libc::SYS_read).unwrap(), 1, 0),
        Insn::jump(op::JEQ_K, u32::try_from(libc::SYS_write).unwrap(), 0, 1),
        Insn::ret(Action::Allow),
        Insn::ret(Action::Trace(0)),
    ])
    .unwrap()
}

#[test]
fn a_program_without_the_filter_is_incomplete() {
    let (pid, mut attached) = fork_waiting(|| exec(c"/bin/true", &[c"true"]));
    let mut source = PtraceSource::seize(pid, PtraceMode::Record).unwrap();
    attached.write_all(b"!").unwrap();
    let outcome = drain(&mut source);
    assert!(outcome.events.is_empty());
    assert!(!outcome.completeness.is_complete());
}

#[test]
fn dropping_the_source_ends_what_it_traced() {
    use std::os::unix::process::ExitStatusExt;
    let (pid, mut attached) = fork_waiting(|| {
        install(&Program::trace_all());
        loop {
            call0(libc::SYS_getppid);
        }
    });
    let mut source = PtraceSource::seize(pid, PtraceMode::Record).unwrap();
    attached.write_all(b"!").unwrap();
    nucleus_audit::Source::next(&mut source).unwrap().unwrap();
    drop(source);
    let mut status = 0;
    // SAFETY: `status` is valid for writing.
    let waited = unsafe { libc::waitpid(pid.cast_signed(), &raw mut status, 0) };
    assert_eq!(waited, pid.cast_signed());
    let status = std::process::ExitStatus::from_raw(status);
    assert_eq!(status.signal(), Some(libc::SIGKILL));
}

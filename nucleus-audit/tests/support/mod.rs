//! Forks a child that does exactly what a closure says under a filter, and
//! traces it. The child makes raw system calls only, so counts are exact.
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(
    unsafe_code,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the children make raw system calls"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use nucleus_audit::{Call, Event, PtraceMode, PtraceSource, Source};
use nucleus_seccomp::{Arch, Completeness, InstallFlags, Program};

pub(crate) struct Outcome {
    pub(crate) events: Vec<Event>,
    pub(crate) status: ExitStatus,
    pub(crate) completeness: Completeness,
    pub(crate) notes: Vec<String>,
}

impl Outcome {
    pub(crate) fn count(&self, name: &str) -> usize {
        self.events
            .iter()
            .filter(|event| name_of(&event.call) == name)
            .count()
    }

    pub(crate) fn count_in(&self, arch: Arch, name: &str) -> usize {
        self.events
            .iter()
            .filter(|event| {
                event.call.syscall().map(|call| call.arch()) == Some(arch)
                    && name_of(&event.call) == name
            })
            .count()
    }

    pub(crate) fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for event in &self.events {
            *counts.entry(name_of(&event.call)).or_default() += 1;
        }
        counts
    }

    /// Asserts that the child's own checks passed and nothing was lost.
    #[track_caller]
    pub(crate) fn assert_well(&self) {
        assert_eq!(
            self.status.code(),
            Some(0),
            "{:?}: the child says",
            self.status
        );
        assert_eq!(self.completeness, Completeness::Complete);
    }
}

pub(crate) fn name_of(call: &Call) -> String {
    match call.syscall() {
        Some(call) => call.to_string(),
        None => format!("{:#x}:{}", call.arch, call.nr),
    }
}

/// Records everything that `child` does. It exits 0 unless it exits itself.
pub(crate) fn record(child: impl FnOnce()) -> Outcome {
    trace(PtraceMode::Record, &Program::trace_all(), child)
}

pub(crate) fn trace(mode: PtraceMode, program: &Program, child: impl FnOnce()) -> Outcome {
    let (pid, mut attached) = fork_waiting(|| {
        install(program);
        child();
    });
    let mut source = PtraceSource::seize(pid, mode).unwrap();
    attached.write_all(b"!").unwrap();
    drain(&mut source)
}

pub(crate) fn drain(source: &mut PtraceSource) -> Outcome {
    let mut events = Vec::new();
    while let Some(event) = source.next().unwrap() {
        events.push(event);
    }
    Outcome {
        events,
        status: source.root_status().expect("the child has ended"),
        completeness: source.completeness(),
        notes: source.notes().to_vec(),
    }
}

/// Forks a child that runs `child` once the returned pipe was written to.
pub(crate) fn fork_waiting(child: impl FnOnce()) -> (u32, io::PipeWriter) {
    let (mut reader, writer) = io::pipe().unwrap();
    // SAFETY: the child only makes raw system calls and ends by `_exit`.
    let pid = unsafe { libc::fork() };
    match pid {
        0 => {
            check(reader.read_exact(&mut [0]).is_ok(), 101);
            child();
            quit(0);
        }
        1.. => (pid.cast_unsigned(), writer),
        _ => panic!("fork: {}", io::Error::last_os_error()),
    }
}

/// Forks, runs `child` without a tracer and returns how it ended.
pub(crate) fn run(child: impl FnOnce()) -> ExitStatus {
    let (pid, mut go) = fork_waiting(child);
    go.write_all(b"!").unwrap();
    let mut status = 0;
    // SAFETY: `status` is valid for writing.
    let waited = unsafe { libc::waitpid(pid.cast_signed(), &raw mut status, 0) };
    assert_eq!(waited, pid.cast_signed());
    ExitStatus::from_raw(status)
}

pub(crate) fn install(program: &Program) {
    check(rustix::thread::set_no_new_privs(true).is_ok(), 102);
    check(program.install(InstallFlags::empty()).is_ok(), 103);
}

/// Ends the child with `code` where a condition does not hold.
pub(crate) fn check(holds: bool, code: i32) {
    if !holds {
        quit(code);
    }
}

pub(crate) fn quit(code: i32) -> ! {
    // SAFETY: ends the process without running anything of the parent's.
    unsafe { libc::_exit(code) }
}

/// A raw system call: the result, or minus the errno.
pub(crate) fn call<const N: usize>(number: libc::c_long, args: [usize; N]) -> isize {
    let mut all = [0; 6];
    all[..N].copy_from_slice(&args);
    let [a, b, c, d, e, f] = all;
    // SAFETY: the tests pass arguments that are valid for their calls.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if result == -1 {
        -io::Error::last_os_error().raw_os_error().unwrap_or(0) as isize
    } else {
        result as isize
    }
}

pub(crate) fn call0(number: libc::c_long) -> isize {
    call(number, [])
}

/// Waits for a signal that ends the process.
pub(crate) fn forever() {
    loop {
        call(libc::SYS_ppoll, [0, 0, 0]);
    }
}

/// Sends a signal to a process.
pub(crate) fn kill(pid: isize, signal: i32) {
    check(
        call(libc::SYS_kill, [pid as usize, signal as usize]) == 0,
        105,
    );
}

/// Forks by `clone(2)` with these flags; the child runs `child` and ends.
pub(crate) fn clone_with(flags: i32, child: impl FnOnce()) -> isize {
    let pid = call(libc::SYS_clone, [flags as usize]);
    if pid == 0 {
        child();
        quit(0);
    }
    pid
}

/// Waits for a child of the child and returns its wait status.
pub(crate) fn wait_for(pid: isize, options: i32) -> i32 {
    let mut status: i32 = -1;
    let address = (&raw mut status) as usize;
    let waited = call(
        libc::SYS_wait4,
        [pid as usize, address, options as usize, 0],
    );
    check(waited == pid, 104);
    status
}

/// Runs a program found by its absolute path.
pub(crate) fn exec(path: &std::ffi::CStr, args: &[&std::ffi::CStr]) {
    let mut argv: Vec<*const libc::c_char> = args.iter().map(|arg| arg.as_ptr()).collect();
    argv.push(std::ptr::null());
    let environment = [c"PATH=/usr/bin:/bin".as_ptr(), std::ptr::null()];
    call(
        libc::SYS_execve,
        [
            path.as_ptr() as usize,
            argv.as_ptr() as usize,
            environment.as_ptr() as usize,
        ],
    );
    quit(127);
}

/// Says that the running test is skipped and why; fails with
/// `NUCLEUS_TEST_REQUIRE=all`.
pub(crate) fn skip(reason: &str) {
    let strict = std::env::var_os("NUCLEUS_TEST_REQUIRE").is_some_and(|value| value == "all");
    assert!(!strict, "this test has to run here, and cannot: {reason}");
    say(reason);
}

/// Says that the running test is skipped and why.
pub(crate) fn say(reason: &str) {
    let thread = std::thread::current();
    let line = format!("SKIPPED {}: {reason}\n", thread.name().unwrap_or("?"));
    // Not by `eprintln!`, which the test harness would keep to itself.
    io::stderr().write_all(line.as_bytes()).unwrap();
    if let Some(path) = std::env::var_os("NUCLEUS_TEST_SKIPS") {
        let mut file = File::options()
            .append(true)
            .create(true)
            .open(path)
            .unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
}

pub(crate) fn start_thread(
    run: extern "C" fn(*mut libc::c_void) -> *mut libc::c_void,
) -> libc::pthread_t {
    let mut thread = 0;
    // SAFETY: the thread gets no argument and default attributes.
    let result = unsafe {
        libc::pthread_create(&raw mut thread, std::ptr::null(), run, std::ptr::null_mut())
    };
    check(result == 0, 110);
    thread
}

pub(crate) fn join(thread: libc::pthread_t) {
    // SAFETY: the thread is joined once.
    check(
        unsafe { libc::pthread_join(thread, std::ptr::null_mut()) } == 0,
        111,
    );
}

//! A call that a signal interrupts is made again, whatever the handler says.

use std::io::{self, PipeWriter, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;

use nucleus_seccomp::{Arch, Syscall};
use nucleus_tracer::{CAN_RESTART, Judge, Mode, TracedCall, Verdict};

use crate::{Held, stat};

/// Has these made again.
struct Again(Vec<Syscall>);

impl Judge for Again {
    fn restarts(&self) -> Vec<Syscall> {
        self.0.clone()
    }

    fn enter(&mut self, _call: &TracedCall) -> Verdict {
        Verdict::Go
    }
}

/// Where the child's handler says that it ran.
static HANDLED: AtomicI32 = AtomicI32::new(-1);

extern "C" fn handler(_signal: libc::c_int) {
    let said = [b'h'];
    // SAFETY: a byte of this frame; write(2) may be called in a handler.
    unsafe { libc::write(HANDLED.load(Ordering::Relaxed), said.as_ptr().cast(), 1) };
}

/// What a read gives that waits when a signal comes whose handler lacks
/// `SA_RESTART`: 0, or its errno.
fn interrupted_read(restarts: Vec<Syscall>) -> i32 {
    let (wait, mut write) = io::pipe().unwrap();
    let (mut handled, say) = io::pipe().unwrap();
    let (from, to) = (wait.as_raw_fd(), say.as_raw_fd());
    let held = Held::fork(&[], move || {
        HANDLED.store(to, Ordering::Relaxed);
        let handler: extern "C" fn(libc::c_int) = handler;
        // SAFETY: an action of zeroes has no flags and an empty mask.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = handler as libc::sighandler_t;
        // SAFETY: the action is of this frame.
        unsafe { libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()) };
        handler(0);
        let mut byte = 0_u8;
        // SAFETY: one byte of this frame.
        match unsafe { libc::read(from, (&raw mut byte).cast(), 1) } {
            1 => 0,
            _ => io::Error::last_os_error().raw_os_error().unwrap_or(-1),
        }
    });
    let pid = held.pid;
    let signals = thread::spawn(move || -> PipeWriter {
        // It has a handler, which it has just tried.
        handled.read_exact(&mut [0]).unwrap();
        while stat(pid).unwrap().state != 'S' {
            thread::yield_now();
        }
        let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::USR1).unwrap();
        handled.read_exact(&mut [0]).unwrap();
        // Nobody reads where the call has failed.
        write.write_all(b"r").unwrap();
        write
    });
    let mut tracer = held.traced(Mode::Judge, Again(restarts));
    tracer.run().unwrap();
    drop(signals.join().unwrap());
    drop((wait, say));
    tracer.root_status().unwrap().code().unwrap()
}

#[test]
fn a_call_is_made_again_where_a_judge_wants_it() {
    let call = |name| Syscall::by_name(Arch::native().unwrap(), name).unwrap();
    assert_eq!(interrupted_read(vec![]), libc::EINTR);
    assert_eq!(interrupted_read(vec![call("write")]), libc::EINTR);
    let expected = if CAN_RESTART { 0 } else { libc::EINTR };
    assert_eq!(interrupted_read(vec![call("read")]), expected);
}

//! Programs under a tracer: children that make raw system calls alone.
#![allow(unsafe_code, reason = "the children make raw system calls")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod answers;
mod freeze;
mod order;
mod restarts;
mod shared;

use std::io::{self, PipeReader, PipeWriter, Read as _, Write as _};
use std::process::ExitStatus;

use nucleus_seccomp::{Action, Insn, InstallFlags, Program, offset, op};
use nucleus_tracer::{ASK, Judge, Mode, Tracer};

/// Leaves these calls to the judge.
fn filter(calls: &[libc::c_long]) -> Program {
    let mut insns = vec![Insn::load(offset::NR)];
    for &call in calls {
        insns.push(Insn::jump(op::JEQ_K, call.try_into().unwrap(), 0, 1));
        insns.push(Insn::ret(Action::Trace(ASK)));
    }
    insns.push(Insn::ret(Action::Allow));
    Program::new(insns).unwrap()
}

/// A child that waits for its tracer.
struct Held {
    pid: u32,
    attached: PipeWriter,
}

impl Held {
    /// `child` makes raw calls alone, of which these are left to the judge.
    fn fork(calls: &[libc::c_long], child: impl FnOnce() -> i32) -> Self {
        let filter = filter(calls);
        let (mut reader, attached): (PipeReader, _) = io::pipe().unwrap();
        // SAFETY: the child only makes raw system calls and ends by `_exit`.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let ready = reader.read_exact(&mut [0]).is_ok()
                && rustix::thread::set_no_new_privs(true).is_ok()
                && filter.install(InstallFlags::empty()).is_ok();
            let code = if ready { child() } else { 100 };
            // SAFETY: ends the child.
            unsafe { libc::_exit(code) };
        }
        let pid = pid.try_into().unwrap();
        Self { pid, attached }
    }

    /// Its tracer, on whose thread this is called.
    fn traced<J: Judge>(mut self, mode: Mode, judge: J) -> Tracer<J> {
        let tracer = Tracer::seize(self.pid, mode, judge).unwrap();
        self.attached.write_all(b"!").unwrap();
        tracer
    }
}

/// Runs `child`, which makes raw calls alone, under a judge, to its end.
fn judged(calls: &[libc::c_long], judge: impl Judge, child: impl FnOnce() -> i32) -> ExitStatus {
    let mut tracer = Held::fork(calls, child).traced(Mode::Judge, judge);
    tracer.run().unwrap();
    tracer.root_status().unwrap()
}

fn call(number: libc::c_long) -> libc::c_long {
    // SAFETY: the tests make calls without arguments.
    unsafe { libc::syscall(number) }
}

/// Whether a thread stands in a stop of its tracer.
fn stands(thread: u32) -> bool {
    stat(thread).is_some_and(|stat| stat.state == 't')
}

/// What `/proc` says of a thread.
struct Stat {
    state: char,
    group: u32,
}

/// `None` when it is gone.
fn stat(thread: u32) -> Option<Stat> {
    let stat = std::fs::read_to_string(format!("/proc/{thread}/stat")).ok()?;
    // The name, in brackets, may hold anything.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?.chars().next()?;
    let group = fields.nth(1)?.parse().ok()?;
    Some(Stat { state, group })
}

//! Answers that come later, from other threads.
#![allow(unsafe_code, reason = "the children make raw system calls")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use nucleus_seccomp::{Action, Insn, InstallFlags, Program, offset, op};
use nucleus_tracer::{ASK, Answers, Judge, Mode, Task, Ticket, TracedCall, Tracer, Verdict};

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

/// Runs `child`, which makes raw calls alone, under a judge; its exit code.
fn judged(calls: &[libc::c_long], judge: impl Judge, child: impl FnOnce() -> i32) -> Option<i32> {
    let filter = filter(calls);
    let (mut reader, mut attached) = io::pipe().unwrap();
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
    let mut tracer = Tracer::seize(pid.try_into().unwrap(), Mode::Judge, judge).unwrap();
    attached.write_all(b"!").unwrap();
    tracer.run().unwrap();
    tracer.root_status().unwrap().code()
}

fn call(number: libc::c_long) -> libc::c_long {
    // SAFETY: the tests make calls without arguments.
    unsafe { libc::syscall(number) }
}

/// Makes `getuid` wait for whoever has the other end, and tells of `getgid`.
struct PutOff {
    answers: Arc<Answers>,
    put_off: Sender<Ticket>,
    told: Sender<()>,
    over: BTreeSet<u32>,
}

impl Judge for PutOff {
    fn answers(&self) -> Vec<Arc<Answers>> {
        vec![Arc::clone(&self.answers)]
    }

    fn enter(&mut self, call: &TracedCall) -> Verdict {
        if i64::from(call.data.nr) == libc::SYS_getgid {
            self.told.send(()).unwrap();
            return Verdict::GoAndTell;
        }
        let ticket = self.answers.ticket();
        self.put_off.send(ticket).unwrap();
        Verdict::Wait(ticket)
    }

    fn over(&mut self, thread: u32) {
        assert!(self.over.insert(thread), "told once");
    }

    fn born(&mut self, _child: Task, _parent: Option<Task>) {}

    fn executed(&mut self, _process: u32, _former: u32) -> bool {
        true
    }

    fn ended(&mut self, _task: Task) {}
}

fn put_off() -> (PutOff, Arc<Answers>, Receiver<Ticket>, Receiver<()>) {
    let (put_off, tickets) = channel();
    let (told, was_told) = channel();
    let answers = Arc::new(Answers::default());
    let judge = PutOff {
        answers: Arc::clone(&answers),
        put_off,
        told,
        over: BTreeSet::new(),
    };
    (judge, answers, tickets, was_told)
}

const CALLS: [libc::c_long; 2] = [libc::SYS_getuid, libc::SYS_getgid];

#[test]
fn others_go_on_while_a_task_waits_for_its_answer() {
    let (judge, answers, tickets, was_told) = put_off();
    let answering = thread::spawn(move || {
        let first = tickets.recv().unwrap();
        // Comes only if the tracer goes on meanwhile.
        was_told.recv().unwrap();
        answers.give(first, Verdict::Value(77));
        // Answered at once and without a wait in between, many times.
        for ticket in tickets {
            answers.give(ticket, Verdict::Go);
        }
    });
    let code = judged(&CALLS, judge, || {
        // SAFETY: the child only makes raw calls.
        if unsafe { libc::fork() } == 0 {
            call(libc::SYS_getgid);
            return 0;
        }
        if call(libc::SYS_getuid) != 77 {
            return 1;
        }
        let own = call(libc::SYS_geteuid);
        i32::from((0..1000).any(|_| call(libc::SYS_getuid) != own)) * 2
    });
    assert_eq!(code, Some(0));
    answering.join().unwrap();
}

#[test]
fn an_answer_that_waits_is_a_denial() {
    let (judge, answers, tickets, _told) = put_off();
    let answering = thread::spawn(move || {
        for ticket in tickets {
            answers.give(ticket, Verdict::Wait(answers.ticket()));
        }
    });
    let code = judged(&CALLS, judge, || {
        let denied = call(libc::SYS_getuid) == -1;
        i32::from(!denied || io::Error::last_os_error().raw_os_error() != Some(1))
    });
    assert_eq!(code, Some(0));
    answering.join().unwrap();
}

#[test]
fn who_dies_while_waiting_needs_no_answer_and_holds_up_no_answerer() {
    let (judge, answers, tickets, was_told) = put_off();
    let answering = thread::spawn(move || {
        was_told.recv().unwrap();
        // They are dead, or die meanwhile.
        for ticket in tickets {
            answers.give(ticket, Verdict::Value(5));
        }
    });
    let code = judged(&CALLS, judge, || {
        // SAFETY: the child only makes raw calls.
        let child = unsafe { libc::fork() };
        if child == 0 {
            call(libc::SYS_getuid);
            return 9;
        }
        // SAFETY: plain values.
        unsafe { libc::kill(child, libc::SIGKILL) };
        let mut status = 0;
        // SAFETY: `status` is valid for writing.
        let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
        call(libc::SYS_getgid);
        i32::from(waited != child || libc::WTERMSIG(status) != libc::SIGKILL)
    });
    assert_eq!(code, Some(0));
    answering.join().unwrap();
}

//! Answers that come later, from other threads.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use nucleus_tracer::{Answers, Freezer, Judge, Ticket, TracedCall, Verdict};

use crate::{call, judged};

/// Makes `getuid` wait for whoever has the other end, and tells of `getgid`.
struct PutOff {
    answers: Arc<Answers>,
    freezer: Freezer,
    put_off: Sender<Ticket>,
    told: Sender<()>,
    over: BTreeSet<u32>,
}

impl Judge for PutOff {
    fn answers(&self) -> Vec<Arc<Answers>> {
        vec![Arc::clone(&self.answers)]
    }

    fn freezer(&self) -> Option<Freezer> {
        Some(self.freezer.clone())
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
}

fn put_off() -> (PutOff, Arc<Answers>, Receiver<Ticket>, Receiver<()>) {
    let (put_off, tickets) = channel();
    let (told, was_told) = channel();
    let answers = Arc::new(Answers::default());
    let judge = PutOff {
        answers: Arc::clone(&answers),
        freezer: Freezer::default(),
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
    let ended = judged(&CALLS, judge, || {
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
    assert_eq!(ended.code(), Some(0));
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
    let ended = judged(&CALLS, judge, || {
        let denied = call(libc::SYS_getuid) == -1;
        i32::from(!denied || io::Error::last_os_error().raw_os_error() != Some(1))
    });
    assert_eq!(ended.code(), Some(0));
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
    let ended = judged(&CALLS, judge, || {
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
    assert_eq!(ended.code(), Some(0));
    answering.join().unwrap();
}

#[test]
fn an_answer_to_a_frozen_task_holds_up_nobody_and_comes_with_the_thaw() {
    let (judge, answers, tickets, was_told) = put_off();
    let freezer = judge.freezer.clone();
    let answering = thread::spawn(move || {
        let first = tickets.recv().unwrap();
        freezer.freeze(Duration::from_secs(60)).unwrap();
        answers.give(first, Verdict::Value(77));
        assert!(was_told.try_recv().is_err());
        freezer.thaw();
        was_told.recv().unwrap();
    });
    let ended = judged(&CALLS, judge, || {
        let answer = call(libc::SYS_getuid);
        call(libc::SYS_getgid);
        i32::from(answer != 77)
    });
    assert_eq!(ended.code(), Some(0));
    answering.join().unwrap();
}

//! Descriptors for callers.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::sync::mpsc::channel;

use nucleus_supervisor::{Errno, FdResult, NewFd, Reply, Request};

use crate::{answer, one, raw, supervised};

fn memory_file(content: &[u8]) -> OwnedFd {
    let fd = rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::CLOEXEC).expect("made");
    rustix::io::pwrite(&fd, content, 0).expect("written");
    fd
}

#[test]
fn descriptors_are_given_with_the_answer_at_a_number_or_with_a_value() {
    let (send, told) = channel();
    let registry = one("openat", move |request: &Request| {
        let send = send.clone();
        let mut new = NewFd::new(memory_file(b"given"));
        new.told = Some(Box::new(move |number| {
            send.send(i64::from(number)).expect("received");
        }));
        match request.int(2) {
            1 => {
                new.number = Some(200);
                new.close_on_exec = false;
                new.result = FdResult::Value(0);
            }
            // Above RLIMIT_NOFILE, as dup2(2) refuses it.
            2 => new.number = Some(1 << 30),
            _ => {}
        }
        answer(Reply::Fd(new))
    });
    let (results, summary) = supervised(registry, || {
        let open = |kind| raw("openat", [usize::MAX, 0, kind, 0, 0, 0]);
        let first = open(0).expect("given");
        let second = open(1);
        let flags = [first, 200].map(|fd| {
            let fd = usize::try_from(fd).expect("a number");
            raw("fcntl", [fd, 1, 0, 0, 0, 0]).expect("open")
        });
        let mut text = [0; 5];
        // SAFETY: a descriptor that this thread was just given.
        let read = unsafe { libc::pread(200, text.as_mut_ptr().cast(), 5, 0) };
        (first, second, flags, read, text, open(2))
    });
    let (first, second, flags, read, text, third) = results;
    assert_eq!(second, Ok(0));
    assert_eq!(flags, [i64::from(libc::FD_CLOEXEC), 0]);
    assert_eq!((read, &text), (5, b"given"));
    assert_eq!(third, Err(Errno::BADF));
    // The caller has its answer before; it may go on before the number is told.
    let told: BTreeSet<_> = (0..2).map(|_| told.recv().expect("told")).collect();
    assert_eq!(told, BTreeSet::from([first, 200]));
    assert_eq!(summary.failed, 0);
}

//! Who is served when several wait.

use nucleus_tracer::{Judge, Task, TracedCall, Verdict};

use crate::{call, judged, stands};

/// How many calls of others may be served while one waits: enough for those
/// that come alone before it is looked for others.
const PATIENCE: u32 = 32;

/// Answers `getgid` only once another one waits as well, and the caller of
/// `getuid` does, so that there is always somebody to serve who was made later
/// than that one. `getgid` is 1 when it is to end.
#[derive(Default)]
struct Busy {
    root: u32,
    others: Vec<u32>,
    /// Calls of others while the first one waited.
    served: u32,
    is_over: bool,
}

impl Judge for Busy {
    fn enter(&mut self, call: &TracedCall) -> Verdict {
        if i64::from(call.data.nr) == libc::SYS_getuid {
            self.is_over = true;
            return Verdict::Value(self.served.into());
        }
        // Ten times as many, so that a failure says that it is one.
        if self.is_over || self.served == 10 * PATIENCE {
            return Verdict::Value(1);
        }
        let caller = call.task.thread;
        let others = self.others.iter().filter(|&&it| it != caller);
        for &other in others.chain([&self.root]) {
            while !stands(other) {
                std::thread::yield_now();
            }
        }
        self.served += 1;
        Verdict::Value(0)
    }

    fn born(&mut self, child: Task, parent: Option<Task>) {
        match parent {
            Some(_) => self.others.push(child.thread),
            None => self.root = child.thread,
        }
    }
}

#[test]
fn one_that_was_made_early_is_served_although_others_stop_all_the_time() {
    let ended = judged(
        &[libc::SYS_getuid, libc::SYS_getgid],
        Busy::default(),
        || {
            let mut pipe = [0; 2];
            // SAFETY: the array holds both ends.
            unsafe { libc::pipe(pipe.as_mut_ptr()) };
            for _ in 0..2 {
                // SAFETY: the child makes raw calls alone.
                if unsafe { libc::fork() } == 0 {
                    // Until both are there.
                    // SAFETY: a byte of this frame.
                    unsafe { libc::read(pipe[0], (&raw mut pipe[1]).cast(), 1) };
                    while call(libc::SYS_getgid) == 0 {}
                    return 0;
                }
            }
            // SAFETY: two bytes of this frame.
            unsafe { libc::write(pipe[1], (&raw const pipe[0]).cast(), 2) };
            i32::from(call(libc::SYS_getuid) > PATIENCE.into())
        },
    );
    assert_eq!(ended.code(), Some(0));
}

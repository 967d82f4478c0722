//! What the kernel has told of and nobody has served yet.

use std::collections::{BTreeSet, VecDeque};

use crate::stop::Stop;

/// Wait statuses in order of arrival.
///
/// The kernel tells of the tracee that was made last first, so that one that
/// was made before others which stop again and again is never told of, if only
/// one is asked for at a time. All that there are to tell of are taken in turn.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    queue: VecDeque<(u32, i32)>,
    /// Threads with a stop in the queue: they stand in it, or are dead.
    stopped: BTreeSet<u32>,
    /// How many came alone, one after the other.
    alone: u8,
}

/// After how many that came alone it is looked for others: to look costs a
/// call, about a tenth of what a stop does.
const LOOK_AFTER: u8 = 8;

impl Reports {
    /// Those that were told of.
    pub(crate) fn threads(&self) -> impl Iterator<Item = u32> {
        self.queue.iter().map(|it| it.0)
    }

    /// The last that was told of a thread.
    pub(crate) fn last_of(&self, thread: u32) -> Option<i32> {
        let last = self.queue.iter().rev().find(|it| it.0 == thread);
        last.map(|&(_, status)| status)
    }

    /// Takes one in. A thread that is told of again does not stand in its
    /// earlier stop any more: it was killed in it, and its id may be that of
    /// another thread by now.
    pub(crate) fn add(&mut self, thread: u32, status: i32) {
        if self.stopped.remove(&thread) {
            self.queue
                .retain(|&(other, status)| other != thread || !libc::WIFSTOPPED(status));
        }
        if libc::WIFSTOPPED(status) {
            self.stopped.insert(thread);
        }
        self.queue.push_back((thread, status));
    }

    /// The one that has waited for longest.
    pub(crate) fn take(&mut self) -> Option<(u32, i32)> {
        let (thread, status) = self.queue.pop_front()?;
        if libc::WIFSTOPPED(status) {
            self.stopped.remove(&thread);
        }
        Some((thread, status))
    }

    /// A thread that stands still right before its end.
    pub(crate) fn take_exiting(&mut self) -> Option<u32> {
        let exits = |&(_, status): &(u32, i32)| Stop::of(status) == Stop::Exit;
        let at = self.queue.iter().position(exits)?;
        let (thread, _) = self.queue.remove(at)?;
        self.stopped.remove(&thread);
        Some(thread)
    }

    /// One was waited for; whether to look for others now.
    pub(crate) fn is_time_to_look(&mut self) -> bool {
        self.alone = (self.alone + 1) % LOOK_AFTER;
        self.alone == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STOPPED: i32 = 0x57f;
    const ENDED: i32 = 0;

    fn check(reports: &[(u32, i32)], expected: &[(u32, i32)]) {
        let mut queue = Reports::default();
        for &(thread, status) in reports {
            queue.add(thread, status);
        }
        for &(thread, _) in reports {
            let told = expected.iter().rev().find(|it| it.0 == thread);
            assert_eq!(queue.last_of(thread), told.map(|it| it.1));
        }
        let served: Vec<_> = std::iter::from_fn(|| queue.take()).collect();
        assert_eq!(served, expected);
        assert!(queue.stopped.is_empty());
    }

    #[test]
    fn reports_are_served_as_they_have_come() {
        let all = [(9, STOPPED), (1, STOPPED), (5, ENDED)];
        check(&all, &all);
    }

    #[test]
    fn a_stop_is_void_when_its_thread_is_told_of_again() {
        // It was killed; an exec of another thread took its id.
        let killed = [(5, STOPPED), (7, STOPPED), (5, ENDED)];
        check(&killed, &killed[1..]);
        check(
            &[(5, STOPPED), (5, STOPPED | 4 << 16)],
            &[(5, STOPPED | 4 << 16)],
        );
    }

    #[test]
    fn an_end_stays_when_its_id_is_used_again() {
        let reused = [(5, ENDED), (5, STOPPED)];
        check(&reused, &reused);
        let again = [(5, STOPPED), (5, ENDED), (5, STOPPED), (5, ENDED)];
        check(&again, &[(5, ENDED), (5, ENDED)]);
    }
}

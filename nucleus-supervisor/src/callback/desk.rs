//! Questions on their way: who waits for which answer, and until when.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::record::Record;
use super::{Event, Verdict};

/// Most events at the desk at once, and most of their bytes: what comes beyond
/// is denied, for nobody reads that fast.
const MOST: usize = 1024;
const MOST_BYTES: usize = 32 << 20;

type Answer = Box<dyn FnOnce(Verdict) + Send>;

/// Events that wait to be read, and callers that wait for a verdict. A caller
/// waits no longer than the bound, whatever becomes of its question.
#[derive(Debug)]
pub(super) struct Desk {
    state: Mutex<State>,
    /// There is something to read, or it is over.
    work: Condvar,
    /// There is something to wait for, or it is over.
    clock: Condvar,
    bound: Duration,
}

#[derive(Default)]
struct State {
    last: u64,
    unread: VecDeque<(u64, Event)>,
    bytes: usize,
    /// In the order of their ids, which is that of their ends.
    open: BTreeMap<u64, Open>,
    closed: bool,
    record: Record,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("unread", &self.unread.len())
            .field("open", &self.open.len())
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}

struct Open {
    what: String,
    until: Instant,
    answer: Answer,
}

impl Desk {
    pub(super) fn new(bound: Duration) -> Self {
        Self {
            state: Mutex::default(),
            work: Condvar::new(),
            clock: Condvar::new(),
            bound,
        }
    }

    /// Asks. `answer` is called once, from some thread, within the bound.
    pub(super) fn ask(&self, event: Event, answer: Answer) {
        let what = event.to_string();
        let mut state = self.state();
        if state.closed || !state.has_room(&event) {
            state.record.unasked(what);
            drop(state);
            answer(Verdict::DENY);
            return;
        }
        let id = state.put(event);
        let open = Open {
            what,
            until: Instant::now() + self.bound,
            answer,
        };
        state.open.insert(id, open);
        drop(state);
        self.work.notify_one();
        self.clock.notify_one();
    }

    /// Tells of an event to which there is nothing to say any more. It is
    /// passed over when there is no room.
    pub(super) fn tell(&self, event: Event) {
        let mut state = self.state();
        if state.closed || !state.has_room(&event) {
            return;
        }
        state.put(event);
        drop(state);
        self.work.notify_one();
    }

    /// The next event to read; waits for one. `None` when it is over.
    pub(super) fn take(&self) -> Option<(u64, Event)> {
        let mut state = self.state();
        loop {
            if state.closed {
                return None;
            }
            while let Some((id, event)) = state.unread.pop_front() {
                state.bytes = state.bytes.saturating_sub(size(&event));
                // Nobody may be left who waits for it.
                if event.denied || state.open.contains_key(&id) {
                    return Some((id, event));
                }
            }
            state = self
                .work
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Answers a question. False when there is none that is open.
    pub(super) fn reply(&self, id: u64, verdict: Verdict) -> bool {
        let mut state = self.state();
        let Some(open) = state.open.remove(&id) else {
            return false;
        };
        state.record.verdict(open.what, verdict);
        drop(state);
        (open.answer)(verdict);
        true
    }

    /// Denies all that is open: an answer was given that could be to any of it.
    pub(super) fn deny_open(&self) {
        let open = self.state().take_open();
        for answer in open {
            answer(Verdict::DENY);
        }
    }

    /// Denies all that is open and all that will come. False when it was over
    /// before.
    pub(super) fn close(&self) -> bool {
        let mut state = self.state();
        let first = !std::mem::replace(&mut state.closed, true);
        state.unread.clear();
        let open = state.take_open();
        drop(state);
        self.work.notify_all();
        self.clock.notify_all();
        for answer in open {
            answer(Verdict::DENY);
        }
        first
    }

    /// Denies what was not answered in time, until it is over.
    pub(super) fn keep_time(&self) {
        let mut state = self.state();
        while !state.closed {
            let now = Instant::now();
            let first = state.open.first_key_value();
            let Some((&id, until)) = first.map(|(id, open)| (id, open.until)) else {
                state = self
                    .clock
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            if until > now {
                let (back, _) = self
                    .clock
                    .wait_timeout(state, until - now)
                    .unwrap_or_else(PoisonError::into_inner);
                state = back;
                continue;
            }
            if let Some(late) = state.open.remove(&id) {
                state.record.late(late.what);
                drop(state);
                (late.answer)(Verdict::DENY);
                state = self.state();
            }
        }
    }

    /// What was said, one sentence each.
    pub(super) fn report(&self) -> Vec<String> {
        self.state().record.sentences()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Answers are called without the lock; nothing else panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn has_room(&self, event: &Event) -> bool {
        self.unread.len().max(self.open.len()) < MOST && self.bytes + size(event) <= MOST_BYTES
    }

    fn put(&mut self, event: Event) -> u64 {
        self.last += 1;
        self.bytes += size(&event);
        self.unread.push_back((self.last, event));
        self.last
    }

    fn take_open(&mut self) -> Vec<Answer> {
        let open = std::mem::take(&mut self.open);
        let mut answers = Vec::with_capacity(open.len());
        for open in open.into_values() {
            self.record.unasked(open.what);
            answers.push(open.answer);
        }
        answers
    }
}

/// About how much memory an event takes.
fn size(event: &Event) -> usize {
    let words = event.argv.iter().flatten().map(|word| word.len() + 32);
    let path = event.path.as_ref().map_or(0, |path| path.as_os_str().len());
    words.sum::<usize>() + path + 512
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::callback::Category;
    use std::sync::Arc;
    use std::sync::mpsc::{Receiver, channel};

    fn event() -> Event {
        Event::new("connect", Category::Network, 0)
    }

    fn ask(desk: &Desk) -> Receiver<Verdict> {
        let (send, receive) = channel();
        desk.ask(
            event(),
            Box::new(move |verdict| send.send(verdict).expect("open")),
        );
        receive
    }

    #[test]
    fn answers_find_their_questions_in_any_order() {
        let desk = Desk::new(Duration::from_secs(60));
        let (first, second) = (ask(&desk), ask(&desk));
        let ids = [desk.take(), desk.take()].map(|read| read.expect("a question").0);
        assert!(desk.reply(ids[1], Verdict::Allow));
        assert_eq!(second.try_recv(), Ok(Verdict::Allow));
        assert!(first.try_recv().is_err());
        assert!(desk.reply(ids[0], Verdict::Audit));
        assert_eq!(first.try_recv(), Ok(Verdict::Audit));
        assert!(!desk.reply(ids[0], Verdict::Allow), "answered twice");
    }

    #[test]
    fn who_waits_too_long_is_denied_and_not_asked_about() {
        let desk = Arc::new(Desk::new(Duration::from_millis(1)));
        let clock = Arc::clone(&desk);
        let keeper = std::thread::spawn(move || clock.keep_time());
        let answer = ask(&desk);
        assert_eq!(answer.recv(), Ok(Verdict::DENY));
        desk.tell(Event {
            denied: true,
            ..event()
        });
        // The late question is passed over.
        assert!(desk.take().expect("the other one").1.denied);
        desk.close();
        keeper.join().expect("no panic");
    }

    #[test]
    fn a_closed_desk_denies_what_is_there_and_what_comes() {
        let desk = Desk::new(Duration::from_secs(60));
        let before = ask(&desk);
        assert!(desk.close());
        assert!(!desk.close());
        assert_eq!(before.try_recv(), Ok(Verdict::DENY));
        assert_eq!(ask(&desk).try_recv(), Ok(Verdict::DENY));
        assert!(desk.take().is_none());
    }

    #[test]
    fn a_desk_that_nobody_reads_at_fills_no_memory() {
        let desk = Desk::new(Duration::from_secs(60));
        let answers: Vec<_> = (0..MOST).map(|_| ask(&desk)).collect();
        assert_eq!(ask(&desk).try_recv(), Ok(Verdict::DENY));
        assert!(answers[0].try_recv().is_err());
        let large = Desk::new(Duration::from_secs(60));
        let argv = vec!["x".repeat(MOST_BYTES).into()];
        let (send, receive) = channel();
        let event = Event {
            argv: Some(argv),
            ..event()
        };
        large.ask(
            event,
            Box::new(move |verdict| send.send(verdict).expect("open")),
        );
        assert_eq!(receive.try_recv(), Ok(Verdict::DENY));
    }
}

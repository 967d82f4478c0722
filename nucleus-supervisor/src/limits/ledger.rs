//! What is claimed, by whom, and whether there is room for more.

use std::collections::{BTreeMap, BTreeSet};

use nucleus_seccomp::SeccompData;
use nucleus_tracer::result;

use super::WhenFull;
use super::claim::{Claims, Growth, Small};
use super::figures;
use super::forks::{Fork, Forks};
use super::spaces::{Heap, Key, Spaces};
use crate::callback::Context;
use crate::{Errno, Task, TracedCall, Verdict};

/// The counts of a limit on memory. Nothing here waits for a thread to stop or
/// to go on.
#[derive(Debug)]
pub(super) struct Ledger {
    limit: u64,
    when_full: WhenFull,
    pub(super) tightened: Context,
    claims: Claims,
    /// Each thread's process.
    threads: BTreeMap<u32, u32>,
    spaces: Spaces,
    /// Claims that were let go and may not be in the kernel's figures yet.
    under_way: BTreeMap<u32, Claim>,
    forks: Forks,
    /// Shared anonymous memory.
    shared: u64,
    /// Threads that were let map a file to share, and their processes.
    mapping: BTreeMap<u32, u32>,
    /// System V segments. They outlive their makers, up to the end.
    segments: u64,
    /// Processes that are killed for what they claim, and not gone yet.
    doomed: BTreeSet<u32>,
    /// Refused claims, or killed processes.
    denied: u64,
}

#[derive(Debug, Clone, Copy)]
struct Claim {
    call: u32,
    /// `None` of what several may share.
    space: Option<Key>,
    bytes: u64,
    /// Where the heap has ended before, if it is to end elsewhere.
    heap: Option<u64>,
}

impl Ledger {
    pub(super) fn new(limit: u64, when_full: WhenFull) -> Self {
        Self {
            limit,
            when_full,
            tightened: Context::default(),
            claims: Claims::new(),
            threads: BTreeMap::new(),
            spaces: Spaces::default(),
            under_way: BTreeMap::new(),
            forks: Forks::default(),
            shared: 0,
            mapping: BTreeMap::new(),
            segments: 0,
            doomed: BTreeSet::new(),
            denied: 0,
        }
    }

    fn most(&self) -> u64 {
        self.limit.min(self.tightened.memory())
    }

    pub(super) fn used(&self) -> u64 {
        let spaces = self.spaces.bytes();
        spaces
            .chain(self.forks.bytes())
            .fold(self.shared + self.segments, u64::saturating_add)
    }

    /// Decides on a call of a thread that stands still in it.
    pub(super) fn enter(&mut self, call: &TracedCall) -> Verdict {
        self.under_way.remove(&call.task.thread);
        let Some(growth) = self.claims.of(call, &self.spaces) else {
            return Verdict::Go;
        };
        let bytes = match growth {
            Growth::Private(bytes) | Growth::Heap { bytes, .. } => {
                let copies = self.forks.copying(self.spaces.of(call.task.process));
                bytes.saturating_mul(1 + copies)
            }
            Growth::Shared(bytes) | Growth::Segment(bytes) | Growth::Fork { bytes, .. } => bytes,
            Growth::File => 0,
        };
        if bytes == 0 || self.fits(bytes) {
            self.grant(call, growth)
        } else {
            self.refuse(call.task.process, growth)
        }
    }

    /// The same of a thread that is known by its id alone; `None` where nobody
    /// knows it.
    pub(super) fn enter_thread(&mut self, thread: u32, data: SeccompData) -> Option<Verdict> {
        let process = *self.threads.get(&thread)?;
        let task = Task { thread, process };
        Some(self.enter(&TracedCall { task, data }))
    }

    /// Counts what a process claims, and for each fork that may copy it.
    fn count(&mut self, process: u32, bytes: u64) {
        let space = self.spaces.of(process);
        if let Some(space) = self.spaces.of_mut(process) {
            space.bytes = space.bytes.saturating_add(bytes);
        }
        self.forks.count(space, bytes);
    }

    fn fits(&mut self, bytes: u64) -> bool {
        if self.has_room(bytes) {
            return true;
        }
        if bytes > self.most() {
            return false;
        }
        self.reconcile(self.shared > 0);
        self.has_room(bytes)
    }

    fn has_room(&self, bytes: u64) -> bool {
        self.used().saturating_add(bytes) <= self.most()
    }

    /// Takes over the kernel's figures, and adds what they may lack.
    fn reconcile(&mut self, with_shared: bool) {
        // First: what is over by now is in figures that are read later.
        self.under_way
            .retain(|&thread, claim| !figures::waits_elsewhere(thread, claim.call));
        let mut shared = BTreeMap::new();
        let processes: Vec<_> = self.spaces.processes().collect();
        for process in processes {
            if let Some(bytes) = figures::writable(process)
                && let Some(space) = self.spaces.of_mut(process)
            {
                space.bytes = bytes;
            }
            if with_shared {
                figures::add_shared(process, &mut shared);
            }
        }
        self.shared = shared
            .values()
            .fold(0, |sum, &size| size.saturating_add(sum));
        for claim in self.under_way.values() {
            match claim.space.and_then(|key| self.spaces.get_mut(key)) {
                Some(space) => space.bytes = space.bytes.saturating_add(claim.bytes),
                None => self.shared = self.shared.saturating_add(claim.bytes),
            }
        }
    }

    /// What a thread was about is over.
    fn gone(&mut self, thread: u32) {
        self.under_way.remove(&thread);
        self.forks.end(thread);
        self.mapping.remove(&thread);
    }

    /// After a file was mapped: it was /dev/zero if another thread has put
    /// that in place of what was seen. Memory beyond the limit is the end then.
    fn look_again(&mut self, process: u32) {
        let mut shared = BTreeMap::new();
        figures::add_shared(process, &mut shared);
        if shared.is_empty() {
            return;
        }
        self.reconcile(true);
        if !self.has_room(0) {
            self.dooms(process);
            // Its thread stands still, so that the number is its own.
            let number = rustix::process::Pid::from_raw(process.cast_signed());
            let killed = number
                .map(|number| rustix::process::kill_process(number, rustix::process::Signal::KILL));
            debug_assert_eq!(killed, Some(Ok(())), "a process that stands still");
        }
    }

    fn grant(&mut self, call: &TracedCall, growth: Growth) -> Verdict {
        let Task { thread, process } = call.task;
        let space = self.spaces.of(process);
        let (space, bytes, heap, tell) = match growth {
            Growth::Fork { bytes, shares } => {
                let fork = Fork {
                    space,
                    bytes,
                    shares,
                    heap: self.sure_heap(process),
                };
                self.forks.begin(thread, fork);
                return Verdict::GoAndTell;
            }
            Growth::Segment(bytes) => {
                self.segments += bytes;
                return Verdict::Go;
            }
            Growth::File => {
                self.mapping.insert(thread, process);
                return Verdict::GoAndTell;
            }
            Growth::Heap { bytes, before, end } => {
                if let Some(space) = self.spaces.of_mut(process) {
                    space.heap = Some(Heap { end, ..before });
                }
                self.lower_heaps(space, end);
                self.count(process, bytes);
                // The kernel may leave it as it is.
                (space, bytes, Some(before.end), true)
            }
            Growth::Private(bytes) => {
                self.count(process, bytes);
                // For a small one the second stop costs more than to count it
                // twice where the figures are taken at that very moment.
                (space, bytes, None, bytes > Small::most(self.limit))
            }
            Growth::Shared(bytes) => {
                self.shared += bytes;
                (None, bytes, None, true)
            }
        };
        let claim = Claim {
            call: call.data.nr,
            space,
            bytes,
            heap,
        };
        self.under_way.insert(thread, claim);
        if tell {
            Verdict::GoAndTell
        } else {
            Verdict::Go
        }
    }

    fn refuse(&mut self, process: u32, growth: Growth) -> Verdict {
        if self.when_full == WhenFull::Kill {
            self.dooms(process);
            return Verdict::Kill;
        }
        self.denied += 1;
        match growth {
            // brk(2) of the kernel fails by returning the end as it is.
            Growth::Heap { before, .. } => Verdict::Value(before.end.cast_signed()),
            _ => Verdict::Errno(Errno::NOMEM),
        }
    }

    /// A heap as far as it certainly goes, whatever is under way: what it grows
    /// by beyond that is counted.
    fn sure_heap(&self, process: u32) -> Option<Heap> {
        let key = self.spaces.of(process);
        let heap = self.spaces.get(process)?.heap?;
        let moves = self.under_way.values().filter(|claim| claim.space == key);
        let end = moves
            .filter_map(|claim| claim.heap)
            .fold(heap.end, u64::min);
        Some(Heap { end, ..heap })
    }

    /// A heap ends, or may come to end, here: believed of it, and of those that
    /// forks may copy, is what is lower. Calls of several threads may be heard
    /// of in another order than they were made in.
    fn lower_heaps(&mut self, key: Option<Key>, end: u64) {
        let space = key.and_then(|key| self.spaces.get_mut(key));
        if let Some(heap) = space.and_then(|space| space.heap.as_mut()) {
            heap.end = heap.end.min(end);
        }
        self.forks.lower_heaps(key, end);
    }

    /// A process is killed; each counts once, whichever of its threads claims.
    fn dooms(&mut self, process: u32) {
        self.denied += u64::from(self.doomed.insert(process));
    }

    pub(super) fn report(&self, option: &str) -> Vec<String> {
        if self.denied == 0 {
            return Vec::new();
        }
        let what = match self.when_full {
            WhenFull::Refuse => "claims of memory refused",
            WhenFull::Kill => "processes killed for memory",
        };
        vec![format!("{what} at {option}: {}", self.denied)]
    }

    /// A call of this thread is over that the judge wanted to hear of.
    pub(super) fn over(&mut self, thread: u32) {
        let mapped = self.mapping.get(&thread).copied();
        if let Some(Claim {
            space,
            heap: Some(before),
            ..
        }) = self.under_way.get(&thread).copied()
        {
            // Another guard has denied it, or the thread is dead.
            let end = result(thread).map_or(before, i64::cast_unsigned);
            self.lower_heaps(space, end);
        }
        self.gone(thread);
        if let Some(process) = mapped {
            self.look_again(process);
        }
    }

    pub(super) fn born(&mut self, child: Task, parent: Option<Task>) {
        self.threads.insert(child.thread, child.process);
        if !child.leads() {
            return;
        }
        let fork = parent.and_then(|parent| Some((parent, self.forks.end(parent.thread)?)));
        match fork {
            Some((parent, Fork { shares: true, .. })) => {
                self.spaces.share(child.process, parent.process);
            }
            Some((_, Fork { bytes, heap, .. })) => self.spaces.add(child.process, bytes, heap),
            None => {
                let bytes = figures::writable(child.process).unwrap_or(0);
                self.spaces.add(child.process, bytes, None);
            }
        }
    }

    /// Whether there is room for the new program of a process.
    pub(super) fn executed(&mut self, process: u32, former: u32) -> bool {
        self.threads.remove(&former);
        self.threads.insert(process, process);
        self.gone(former);
        let bytes = figures::writable(process).unwrap_or(0);
        self.spaces.add(process, bytes, None);
        // The kernel has mapped the program without a call to refuse.
        let fits = self.fits(0);
        if !fits {
            self.dooms(process);
        }
        fits
    }

    pub(super) fn ended(&mut self, task: Task) {
        self.threads.remove(&task.thread);
        self.gone(task.thread);
        if task.leads() {
            self.doomed.remove(&task.process);
            self.spaces.leave(task.process);
            if self.spaces.is_empty() {
                self.shared = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{everywhere, figures};

    /// No process has such an id, so that only what is told here counts.
    const PROCESS: u32 = u32::MAX - 8;
    const PAGES: u64 = 100;

    fn page() -> u64 {
        figures::whole_pages(1)
    }

    fn task(thread: u32) -> Task {
        Task {
            thread,
            process: PROCESS,
        }
    }

    fn call(thread: u32, name: &str, args: [u64; 6]) -> TracedCall {
        let call = everywhere(name).next().expect("in a table");
        let data = SeccompData {
            nr: call.number(),
            arch: call.arch().audit(),
            instruction_pointer: 0,
            args,
        };
        let task = task(thread);
        TracedCall { task, data }
    }

    fn map(thread: u32, pages: u64) -> TracedCall {
        call(thread, "mmap", [0, pages * page(), 3, 0x22, 0, 0])
    }

    fn ledger() -> Ledger {
        let mut ledger = Ledger::new(PAGES * page(), WhenFull::Refuse);
        ledger.born(task(PROCESS), None);
        ledger.born(task(PROCESS + 1), Some(task(PROCESS)));
        ledger
    }

    #[track_caller]
    fn assert_used(ledger: &Ledger, pages: u64) {
        assert_eq!(ledger.used(), pages * page());
    }

    #[test]
    fn what_is_claimed_while_a_fork_is_under_way_counts_for_the_child_too() {
        let mut ledger = ledger();
        assert!(ledger.enter(&map(PROCESS, 10)).goes());
        let fork = call(PROCESS, "fork", [0; 6]);
        assert_eq!(ledger.enter(&fork), Verdict::GoAndTell);
        assert_used(&ledger, 20);
        assert!(ledger.enter(&map(PROCESS + 1, 10)).goes());
        assert_used(&ledger, 40);
        // It would be there twice.
        let refused = Verdict::Errno(Errno::NOMEM);
        assert_eq!(ledger.enter(&map(PROCESS + 1, 40)), refused);
        let child = Task {
            thread: PROCESS + 2,
            process: PROCESS + 2,
        };
        ledger.born(child, Some(task(PROCESS)));
        assert_used(&ledger, 40);
        assert!(ledger.enter(&map(PROCESS + 1, 40)).goes());
        assert_used(&ledger, 80);
        ledger.ended(child);
        ledger.ended(task(PROCESS + 1));
        ledger.ended(task(PROCESS));
        assert_used(&ledger, 0);
    }

    #[test]
    fn a_heap_ends_where_the_kernel_says() {
        let mut ledger = ledger();
        let heap = Heap { start: 0, end: 0 };
        ledger.spaces.add(PROCESS, 0, Some(heap));
        let grow = |pages| call(PROCESS, "brk", [pages * page(), 0, 0, 0, 0, 0]);
        assert_eq!(ledger.enter(&grow(40)), Verdict::GoAndTell);
        assert_used(&ledger, 40);
        // A child is sure to have none of that.
        let fork = call(PROCESS + 1, "fork", [0; 6]);
        assert!(ledger.enter(&fork).goes());
        let fork = ledger.forks.end(PROCESS + 1).expect("under way");
        assert_eq!(fork.heap, Some(heap));
        // It was not made.
        ledger.over(PROCESS);
        assert_eq!(ledger.sure_heap(PROCESS), Some(heap));
        assert!(ledger.enter(&grow(50)).goes());
        assert_used(&ledger, 90);
    }

    #[test]
    fn a_thread_is_known_from_its_birth_to_its_end() {
        let mut ledger = ledger();
        let claim = map(0, 1).data;
        let goes = |ledger: &mut Ledger, thread| {
            let verdict = ledger.enter_thread(thread, claim);
            verdict.map(Verdict::goes)
        };
        assert_eq!(goes(&mut ledger, PROCESS + 1), Some(true));
        assert_eq!(goes(&mut ledger, PROCESS + 2), None);
        // It executes a program, and has the process's id from then on.
        assert!(ledger.executed(PROCESS, PROCESS + 1));
        assert_eq!(goes(&mut ledger, PROCESS + 1), None);
        assert_eq!(goes(&mut ledger, PROCESS), Some(true));
        ledger.ended(task(PROCESS));
        assert_eq!(goes(&mut ledger, PROCESS), None);
        assert_used(&ledger, 0);
    }
}

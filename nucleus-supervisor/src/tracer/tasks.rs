//! The threads that are traced, and to which process each belongs.

use std::collections::{BTreeMap, BTreeSet};

use super::guard::Task;

/// Threads by id. A new one and its parent stop independently: whichever
/// report comes first, the thread is known before it runs.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    /// The process of each thread.
    known: BTreeMap<u32, u32>,
    /// Stopped before their parents told of them.
    early: BTreeSet<u32>,
    /// Let go before their parents told of them.
    adopted: BTreeSet<u32>,
    /// Gone before their parents told of them.
    gone: BTreeSet<u32>,
}

/// What a parent's report means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Birth {
    /// A new task; it waits in its first stop if it was early.
    New {
        /// It is in its first stop already.
        waits: bool,
    },
    /// It was taken in before, when another task ended.
    Known,
    /// It has ended already.
    Ended,
}

impl Tasks {
    pub(super) fn new(root: u32) -> Self {
        Self {
            known: BTreeMap::from([(root, root)]),
            ..Self::default()
        }
    }

    /// Whether no thread is known, not even one that waits to be told of.
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty() && self.early.is_empty()
    }

    pub(super) fn get(&self, thread: u32) -> Option<Task> {
        let process = *self.known.get(&thread)?;
        Some(Task { thread, process })
    }

    /// The processes that have a thread left.
    pub(super) fn processes(&self) -> BTreeSet<u32> {
        self.known.values().copied().collect()
    }

    /// A thread that is not known has stopped: it stays so until it is.
    pub(super) fn hold(&mut self, thread: u32) {
        // An earlier thread of this id is long gone.
        self.gone.remove(&thread);
        self.early.insert(thread);
    }

    /// A parent tells of its child. `runs` says whether there is a thread of
    /// this id that has not ended.
    pub(super) fn told(&mut self, child: u32, runs: impl FnOnce() -> bool) -> Birth {
        if self.known.contains_key(&child) {
            self.adopted.remove(&child);
            return Birth::Known;
        }
        if self.gone.remove(&child) && !runs() {
            return Birth::Ended;
        }
        Birth::New {
            waits: self.early.remove(&child),
        }
    }

    /// Those whose parents have not told of them: when one has died it may
    /// have been the parent of any.
    pub(super) fn adopt_early(&mut self) -> BTreeSet<u32> {
        let early = std::mem::take(&mut self.early);
        self.adopted.extend(&early);
        early
    }

    pub(super) fn add(&mut self, task: Task) {
        self.known.insert(task.thread, task.process);
    }

    /// A thread has executed a program and has its process's id now.
    pub(super) fn executed(&mut self, process: u32, former: u32) {
        self.known.remove(&former);
        self.known.insert(process, process);
    }

    /// A thread is gone. `None` for one that was not known.
    pub(super) fn ended(&mut self, thread: u32) -> Option<Task> {
        match self.known.remove(&thread) {
            Some(process) => {
                if self.adopted.remove(&thread) {
                    self.gone.insert(thread);
                }
                Some(Task { thread, process })
            }
            None => {
                self.early.remove(&thread);
                self.gone.insert(thread);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_known_whoever_reports_first() {
        let mut tasks = Tasks::new(1);
        let here = || true;
        assert_eq!(tasks.told(2, here), Birth::New { waits: false });
        tasks.hold(3);
        assert_eq!(tasks.told(3, here), Birth::New { waits: true });
        let process = |thread| Task {
            thread,
            process: thread,
        };
        for late in [4, 6] {
            tasks.hold(late);
            assert_eq!(tasks.adopt_early(), BTreeSet::from([late]));
            tasks.add(process(late));
        }
        assert_eq!(tasks.told(4, here), Birth::Known);
        // It may even end before its parent is heard.
        assert_eq!(tasks.ended(6), Some(process(6)));
        assert_eq!(tasks.told(6, || false), Birth::Ended);
        assert_eq!(tasks.ended(5), None);
        assert_eq!(tasks.told(5, || false), Birth::Ended);
    }

    #[test]
    fn an_id_that_is_used_again_is_a_new_task() {
        let mut tasks = Tasks::new(1);
        assert_eq!(tasks.ended(5), None);
        assert_eq!(tasks.told(5, || true), Birth::New { waits: false });
        assert_eq!(tasks.ended(6), None);
        tasks.hold(6);
        assert_eq!(tasks.told(6, || true), Birth::New { waits: true });
    }

    #[test]
    fn exec_leaves_one_thread_with_the_id_of_the_process() {
        let mut tasks = Tasks::new(1);
        tasks.add(Task {
            thread: 2,
            process: 1,
        });
        tasks.executed(1, 2);
        assert_eq!(tasks.get(2), None);
        let leader = Task {
            thread: 1,
            process: 1,
        };
        assert!(leader.leads());
        assert_eq!(tasks.get(1), Some(leader));
        assert_eq!(tasks.ended(1), Some(leader));
        assert!(tasks.processes().is_empty());
    }
}

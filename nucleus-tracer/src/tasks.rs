//! The threads that are traced, and to which process each belongs.

use std::collections::{BTreeMap, BTreeSet};

use crate::Task;

/// What is known of a thread.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tracee {
    pub(crate) process: u32,
    /// It has installed a filter of its own, which may answer before ours.
    pub(crate) own_filter: bool,
    /// It is in a call whose entry was seen.
    pub(crate) entered: bool,
    /// The judge wants to hear of the end of the call that it is in.
    pub(crate) tell: bool,
    /// A word of its memory to put back when the call is over.
    pub(crate) restore: Option<(u64, u64)>,
    /// The last child that it has waited for (vfork).
    lent_to: Option<u32>,
    /// Who waits for it to end or to execute a program.
    lender: Option<u32>,
}

impl Tracee {
    const fn of(process: u32) -> Self {
        Self {
            process,
            own_filter: false,
            entered: false,
            tell: false,
            restore: None,
            lent_to: None,
            lender: None,
        }
    }

    pub(crate) const fn needs_syscall_stops(&self) -> bool {
        self.own_filter || self.tell || self.restore.is_some()
    }
}

/// Threads by id. A new one and its parent stop independently: whichever
/// report comes first, the thread is known before it runs.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    known: BTreeMap<u32, Tracee>,
    /// Stopped before their parents told of them.
    early: BTreeSet<u32>,
    /// Let go before their parents told of them.
    adopted: BTreeSet<u32>,
    /// Gone before their parents told of them.
    gone: BTreeSet<u32>,
    /// Processes with a SIGSYS under way that nobody handles.
    dying: BTreeSet<u32>,
    /// Whether any thread has a filter of its own.
    own_filters: bool,
    /// A thread may have been killed that had made a child to tell of.
    untold: bool,
}

/// What a parent's report means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Birth {
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
    pub(crate) fn new(root: u32) -> Self {
        Self {
            known: BTreeMap::from([(root, Tracee::of(root))]),
            ..Self::default()
        }
    }

    pub(crate) fn get(&self, thread: u32) -> Option<Task> {
        let process = self.known.get(&thread)?.process;
        Some(Task { thread, process })
    }

    /// What is known of a thread that is known.
    pub(crate) fn state(&mut self, thread: u32) -> Option<&mut Tracee> {
        self.known.get_mut(&thread)
    }

    /// Whether there is one thread alone.
    pub(crate) fn is_one(&self) -> bool {
        self.known.len() == 1 && self.early.is_empty()
    }

    /// All that are known.
    pub(crate) fn threads(&self) -> impl Iterator<Item = u32> {
        self.known.keys().copied()
    }

    /// `maker` waits in the kernel until its child has ended or executed a
    /// program.
    pub(crate) fn lends(&mut self, maker: u32, child: u32) {
        if let Some(child) = self.known.get_mut(&child) {
            child.lender = Some(maker);
        }
        if let Some(maker) = self.known.get_mut(&maker) {
            maker.lent_to = Some(child);
        }
    }

    /// The child for which a thread waits, as far as the ends and programs
    /// tell that were served.
    pub(crate) fn waits_for(&self, maker: u32) -> Option<u32> {
        let child = self.known.get(&maker)?.lent_to?;
        let lender = self.known.get(&child)?.lender;
        (lender == Some(maker)).then_some(child)
    }

    /// The processes that have a thread left.
    pub(crate) fn processes(&self) -> BTreeSet<u32> {
        self.known.values().map(|tracee| tracee.process).collect()
    }

    /// A thread that is not known has stopped: it stays so until it is.
    pub(crate) fn hold(&mut self, thread: u32) {
        // An earlier thread of this id is long gone.
        self.gone.remove(&thread);
        self.early.insert(thread);
    }

    /// A thread may have been killed: what it had just made is told of by
    /// nobody, and may stop only later.
    pub(crate) fn lost(&mut self) {
        self.untold = true;
    }

    /// Whether this process is there to tell of a child that it seems to have
    /// made. Once something was lost, any may have inherited it.
    pub(crate) fn tells(&self, maker: u32) -> bool {
        !self.untold && self.known.contains_key(&maker)
    }

    /// A parent tells of its child. `runs` says whether there is a thread of
    /// this id that has not ended.
    pub(crate) fn told(&mut self, child: u32, runs: impl FnOnce() -> bool) -> Birth {
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
    pub(crate) fn adopt_early(&mut self) -> BTreeSet<u32> {
        let early = std::mem::take(&mut self.early);
        self.adopted.extend(&early);
        early
    }

    /// Takes a new thread in. It has its parent's filters; where the parent is
    /// not known, to believe that it has one of its own costs time only.
    pub(crate) fn add(&mut self, task: Task, parent: Option<Task>) {
        let parent = parent.and_then(|parent| self.known.get(&parent.thread));
        let own_filter = parent.map_or(self.own_filters, |parent| parent.own_filter);
        let tracee = Tracee {
            own_filter,
            ..Tracee::of(task.process)
        };
        self.known.insert(task.thread, tracee);
    }

    /// A thread has executed a program and has its process's id now.
    pub(crate) fn executed(&mut self, process: u32, former: u32) {
        let before = self.known.remove(&former);
        let tracee = Tracee {
            process,
            tell: false,
            restore: None,
            lent_to: None,
            lender: None,
            ..before.unwrap_or_default()
        };
        self.known.insert(process, tracee);
    }

    /// A thread is gone. `None` for one that was not known.
    pub(crate) fn ended(&mut self, thread: u32) -> Option<Task> {
        match self.known.remove(&thread) {
            Some(Tracee { process, .. }) => {
                self.dying.remove(&thread);
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

    /// All that comes is treated as if it had a filter of its own.
    pub(crate) fn all_have_own_filters(&mut self) {
        self.own_filters = true;
        for tracee in self.known.values_mut() {
            tracee.own_filter = true;
        }
    }

    /// A thread installs a filter; with `everywhere` in every thread of its
    /// process. Returns those that must be stopped to be resumed otherwise.
    pub(crate) fn own_filter(&mut self, thread: u32, everywhere: bool) -> Vec<u32> {
        self.own_filters = true;
        let process = self.known.get(&thread).map(|tracee| tracee.process);
        let mut others = Vec::new();
        for (&other, tracee) in &mut self.known {
            if other == thread || (everywhere && Some(tracee.process) == process) {
                if other != thread && !tracee.own_filter {
                    others.push(other);
                }
                tracee.own_filter = true;
            }
        }
        others
    }

    /// A process gets a SIGSYS that it does not handle.
    pub(crate) fn dies_of_signal(&mut self, process: u32) {
        self.dying.insert(process);
    }

    pub(crate) fn dying_of_signal(&self, process: u32) -> bool {
        self.dying.contains(&process)
    }

    /// Whether the thread is the only one of its process.
    pub(crate) fn is_alone(&self, task: Task) -> bool {
        !self
            .known
            .iter()
            .any(|(&other, tracee)| other != task.thread && tracee.process == task.process)
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
            tasks.add(process(late), None);
        }
        assert_eq!(tasks.told(4, here), Birth::Known);
        // It may even end before its parent is heard.
        assert_eq!(tasks.ended(6), Some(process(6)));
        assert_eq!(tasks.told(6, || false), Birth::Ended);
        assert_eq!(tasks.ended(5), None);
        assert_eq!(tasks.told(5, || false), Birth::Ended);
    }

    #[test]
    fn nobody_is_waited_for_who_may_be_gone() {
        let mut tasks = Tasks::new(1);
        assert!(tasks.tells(1));
        assert!(!tasks.tells(2));
        tasks.lost();
        assert!(!tasks.tells(1));
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
        let second = Task {
            thread: 2,
            process: 1,
        };
        tasks.add(second, tasks.get(1));
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

    #[test]
    fn a_maker_waits_for_its_child_until_that_executes_or_ends() {
        let process = |thread| Task {
            thread,
            process: thread,
        };
        for executes in [true, false] {
            let mut tasks = Tasks::new(1);
            tasks.add(process(2), tasks.get(1));
            assert_eq!(tasks.waits_for(1), None);
            tasks.lends(1, 2);
            assert_eq!(tasks.waits_for(1), Some(2));
            if executes {
                tasks.executed(2, 2);
            } else {
                tasks.ended(2);
            }
            assert_eq!(tasks.waits_for(1), None);
            // Another one with that id.
            tasks.add(process(2), None);
            assert_eq!(tasks.waits_for(1), None);
        }
    }

    #[test]
    fn a_filter_is_inherited_and_goes_to_all_threads_at_once() {
        let mut tasks = Tasks::new(1);
        let of_first = |thread| Task { thread, process: 1 };
        for thread in [2, 3] {
            tasks.add(of_first(thread), Some(of_first(1)));
        }
        assert!(tasks.own_filter(2, false).is_empty());
        tasks.add(of_first(4), Some(of_first(2)));
        tasks.add(of_first(5), Some(of_first(1)));
        let mut stops = |thread| {
            tasks
                .state(thread)
                .is_some_and(|it| it.needs_syscall_stops())
        };
        assert_eq!(
            [1, 2, 3, 4, 5].map(&mut stops),
            [false, true, false, true, false]
        );
        assert_eq!(tasks.own_filter(3, true), [1, 5]);
        assert!(tasks.is_alone(Task {
            thread: 9,
            process: 9
        }));
        assert!(!tasks.is_alone(of_first(1)));
    }
}

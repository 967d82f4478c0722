//! The threads that are traced.

use std::collections::{BTreeMap, BTreeSet};

use crate::proc::Status;
use crate::sys;

/// How many children may wait for their parent's report; more are those whose
/// parent was killed in between, and may be forgotten.
const MAX_EARLY: usize = 1024;

#[derive(Debug, Clone, Copy)]
pub(super) struct Tracee {
    /// The thread group.
    pub(super) tgid: u32,
    /// It has installed a filter of its own, which may answer before ours.
    pub(super) own_filter: bool,
    /// It is in a call whose entry was seen.
    pub(super) entered: bool,
    /// A word of its memory to put back when the call is over.
    pub(super) restore: Option<(u64, u64)>,
}

impl Tracee {
    pub(super) const fn needs_syscall_stops(&self) -> bool {
        self.own_filter || self.restore.is_some()
    }
}

#[derive(Debug)]
pub(super) struct Tracees {
    threads: BTreeMap<u32, Tracee>,
    /// Threads that were seen, and may be gone again, before the report of
    /// the one that made them.
    early: BTreeSet<u32>,
    /// Thread groups with a SIGSYS under way that nobody handles.
    dying: BTreeSet<u32>,
    /// Whether any thread has installed a filter of its own.
    own_filters: bool,
}

impl Tracees {
    pub(super) fn new(root: u32) -> Self {
        let tracee = Tracee {
            tgid: root,
            own_filter: false,
            entered: false,
            restore: None,
        };
        Self {
            threads: BTreeMap::from([(root, tracee)]),
            early: BTreeSet::new(),
            dying: BTreeSet::new(),
            own_filters: false,
        }
    }

    /// The state of a stopped thread.
    pub(super) fn get(&mut self, tid: u32) -> &mut Tracee {
        let Self {
            threads,
            early,
            own_filters,
            ..
        } = self;
        threads.entry(tid).or_insert_with(|| {
            remember(early, tid);
            Tracee {
                tgid: group_of(tid),
                // Whether it has one cannot be told cheaply; to believe so
                // costs time only.
                own_filter: *own_filters,
                entered: false,
                restore: None,
            }
        })
    }

    /// Takes in a thread whose first stop this may be.
    pub(super) fn learn(&mut self, tid: u32) {
        self.get(tid);
    }

    /// A thread reports that it made another.
    pub(super) fn born(&mut self, child: u32, parent: u32) {
        if self.early.remove(&child) {
            return;
        }
        let parent = *self.get(parent);
        let tracee = Tracee {
            tgid: group_of(child),
            own_filter: parent.own_filter,
            entered: false,
            restore: None,
        };
        self.threads.insert(child, tracee);
    }

    /// A thread has executed a program: it has the process's id now, and the
    /// others are gone or about to report so.
    pub(super) fn executed(&mut self, tgid: u32, former: u32) {
        let tracee = *self.get(former);
        self.threads.remove(&former);
        self.early.remove(&former);
        let tracee = Tracee {
            tgid,
            restore: None,
            ..tracee
        };
        self.threads.insert(tgid, tracee);
    }

    /// A thread is gone.
    pub(super) fn ended(&mut self, tid: u32) {
        if self.threads.remove(&tid).is_none() {
            remember(&mut self.early, tid);
        } else {
            self.dying.remove(&tid);
        }
    }

    /// A thread installs a filter; with `everywhere` in every thread of its
    /// process. Returns those that must be stopped to be resumed otherwise.
    pub(super) fn own_filter(&mut self, tid: u32, everywhere: bool) -> Vec<u32> {
        self.own_filters = true;
        let tgid = self.get(tid).tgid;
        let mut others = Vec::new();
        for (&other, tracee) in &mut self.threads {
            if other == tid || (everywhere && tracee.tgid == tgid) {
                tracee.own_filter = true;
                if other != tid {
                    others.push(other);
                }
            }
        }
        others
    }

    /// The thread's process gets a SIGSYS that it does not handle.
    pub(super) fn dies_of_signal(&mut self, tid: u32) {
        let tgid = self.get(tid).tgid;
        self.dying.insert(tgid);
    }

    pub(super) fn dying_of_signal(&mut self, tid: u32) -> bool {
        let tgid = self.get(tid).tgid;
        self.dying.contains(&tgid)
    }

    /// Whether the thread is the only one of its process.
    pub(super) fn is_alone(&mut self, tid: u32) -> bool {
        let tgid = self.get(tid).tgid;
        !self
            .threads
            .iter()
            .any(|(&other, tracee)| other != tid && tracee.tgid == tgid)
    }

    /// Every process that has a traced thread.
    pub(super) fn processes(&self) -> BTreeSet<u32> {
        self.threads.values().map(|tracee| tracee.tgid).collect()
    }
}

fn remember(early: &mut BTreeSet<u32>, tid: u32) {
    if early.len() >= MAX_EARLY {
        early.clear();
    }
    early.insert(tid);
}

fn group_of(tid: u32) -> u32 {
    if sys::leads_group(tid) {
        return tid;
    }
    Status::of(tid)
        .and_then(|status| status.tgid)
        .unwrap_or(tid)
}

//! Whose event it was.

mod births;
mod clock;
mod held;
mod process;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::{Error, Event};
pub use births::{Birth, Births};
use held::Held;
pub use process::{ProcFs, Process, Processes};

/// The tree is looked through at most this often.
const REFRESH: Duration = Duration::from_millis(250);
/// How far a process's start time and a record's time may be off: a clock
/// tick of `/proc`, and one of the coarse clock that records use.
const TOLERANCE: Duration = Duration::from_millis(20);
/// How many processes are remembered before those are forgotten that matter
/// least.
const MAX_KNOWN: usize = 16 * 1024;
/// Records of a process that has ended come within this time.
const LATE: Duration = Duration::from_secs(2);
/// Deeper trees are not followed upwards.
const MAX_DEPTH: u32 = 256;

/// Whether an event is of the processes that are watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Belonging {
    /// It is.
    Ours,
    /// It is of another process.
    Other,
    /// It cannot be known, mostly because the process was gone too soon.
    Unattributed,
}

/// Which processes are watched.
#[derive(Debug)]
#[non_exhaustive]
#[allow(clippy::large_enum_variant, reason = "there is one a watch")]
pub enum Scope {
    /// Every process.
    All,
    /// Those of an audit session, dead ones too: exact. See
    /// [`enter_session`](crate::enter_session).
    Session(u32),
    /// Those of a target that somebody else has started.
    Target(Target),
}

impl Scope {
    /// Tells whether an event is within the scope.
    pub fn judge(&mut self, event: &Event) -> Belonging {
        match self {
            Self::All => Belonging::Ours,
            Self::Session(session) => match event.session {
                Some(of) if of == *session => Belonging::Ours,
                _ => Belonging::Other,
            },
            Self::Target(target) => target.judge(event),
        }
    }
}

/// What to watch; a process that matches any of the three is within.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    /// A process and its descendants.
    pub pid: Option<u32>,
    /// A cgroup v2 and those below, as a path from the hierarchy's root.
    pub cgroup: Option<PathBuf>,
    /// Also every process in the PID namespace of `pid`, unless that is this
    /// process's own: a container has one of its own.
    pub namespace: bool,
}

/// Processes that nucleus did not start, known by what `/proc` says.
///
/// A process id is a name that is used again: a process is known by its id
/// and start time, and a record that may be of an earlier or a later holder of
/// the id is [`Belonging::Unattributed`]. An event of a known process costs no
/// scan.
#[derive(Debug)]
pub struct Target {
    selection: Selection,
    root: Option<Process>,
    namespace: Option<u64>,
    processes: Box<dyn Processes>,
    known: BTreeMap<u32, Known>,
    refreshed: Option<SystemTime>,
    /// How many may be remembered now.
    room: usize,
    told: Option<Told>,
}

/// Every new process is told, so that no id changes hands unseen.
#[derive(Debug)]
struct Told {
    since: SystemTime,
    held: Held,
    /// Whether none was missed.
    all: bool,
}

#[derive(Debug)]
struct Known {
    process: Process,
    belonging: Belonging,
    /// When it was last seen to have its id.
    seen: SystemTime,
    /// Who else has had the id.
    former: Former,
}

/// Earlier holders of an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Former {
    /// There was none since the watch began.
    None,
    /// There was this one.
    Was(Belonging),
    /// There may have been any.
    Unknown,
}

impl Target {
    /// Starts with the processes that match now.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchProcess`] where the process to watch is not there.
    pub fn new(selection: Selection, processes: Box<dyn Processes>) -> Result<Self, Error> {
        let root = match selection.pid {
            Some(pid) => Some(processes.find(pid).ok_or(Error::NoSuchProcess { pid })?),
            None => None,
        };
        let of_root = root.as_ref().and_then(|root| root.pid_namespace);
        let own = processes.find(std::process::id());
        let own = own.and_then(|own| own.pid_namespace);
        // Where our own is unknown, the target's might be the host's.
        let foreign = own.is_some() && of_root != own;
        let namespace = of_root.filter(|_| selection.namespace && foreign);
        let mut target = Self {
            selection,
            root,
            namespace,
            processes,
            known: BTreeMap::new(),
            refreshed: None,
            room: MAX_KNOWN,
            told: None,
        };
        let now = target.processes.now();
        // What is made while the tree is looked through is told afterwards.
        if target.processes.born().is_some() {
            let mut held = Held::default();
            for pid in target.processes.all() {
                held.insert(pid);
            }
            let since = target.processes.now();
            target.told = Some(Told {
                since,
                held,
                all: true,
            });
        }
        target.refresh(now);
        Ok(target)
    }

    /// Whether the process to watch has ended; false where there is none.
    #[must_use]
    pub fn ended(&self) -> bool {
        let root = self.root.as_ref();
        root.is_some_and(|root| !self.processes.runs(root))
    }

    /// Takes in which processes were made. The kernel keeps some ten thousand
    /// for the reader; where nothing is judged for long, call this every second
    /// or so.
    pub fn keep_up(&mut self) {
        self.take_births();
    }

    fn judge(&mut self, event: &Event) -> Belonging {
        self.take_births();
        let now = self.processes.now();
        let time = event.time.unwrap_or(now);
        let since = self.told.as_ref().map(|told| told.since);
        if let Some(known) = self.known.get_mut(&event.pid) {
            // Nobody else can have made it, whatever the clocks say.
            if known.former == Former::None && since.is_some_and(|since| time >= since) {
                return known.belonging;
            }
            if time + TOLERANCE < known.process.started {
                return Belonging::Unattributed;
            }
            // Both holders may have made it.
            if let Former::Was(other) = known.former
                && other != known.belonging
                && time <= known.process.started + TOLERANCE
            {
                return Belonging::Unattributed;
            }
            if time <= known.seen {
                return known.belonging;
            }
            if self.processes.runs(&known.process) {
                known.seen = now;
                return known.belonging;
            }
            return self.judge_ended(event.pid, time, now);
        }
        self.refresh(now);
        if !self.known.contains_key(&event.pid) {
            let Some(process) = self.processes.find(event.pid) else {
                return Belonging::Unattributed;
            };
            self.learn(process, now);
        }
        match self.known.get(&event.pid) {
            Some(known) if time + TOLERANCE >= known.process.started => known.belonging,
            _ => Belonging::Unattributed,
        }
    }

    /// The holder of the id that is known has ended: is the event still its?
    fn judge_ended(&mut self, pid: u32, time: SystemTime, now: SystemTime) -> Belonging {
        let Some(known) = self.known.get_mut(&pid) else {
            return Belonging::Unattributed;
        };
        let before = known.belonging;
        match self.processes.find(pid) {
            Some(process) if process.start == known.process.start => {
                // Nobody has waited for it yet, so the id is still its own.
                known.seen = now;
                before
            }
            Some(successor) => {
                let started = successor.started;
                let after = self.learn(successor, now);
                if before == after || time > started + TOLERANCE {
                    after
                } else if time + TOLERANCE < started {
                    before
                } else {
                    Belonging::Unattributed
                }
            }
            None if self.told.is_some() => before,
            // No id comes round again so soon.
            None if time.duration_since(known.seen).unwrap_or_default() <= REFRESH => before,
            None => Belonging::Unattributed,
        }
    }

    /// Takes in what was made since: the children of members are members.
    fn take_births(&mut self) {
        let Some(told) = &mut self.told else {
            return;
        };
        let Some(taken) = self.processes.born() else {
            return;
        };
        if taken.missed {
            told.all = false;
            let processes = &self.processes;
            self.known.retain(|_, known| {
                known.former = Former::Unknown;
                processes.runs(&known.process)
            });
        }
        for birth in taken.births {
            self.take_birth(birth);
        }
    }

    fn take_birth(&mut self, birth: Birth) {
        let Birth {
            parent,
            child,
            time,
        } = birth;
        let first = match &mut self.told {
            Some(told) => told.held.insert(child) && told.all,
            None => false,
        };
        let holder = self.known.remove(&child);
        let parent = self.known.get(&parent);
        let ours = parent.is_some_and(|parent| parent.belonging == Belonging::Ours);
        // Others are looked at when they are heard of.
        if !ours && holder.is_none() {
            return;
        }
        let found = self.processes.find(child);
        // It may have been looked up before its birth was taken in.
        let start = found.as_ref().map(|found| found.start);
        let (same, former) = match holder {
            _ if first => (holder, Former::None),
            Some(holder) if start == Some(holder.process.start) => {
                let former = holder.former;
                (Some(holder), former)
            }
            Some(holder) => (None, Former::Was(holder.belonging)),
            None => (None, Former::Unknown),
        };
        let belonging = match (&same, &found) {
            _ if ours => Belonging::Ours,
            (Some(same), _) => same.belonging,
            _ if former != Former::Was(Belonging::Ours) => return,
            (None, Some(found)) => self.classify(found),
            (None, None) => Belonging::Unattributed,
        };
        let now = self.processes.now();
        let process = found
            .or(same.map(|same| same.process))
            .unwrap_or_else(|| Process::new(child, 0, time, birth.parent));
        self.remember(process, belonging, now, former);
    }

    /// Looks for members that no event has named yet, while their ancestry
    /// can still be seen.
    fn refresh(&mut self, now: SystemTime) {
        let age = self.refreshed.map(|last| now.duration_since(last));
        if age.is_some_and(|age| age.is_ok_and(|age| age < REFRESH)) {
            return;
        }
        self.refreshed = Some(now);
        // Known members count as roots too: orphans have children of their own.
        let ours = self.known.values();
        let ours = ours.filter(|known| known.belonging == Belonging::Ours);
        let ours = ours.map(|known| &known.process).chain(&self.root);
        let running = ours.filter(|process| self.processes.runs(process));
        let mut members: BTreeSet<u32> = running.map(|process| process.pid).collect();
        let mut unvisited: Vec<u32> = members.iter().copied().collect();
        while let Some(pid) = unvisited.pop() {
            for child in self.processes.children(pid) {
                if members.insert(child) {
                    unvisited.push(child);
                }
            }
        }
        if let Some(cgroup) = &self.selection.cgroup {
            members.extend(self.processes.in_cgroup(cgroup));
        }
        if self.namespace.is_some() {
            members.extend(self.processes.all());
        }
        for pid in members {
            let known = self.known.get(&pid);
            if known.is_some_and(|known| self.processes.runs(&known.process)) {
                continue;
            }
            if let Some(process) = self.processes.find(pid) {
                self.learn(process, now);
            }
        }
    }

    fn learn(&mut self, process: Process, now: SystemTime) -> Belonging {
        let (belonging, former) = match self.known.get(&process.pid) {
            Some(known) if known.process.start == process.start => match known.belonging {
                // Whose it was may not be seen any more.
                Belonging::Ours => (Belonging::Ours, known.former),
                _ => (self.classify(&process), known.former),
            },
            Some(known) => (self.classify(&process), Former::Was(known.belonging)),
            None => (self.classify(&process), Former::Unknown),
        };
        self.remember(process, belonging, now, former);
        belonging
    }

    fn remember(
        &mut self,
        process: Process,
        belonging: Belonging,
        seen: SystemTime,
        former: Former,
    ) {
        if self.known.len() >= self.room {
            let processes = &self.processes;
            self.known.retain(|_, known| {
                let age = seen.duration_since(known.seen).unwrap_or_default();
                known.belonging == Belonging::Ours
                    && (age <= LATE || processes.runs(&known.process))
            });
            // All that are left are needed; not to look at them each time.
            self.room = MAX_KNOWN.max(2 * self.known.len());
        }
        let known = Known {
            process,
            belonging,
            seen,
            former,
        };
        self.known.insert(known.process.pid, known);
    }

    fn classify(&self, process: &Process) -> Belonging {
        if self.namespace.is_some() && process.pid_namespace == self.namespace {
            return Belonging::Ours;
        }
        if let Some(cgroup) = &self.selection.cgroup
            && process
                .cgroup
                .as_ref()
                .is_some_and(|of| of.starts_with(cgroup))
        {
            return Belonging::Ours;
        }
        let Some(root) = &self.root else {
            return Belonging::Other;
        };
        if self.descends(process, root) {
            return Belonging::Ours;
        }
        // An orphan shows its reaper as parent, so ancestry cannot rule one
        // out. But none of the target's is older than it, and none leaves its
        // cgroup by itself; of one that is being reaped it cannot be read.
        let cgroups = process.cgroup.as_ref().zip(root.cgroup.as_ref());
        if process.start < root.start || cgroups.is_some_and(|(of, roots)| of != roots) {
            Belonging::Other
        } else {
            Belonging::Unattributed
        }
    }

    fn descends(&self, process: &Process, root: &Process) -> bool {
        let is_root = |process: &Process| process.pid == root.pid && process.start == root.start;
        if is_root(process) {
            return true;
        }
        let mut parent = process.parent;
        for _ in 0..MAX_DEPTH {
            if parent == 0 {
                return false;
            }
            if let Some(known) = self.known.get(&parent)
                && known.belonging == Belonging::Ours
                && self.processes.runs(&known.process)
            {
                return true;
            }
            let Some(ancestor) = self.processes.find(parent) else {
                return false;
            };
            if is_root(&ancestor) {
                return true;
            }
            parent = ancestor.parent;
        }
        false
    }
}

//! How much memory the program may claim.

use std::collections::BTreeMap;

use super::claim::{Claims, Growth};
use super::spaces::{Heap, Key, Spaces};
use super::{figures, trap_claims, trap_forks};
use crate::callback::{Context, Power};
use crate::{
    Denial, Enforced, Enforcer, Errno, Guard, Task, TracedCall, TrapError, Traps, Verdict,
};

/// What becomes of a claim beyond the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenFull {
    /// It fails with ENOMEM.
    #[default]
    Refuse,
    /// The process is killed, as by the kernel for a cgroup's limit.
    Kill,
}

/// Limits the memory that all processes can write to, by the growth of their
/// address spaces.
///
/// Each call that makes memory writable is counted before it is made, and the
/// sum is never less than what the kernel counts; when it reaches the limit it
/// is put right by the kernel's figures, for what was given back is not
/// trapped. Memory counts when it is claimed, touched or not, and again for
/// each process that has a copy. Not counted: the growth of stacks, which
/// `RLIMIT_STACK` bounds, the page cache, files in a tmpfs.
#[derive(Debug)]
pub struct MemoryLimit {
    limit: u64,
    option: String,
    when_full: WhenFull,
    tightened: Context,
    claims: Claims,
    spaces: Spaces,
    /// Claims that were let go and may not be in the kernel's figures yet.
    under_way: BTreeMap<u32, Claim>,
    /// Forks that were let go: what the child will count for.
    forks: BTreeMap<u32, (u64, bool)>,
    /// Shared anonymous memory.
    shared: u64,
    /// Threads that were let map a file to share, and their processes.
    mapping: BTreeMap<u32, u32>,
    /// System V segments. They outlive their makers, up to the end.
    segments: u64,
    denied: u64,
}

#[derive(Debug, Clone, Copy)]
struct Claim {
    call: u32,
    /// `None` of what several may share.
    space: Option<Key>,
    bytes: u64,
}

impl MemoryLimit {
    /// At most so many bytes; `option` is what the user asked for, for the
    /// report.
    #[must_use]
    pub fn new(limit: u64, option: String, when_full: WhenFull) -> Self {
        Self {
            limit,
            option,
            when_full,
            tightened: Context::default(),
            claims: Claims::new(),
            spaces: Spaces::default(),
            under_way: BTreeMap::new(),
            forks: BTreeMap::new(),
            shared: 0,
            mapping: BTreeMap::new(),
            segments: 0,
            denied: 0,
        }
    }

    /// At most what a callback allows, if that is less.
    #[must_use]
    pub fn tightened_by(mut self, context: &Context) -> Self {
        context.enforces(Power::Memory);
        self.tightened = context.clone();
        self
    }

    fn most(&self) -> u64 {
        self.limit.min(self.tightened.memory())
    }

    /// What is counted, in bytes.
    #[must_use]
    pub fn used(&self) -> u64 {
        let forks = self.forks.values().map(|&(bytes, _)| bytes);
        let spaces = self.spaces.bytes();
        spaces
            .chain(forks)
            .fold(self.shared + self.segments, u64::saturating_add)
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
        self.under_way
            .retain(|&thread, claim| !figures::waits_elsewhere(thread, claim.call));
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
        self.forks.remove(&thread);
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
            self.denied += 1;
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
        let bytes = match growth {
            Growth::Fork { bytes, shares } => {
                self.forks.insert(thread, (bytes, shares));
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
                    space.bytes += bytes;
                }
                bytes
            }
            Growth::Private(bytes) => {
                if let Some(space) = self.spaces.of_mut(process) {
                    space.bytes += bytes;
                }
                bytes
            }
            Growth::Shared(bytes) => {
                self.shared += bytes;
                let claim = Claim {
                    call: call.data.nr,
                    space: None,
                    bytes,
                };
                self.under_way.insert(thread, claim);
                return Verdict::GoAndTell;
            }
        };
        let claim = Claim {
            call: call.data.nr,
            space,
            bytes,
        };
        self.under_way.insert(thread, claim);
        // For a small one the second stop costs more than to count it twice
        // where the figures are taken at that very moment.
        if bytes > self.limit / 256 {
            Verdict::GoAndTell
        } else {
            Verdict::Go
        }
    }

    fn refuse(&mut self, growth: Growth) -> Verdict {
        self.denied += 1;
        match (self.when_full, growth) {
            (WhenFull::Kill, _) => Verdict::Kill,
            // brk(2) of the kernel fails by returning the end as it is.
            (_, Growth::Heap { before, .. }) => Verdict::Value(before.end.cast_signed()),
            _ => Verdict::Errno(Errno::NOMEM),
        }
    }
}

impl Guard for MemoryLimit {
    fn enforced(&self) -> Vec<Enforced> {
        vec![Enforced {
            rule: self.option.clone(),
            by: Enforcer::Tracer,
        }]
    }

    fn trap(&self, traps: &mut Traps) -> Result<(), TrapError> {
        trap_forks(traps)?;
        trap_claims(traps)
    }

    fn enter(&mut self, call: &TracedCall) -> Verdict {
        self.under_way.remove(&call.task.thread);
        let growth = self.claims.of(call, &self.spaces);
        let bytes = match growth {
            Some(Growth::Private(bytes) | Growth::Shared(bytes) | Growth::Segment(bytes)) => bytes,
            Some(Growth::Heap { bytes, .. } | Growth::Fork { bytes, .. }) => bytes,
            Some(Growth::File) => 0,
            None => return Verdict::Go,
        };
        match growth {
            Some(growth) if bytes == 0 || self.fits(bytes) => self.grant(call, growth),
            Some(growth) => self.refuse(growth),
            None => Verdict::Go,
        }
    }

    fn over(&mut self, thread: u32) {
        let mapped = self.mapping.get(&thread).copied();
        self.gone(thread);
        if let Some(process) = mapped {
            self.look_again(process);
        }
    }

    fn born(&mut self, child: Task, parent: Option<Task>) {
        if !child.leads() {
            return;
        }
        let fork = parent.and_then(|parent| Some((parent, self.forks.remove(&parent.thread)?)));
        match fork {
            Some((parent, (_, true))) => self.spaces.share(child.process, parent.process),
            Some((parent, (bytes, false))) => {
                let heap = self.spaces.get(parent.process).and_then(|space| space.heap);
                self.spaces.add(child.process, bytes, heap);
            }
            None => {
                let bytes = figures::writable(child.process).unwrap_or(0);
                self.spaces.add(child.process, bytes, None);
            }
        }
    }

    fn executed(&mut self, process: u32, former: u32) -> bool {
        self.gone(former);
        let bytes = figures::writable(process).unwrap_or(0);
        self.spaces.add(process, bytes, None);
        // The kernel has mapped the program without a call to refuse.
        let fits = self.fits(0);
        self.denied += u64::from(!fits);
        fits
    }

    fn ended(&mut self, task: Task) {
        self.gone(task.thread);
        if task.leads() {
            self.spaces.leave(task.process);
            if self.spaces.is_empty() {
                self.shared = 0;
            }
        }
    }

    fn denial(&mut self) -> Option<Denial> {
        Some(Denial {
            what: "claim memory".to_owned(),
            why: format!("more than {} would be claimed", self.option),
            remedy: Some(format!("raise {}", self.option)),
        })
    }

    fn report(&self) -> Vec<String> {
        let mut sentences = Vec::new();
        if self.denied > 0 {
            let what = match self.when_full {
                WhenFull::Refuse => "claims of memory refused",
                WhenFull::Kill => "processes killed for memory",
            };
            sentences.push(format!("{} {what} at {}", self.denied, self.option));
        }
        sentences
    }
}

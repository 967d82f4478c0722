//! How much memory the program may claim.

use std::collections::BTreeMap;

use super::figures;
use super::{Fork, bits, everywhere, trap_forks};
use crate::callback::{Context, Power};
use crate::{
    Denial, Enforced, Enforcer, Errno, Guard, Refusal, Task, TracedCall, TrapError, Traps, Verdict,
    When,
};

const PROT_WRITE: u32 = 2;
const MAP_SHARED: u32 = 1;
const MAP_PRIVATE: u32 = 2;
const MAP_SHARED_VALIDATE: u32 = 3;
const MAP_TYPE: u32 = 0xf;
/// Of memory that the kernel may drop (6.11).
const MAP_DROPPABLE: u32 = 8;
const MAP_ANONYMOUS: u32 = 0x20;
const MAP_GROWSDOWN: u32 = 0x100;
const MREMAP_DONTUNMAP: u32 = 4;

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
    space: u64,
    bytes: u64,
}

/// Address spaces; a child of vfork(2) shares its parent's.
#[derive(Debug, Default)]
struct Spaces {
    of: BTreeMap<u32, u64>,
    by_key: BTreeMap<u64, Space>,
    last_key: u64,
}

#[derive(Debug, Clone, Copy)]
struct Space {
    users: u32,
    bytes: u64,
    /// Where the heap begins and ends, once it was asked to move.
    heap: Option<Heap>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Heap {
    start: u64,
    end: u64,
}

/// What a call claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Growth {
    Private(u64),
    Shared(u64),
    /// A file, as it seems.
    File,
    Segment(u64),
    Heap {
        bytes: u64,
        before: Heap,
        end: u64,
    },
    Fork {
        bytes: u64,
        shares: bool,
    },
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
        let spaces = self.spaces.by_key.values().map(|space| space.bytes);
        let forks = self.forks.values().map(|&(bytes, _)| bytes);
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
        for (&process, key) in &self.spaces.of {
            if let (Some(space), Some(bytes)) =
                (self.spaces.by_key.get_mut(key), figures::writable(process))
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
            match self.spaces.by_key.get_mut(&claim.space) {
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

    fn growth(&self, call: &TracedCall) -> Option<Growth> {
        let args = call.data.args;
        if let Some(Fork { shares_memory }) = Fork::of(call) {
            let bytes = match shares_memory {
                true => 0,
                false => self.spaces.get(call.task.process)?.bytes,
            };
            return Some(Growth::Fork {
                bytes,
                shares: shares_memory,
            });
        }
        let private = |bytes| Growth::Private(figures::whole_pages(bytes));
        Some(match call.data.syscall()?.name()? {
            "mmap" | "mmap2"
                if matches!(call.int(3) & MAP_TYPE, MAP_SHARED | MAP_SHARED_VALIDATE) =>
            {
                let is_file = call.int(3) & MAP_ANONYMOUS == 0
                    && !figures::is_zero_device(call.task.thread, call.int(4));
                match is_file {
                    true => Growth::File,
                    false => Growth::Shared(figures::whole_pages(args[1])),
                }
            }
            "mmap" | "mmap2" | "mprotect" | "pkey_mprotect" => private(args[1]),
            // The old one stays, and is filled anew.
            "mremap" if call.int(3) & MREMAP_DONTUNMAP != 0 => private(args[2]),
            "mremap" => private(args[2].saturating_sub(args[1])),
            "shmget" => Growth::Segment(figures::whole_pages(args[1])),
            "brk" => {
                let before = match self.spaces.get(call.task.process)?.heap {
                    Some(heap) => heap,
                    None => {
                        let start = figures::heap_start(call.task.process)?;
                        Heap { start, end: start }
                    }
                };
                // The kernel moves nothing below the start.
                let end = args[0].max(before.start);
                Growth::Heap {
                    bytes: figures::whole_pages(end.saturating_sub(before.end)),
                    before,
                    end,
                }
            }
            _ => return None,
        })
    }

    fn grant(&mut self, call: &TracedCall, growth: Growth) -> Verdict {
        let Task { thread, process } = call.task;
        let space = self.spaces.of.get(&process).copied().unwrap_or(0);
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
                if let Some(space) = self.spaces.by_key.get_mut(&space) {
                    space.heap = Some(Heap { end, ..before });
                    space.bytes += bytes;
                }
                bytes
            }
            Growth::Private(bytes) => {
                if let Some(space) = self.spaces.by_key.get_mut(&space) {
                    space.bytes += bytes;
                }
                bytes
            }
            Growth::Shared(bytes) => {
                self.shared += bytes;
                let claim = Claim {
                    call: call.data.nr,
                    space: 0,
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

impl Spaces {
    fn get(&self, process: u32) -> Option<&Space> {
        self.by_key.get(self.of.get(&process)?)
    }

    fn add(&mut self, process: u32, bytes: u64, heap: Option<Heap>) {
        self.leave(process);
        self.last_key += 1;
        self.of.insert(process, self.last_key);
        let space = Space {
            users: 1,
            bytes,
            heap,
        };
        self.by_key.insert(self.last_key, space);
    }

    fn share(&mut self, process: u32, with: u32) {
        if let Some(&key) = self.of.get(&with)
            && let Some(space) = self.by_key.get_mut(&key)
        {
            space.users += 1;
            self.of.insert(process, key);
        }
    }

    fn leave(&mut self, process: u32) {
        let Some(key) = self.of.remove(&process) else {
            return;
        };
        if let Some(space) = self.by_key.get_mut(&key) {
            space.users -= 1;
            if space.users == 0 {
                self.by_key.remove(&key);
            }
        }
    }
}

/// Traps whatever makes memory writable, and refuses what does so unseen.
pub(crate) fn trap_claims(traps: &mut Traps) -> Result<(), TrapError> {
    let map = || {
        let private = vec![
            bits(2, PROT_WRITE, PROT_WRITE),
            bits(3, MAP_TYPE, MAP_PRIVATE),
        ];
        // Of files, too: /dev/zero is one.
        let kinds = [MAP_SHARED, MAP_SHARED_VALIDATE, MAP_DROPPABLE];
        let others = kinds.map(|kind| vec![bits(3, MAP_TYPE, kind)]);
        When::Any([private].into_iter().chain(others).collect())
    };
    // What grows by being touched would grow unseen. Stacks are made without.
    let grows = When::test(bits(3, MAP_GROWSDOWN, MAP_GROWSDOWN));
    for call in everywhere("mmap").chain(everywhere("mmap2")) {
        if call.arch() == nucleus_seccomp::Arch::I386 && call.name() == Some("mmap") {
            // Its arguments are behind a pointer; libc uses mmap2.
            traps.refuse(call, Refusal::Of(When::Always, Errno::NOSYS))?;
        } else {
            let refusal = Refusal::Of(grows.clone(), Errno::OPNOTSUPP);
            traps.refuse(call, refusal)?;
            traps.add(call, map())?;
        }
    }
    for call in everywhere("mprotect").chain(everywhere("pkey_mprotect")) {
        traps.add(call, When::test(bits(2, PROT_WRITE, PROT_WRITE)))?;
    }
    for call in everywhere("mremap").chain(everywhere("shmget")) {
        traps.add(call, When::Always)?;
    }
    for call in everywhere("brk") {
        let moves = crate::ArgTest::LongNot { index: 0, value: 0 };
        traps.add(call, When::test(moves))?;
    }
    // Writing to such a file claims memory unseen; libraries fall back to a
    // file in /tmp or /dev/shm. i386's ipc(2) multiplexes shmget.
    for name in ["memfd_create", "memfd_secret", "ipc"] {
        for call in everywhere(name) {
            traps.refuse(call, Refusal::Of(When::Always, Errno::NOSYS))?;
        }
    }
    Ok(())
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
        let growth = self.growth(call);
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
            if self.spaces.of.is_empty() {
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

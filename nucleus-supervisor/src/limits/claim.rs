//! Calls that make memory writable, and how much.

use nucleus_seccomp::Arch;

use super::spaces::{Heap, Spaces};
use super::{Fork, bits, everywhere, figures};
use crate::{Errno, Refusal, TracedCall, TrapError, Traps, When};

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

/// What a call claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Growth {
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

/// Kinds of calls that claim memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Map,
    Protect,
    Move,
    Segment,
    Heap,
    Fork,
}

const KINDS: [(&str, Kind); 10] = [
    ("mmap", Kind::Map),
    ("mmap2", Kind::Map),
    ("mprotect", Kind::Protect),
    ("pkey_mprotect", Kind::Protect),
    ("mremap", Kind::Move),
    ("shmget", Kind::Segment),
    ("brk", Kind::Heap),
    ("fork", Kind::Fork),
    ("vfork", Kind::Fork),
    ("clone", Kind::Fork),
];

/// Those calls of every architecture, sorted by architecture and number: their
/// names are not looked for at each claim.
#[derive(Debug)]
pub(super) struct Claims(Vec<((u32, u32), Kind)>);

impl Claims {
    pub(super) fn new() -> Self {
        let mut calls: Vec<_> = KINDS
            .into_iter()
            .flat_map(|(name, kind)| {
                everywhere(name).map(move |call| ((call.arch().audit(), call.number()), kind))
            })
            .collect();
        calls.sort_unstable_by_key(|&(call, _)| call);
        Self(calls)
    }

    fn kind(&self, call: &TracedCall) -> Option<Kind> {
        let key = (call.data.arch, call.data.nr);
        let index = self.0.binary_search_by_key(&key, |it| it.0).ok()?;
        self.0.get(index).map(|it| it.1)
    }

    /// What a call claims; `None` for one that claims nothing.
    pub(super) fn of(&self, call: &TracedCall, spaces: &Spaces) -> Option<Growth> {
        let args = call.data.args;
        let private = |bytes| Growth::Private(figures::whole_pages(bytes));
        Some(match self.kind(call)? {
            Kind::Fork => {
                let Fork { shares_memory } = Fork::of(call)?;
                let bytes = match shares_memory {
                    true => 0,
                    false => spaces.get(call.task.process)?.bytes,
                };
                Growth::Fork {
                    bytes,
                    shares: shares_memory,
                }
            }
            Kind::Map if matches!(call.int(3) & MAP_TYPE, MAP_SHARED | MAP_SHARED_VALIDATE) => {
                let is_file = call.int(3) & MAP_ANONYMOUS == 0
                    && !figures::is_zero_device(call.task.thread, call.int(4));
                match is_file {
                    true => Growth::File,
                    false => Growth::Shared(figures::whole_pages(args[1])),
                }
            }
            Kind::Map | Kind::Protect => private(args[1]),
            // The old one stays, and is filled anew.
            Kind::Move if call.int(3) & MREMAP_DONTUNMAP != 0 => private(args[2]),
            Kind::Move => private(args[2].saturating_sub(args[1])),
            Kind::Segment => Growth::Segment(figures::whole_pages(args[1])),
            Kind::Heap => {
                let before = match spaces.get(call.task.process)?.heap {
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
        })
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
        if call.arch() == Arch::I386 && call.name() == Some("mmap") {
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

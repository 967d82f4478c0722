//! Calls that make memory writable, and how much.

use nucleus_seccomp::{Arch, Syscall};
use nucleus_tracer::CAN_RESTART;

use super::spaces::{Heap, Spaces};
use super::{Fork, bits, everywhere, figures};
use crate::{ArgTest, Errno, Refusal, TracedCall, TrapError, Traps, When};

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
                let end = match args[0] < before.start {
                    true => before.end,
                    false => args[0],
                };
                Growth::Heap {
                    bytes: figures::whole_pages(end.saturating_sub(before.end)),
                    before,
                    end,
                }
            }
        })
    }
}

/// Claims of memory of one's own that a listener may judge: whose sizes are
/// small, and arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Small {
    most: u64,
}

impl Small {
    /// The largest under a limit. For one that is larger, a second stop costs
    /// less than to count it twice where the figures are taken at the moment
    /// when it is made.
    pub(super) const fn most(limit: u64) -> u64 {
        limit / 256
    }

    /// Those under a limit; `None` where there are none, or where a call that a
    /// signal interrupts cannot be made again: it would fail with EINTR in
    /// programs whose handlers lack `SA_RESTART`.
    pub(super) fn under(limit: u64) -> Option<Self> {
        let most = figures::pages_within(Self::most(limit));
        (CAN_RESTART && most > 0).then_some(Self { most })
    }

    /// What is left to the listener: calls of this machine's own architecture.
    pub(super) fn calls(self) -> impl Iterator<Item = (Syscall, When)> {
        let calls = [
            ("mmap", private_map()),
            ("mprotect", protect()),
            ("pkey_mprotect", protect()),
        ];
        calls.into_iter().filter_map(move |(name, mut tests)| {
            let call = Syscall::by_name(Arch::native()?, name)?;
            tests.push(ArgTest::LongAtMost {
                index: 1,
                value: self.most,
            });
            Some((call, When::Any(vec![tests])))
        })
    }

    /// What the filter must refuse before it asks the listener.
    pub(super) fn refusals(self) -> impl Iterator<Item = (Syscall, Refusal)> {
        let call = Arch::native().and_then(|arch| Syscall::by_name(arch, "mmap"));
        call.into_iter().map(|call| (call, grows_unseen()))
    }

    pub(super) fn trap(self, traps: &mut Traps) -> Result<(), TrapError> {
        self.calls()
            .try_for_each(|(call, when)| traps.add(call, when))
    }

    /// What the tests of a call with these are that leave the small ones out.
    fn but(small: Option<Self>, call: Syscall, mut tests: Vec<ArgTest>) -> Vec<ArgTest> {
        if let Some(Self { most }) = small
            && Arch::native() == Some(call.arch())
        {
            tests.push(ArgTest::LongAbove {
                index: 1,
                value: most,
            });
        }
        tests
    }
}

/// Of a writable private mapping.
fn private_map() -> Vec<ArgTest> {
    vec![
        bits(2, PROT_WRITE, PROT_WRITE),
        bits(3, MAP_TYPE, MAP_PRIVATE),
    ]
}

/// Of making memory writable.
fn protect() -> Vec<ArgTest> {
    vec![bits(2, PROT_WRITE, PROT_WRITE)]
}

/// What grows by being touched would grow unseen. Stacks are made without.
fn grows_unseen() -> Refusal {
    let grows = When::test(bits(3, MAP_GROWSDOWN, MAP_GROWSDOWN));
    Refusal::Of(grows, Errno::OPNOTSUPP)
}

/// Traps whatever makes memory writable, but for small claims that are left to
/// a listener, and refuses what does so unseen.
pub(crate) fn trap_claims(traps: &mut Traps, but: Option<Small>) -> Result<(), TrapError> {
    let map = |call| {
        // Of files, too: /dev/zero is one.
        let kinds = [MAP_SHARED, MAP_SHARED_VALIDATE, MAP_DROPPABLE];
        let others = kinds.map(|kind| vec![bits(3, MAP_TYPE, kind)]);
        let private = Small::but(but, call, private_map());
        When::Any([private].into_iter().chain(others).collect())
    };
    for call in everywhere("mmap").chain(everywhere("mmap2")) {
        if call.arch() == Arch::I386 && call.name() == Some("mmap") {
            // Its arguments are behind a pointer; libc uses mmap2.
            traps.refuse(call, Refusal::Of(When::Always, Errno::NOSYS))?;
        } else {
            traps.refuse(call, grows_unseen())?;
            traps.add(call, map(call))?;
        }
    }
    for call in everywhere("mprotect").chain(everywhere("pkey_mprotect")) {
        let tests = Small::but(but, call, protect());
        traps.add(call, When::Any(vec![tests]))?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use nucleus_seccomp::{Action, SeccompData};

    const LIMIT: u64 = 1 << 30;
    const MOST: u64 = LIMIT / 256;

    /// What is asked about a call, with the small ones left to a listener.
    fn shared(name: &str, args: [u64; 6]) -> Action {
        let (mut listened, mut traced) = (Traps::new(), Traps::for_tracer());
        let small = Small::under(LIMIT);
        if let Some(small) = small {
            small.trap(&mut listened).expect("valid");
            for (call, refusal) in small.refusals() {
                listened.refuse(call, refusal).expect("valid");
            }
        }
        trap_claims(&mut traced, small).expect("valid");
        assert_eq!(listened.in_common(&traced), None);
        let program = listened.program().and_then(|it| traced.join(&it));
        let arch = Arch::native().expect("a table");
        let call = Syscall::by_name(arch, name).expect("in the table");
        let data = SeccompData {
            nr: call.number(),
            arch: call.arch().audit(),
            instruction_pointer: 0,
            args,
        };
        program.expect("loads").run(&data).action
    }

    #[test]
    fn each_claim_has_one_judge() {
        let traced = Action::Trace(nucleus_tracer::ASK);
        let listened = if CAN_RESTART { Action::Notify } else { traced };
        let check = |name, args, expected| {
            assert_eq!(shared(name, args), expected, "{name} {args:x?}");
        };
        let map = |length, prot, flags| [0, length, prot, flags, 0, 0];
        check("mmap", map(4096, 3, 0x22), listened);
        check("mmap", map(MOST, 2, 0x4002), listened);
        check("mmap", map(MOST + 1, 3, 0x22), traced);
        check("mmap", map(1 << 32, 3, 0x22), traced);
        check("mmap", map(u64::MAX, 3, 0x22), traced);
        check("mmap", map(4096, 1, 0x22), Action::Allow);
        for kind in [1, 3, 8] {
            check("mmap", map(4096, 3, kind), traced);
        }
        // It would grow unseen, whoever is asked about its size.
        let refused = Action::Errno(95);
        check("mmap", map(4096, 3, 0x122), refused);
        check("mmap", map(MOST + 1, 3, 0x122), refused);
        for name in ["mprotect", "pkey_mprotect"] {
            check(name, [0, 4096, 3, 0, 0, 0], listened);
            check(name, [0, MOST + 1, 2, 0, 0, 0], traced);
            check(name, [0, 4096, 1, 0, 0, 0], Action::Allow);
        }
        check("mremap", [0, 4096, 8192, 1, 0, 0], traced);
        check("brk", [4096, 0, 0, 0, 0, 0], traced);
    }

    #[test]
    fn a_limit_of_less_than_a_small_page_has_no_small_claims() {
        assert_eq!(Small::under(256 * 1024), None);
    }
}

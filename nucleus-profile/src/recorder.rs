//! Counting calls while a program runs.

use std::collections::{BTreeMap, BTreeSet};

use nucleus_seccomp::{Arch, Completeness, SeccompData, Syscall, X32_SYSCALL_BIT};

use crate::arguments::{self, Selection};
use crate::{Arguments, Call, Combinations, Origin, Trace};

/// Numbers below this are counted in an array. The tables of every
/// architecture end below it, and calls are numbered alike since 2019.
const TABLE_LEN: usize = 512;

/// How many numbers beyond the table are told apart. Only a program that
/// calls numbers at random has more; its trace must not fill the memory.
const MOST_STRANGE: usize = 1024;

/// Counts system calls: about as cheap as an array access, no allocation per
/// call, memory bounded by what the architectures offer.
///
/// ```
/// use nucleus_profile::{Origin, Recorder};
/// use nucleus_seccomp::{Arch, Completeness, SeccompData, Syscall};
///
/// let mut recorder = Recorder::new();
/// let data = SeccompData { nr: 39, arch: Arch::X86_64.audit(), ..SeccompData::default() };
/// recorder.record(&data);
/// recorder.record(&data);
/// let trace = recorder.finish(Origin::here("ptrace", vec!["true".into()]), Completeness::Complete);
/// assert_eq!(trace.calls()[&Syscall::new(Arch::X86_64, 39)].count, 2);
/// ```
#[derive(Debug, Default)]
pub struct Recorder {
    tables: [Option<Box<[Slot]>>; Arch::ALL.len()],
    strange: BTreeMap<Syscall, Slot>,
    unplaced: Unplaced,
    total: u64,
}

#[derive(Debug, Clone, Default)]
struct Slot {
    count: u64,
    selection: Selection,
    arguments: Arguments,
}

/// Calls that there is no place for in a trace.
#[derive(Debug, Default)]
struct Unplaced {
    calls: u64,
    archs: BTreeSet<u32>,
    numbers: bool,
}

impl Recorder {
    /// Nothing recorded yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many calls were recorded, with those that had no place.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// Counts a call and remembers its arguments.
    #[inline]
    pub fn record(&mut self, data: &SeccompData) {
        self.count(data.arch, data.nr, Some(&data.args));
    }

    /// Counts a call whose arguments the source cannot see.
    #[inline]
    pub fn record_without_arguments(&mut self, audit_arch: u32, nr: u32) {
        self.count(audit_arch, nr, None);
    }

    #[inline]
    fn count(&mut self, audit_arch: u32, nr: u32, args: Option<&[u64; 6]>) {
        self.total = self.total.saturating_add(1);
        let Some(arch) = Arch::of(audit_arch, nr) else {
            self.unplaced.calls += 1;
            // An architecture is the kernel's, not the program's, to choose:
            // a machine has three at most.
            self.unplaced.archs.insert(audit_arch);
            return;
        };
        let index = if matches!(arch, Arch::X32) {
            nr & !X32_SYSCALL_BIT
        } else {
            nr
        };
        let slot = match usize::try_from(index) {
            Ok(index) if index < TABLE_LEN => {
                let table = self.tables[arch as usize]
                    .get_or_insert_with(|| vec![Slot::default(); TABLE_LEN].into_boxed_slice());
                &mut table[index]
            }
            _ => {
                let room = self.strange.len() < MOST_STRANGE;
                match self.strange.entry(Syscall::new(arch, nr)) {
                    std::collections::btree_map::Entry::Occupied(slot) => slot.into_mut(),
                    std::collections::btree_map::Entry::Vacant(place) if room => {
                        place.insert(Slot::default())
                    }
                    std::collections::btree_map::Entry::Vacant(_) => {
                        self.unplaced.calls += 1;
                        self.unplaced.numbers = true;
                        return;
                    }
                }
            }
        };
        slot.add(Syscall::new(arch, nr), args);
    }

    /// The trace of what was recorded. Calls that had no place in it make it
    /// incomplete.
    #[must_use]
    pub fn finish(self, origin: Origin, mut completeness: Completeness) -> Trace {
        let Unplaced {
            calls,
            archs,
            numbers,
        } = self.unplaced;
        if !archs.is_empty() {
            let archs: Vec<String> = archs.iter().map(|arch| format!("{arch:#x}")).collect();
            completeness.lose(
                Some(if numbers { 0 } else { calls }),
                format!(
                    "calls of an architecture that nucleus has no table for (AUDIT_ARCH {})",
                    archs.join(", ")
                ),
            );
        }
        if numbers {
            completeness.lose(
                Some(calls),
                format!("calls of more than {MOST_STRANGE} numbers that no table holds"),
            );
        }
        let tables = self
            .tables
            .into_iter()
            .zip(Arch::ALL)
            .filter_map(|(table, arch)| table.map(|table| (table, arch)));
        let mut calls = BTreeMap::new();
        for (table, arch) in tables {
            let bit = if matches!(arch, Arch::X32) {
                X32_SYSCALL_BIT
            } else {
                0
            };
            for (slot, nr) in table.into_vec().into_iter().zip(0_u32..) {
                if slot.count > 0 {
                    calls.insert(Syscall::new(arch, nr | bit), slot.into());
                }
            }
        }
        calls.extend(
            self.strange
                .into_iter()
                .map(|(syscall, slot)| (syscall, slot.into())),
        );
        Trace {
            calls,
            origin,
            completeness,
        }
    }
}

impl Slot {
    #[inline]
    fn add(&mut self, syscall: Syscall, args: Option<&[u64; 6]>) {
        let first = self.count == 0;
        self.count += 1;
        if first {
            self.selection = syscall.name().map_or(&[], arguments::selection);
        }
        if !self.selection.is_empty() {
            self.remember(first, args);
        }
    }

    fn remember(&mut self, first: bool, args: Option<&[u64; 6]>) {
        let Some(args) = args else {
            self.arguments = Arguments::Unknown;
            return;
        };
        let row = arguments::row(self.selection, args);
        match &mut self.arguments {
            Arguments::Unknown if first => {
                self.arguments = Arguments::Seen(Combinations::first(self.selection, row));
            }
            Arguments::Unknown | Arguments::TooMany => {}
            Arguments::Seen(seen) => {
                if !seen.add(row) {
                    self.arguments = Arguments::TooMany;
                }
            }
        }
    }
}

impl From<Slot> for Call {
    fn from(slot: Slot) -> Self {
        let mut arguments = slot.arguments;
        if let Arguments::Seen(seen) = &mut arguments {
            seen.sort();
        }
        Self {
            count: slot.count,
            arguments,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const X86_64: u32 = Arch::X86_64.audit();

    fn call(arch: u32, nr: u32, args: [u64; 6]) -> SeccompData {
        SeccompData {
            nr,
            arch,
            instruction_pointer: 0,
            args,
        }
    }

    fn finish(recorder: Recorder) -> Trace {
        recorder.finish(Origin::default(), Completeness::Complete)
    }

    #[test]
    fn architectures_are_told_apart() {
        let mut recorder = Recorder::new();
        recorder.record(&call(X86_64, 1, [0; 6]));
        recorder.record(&call(X86_64, 1 | X32_SYSCALL_BIT, [0; 6]));
        recorder.record(&call(X86_64, 1 | X32_SYSCALL_BIT, [0; 6]));
        recorder.record(&call(Arch::I386.audit(), 1, [0; 6]));
        let trace = finish(recorder);
        let counts: Vec<_> = trace
            .calls()
            .iter()
            .map(|(syscall, call)| (syscall.arch(), syscall.number(), call.count))
            .collect();
        assert_eq!(
            counts,
            [
                (Arch::X86_64, 1, 1),
                (Arch::X32, 1 | X32_SYSCALL_BIT, 2),
                (Arch::I386, 1, 1)
            ]
        );
        assert!(trace.completeness().is_complete());
    }

    #[test]
    fn an_unknown_architecture_makes_the_trace_incomplete() {
        let mut recorder = Recorder::new();
        recorder.record(&call(0x8000_0016, 4, [0; 6]));
        recorder.record(&call(0x8000_0016, 5, [0; 6]));
        let trace = finish(recorder);
        assert!(trace.calls().is_empty());
        let Completeness::Incomplete { lost, why } = trace.completeness() else {
            panic!("{trace:?}");
        };
        assert_eq!(*lost, Some(2));
        assert!(why[0].contains("0x80000016"), "{why:?}");
    }

    #[test]
    fn numbers_at_random_do_not_fill_the_memory() {
        let mut recorder = Recorder::new();
        for nr in 0..100_000 {
            recorder.record(&call(X86_64, nr, [0; 6]));
        }
        let trace = finish(recorder);
        assert_eq!(trace.calls().len(), TABLE_LEN + MOST_STRANGE);
        let Completeness::Incomplete { lost, .. } = trace.completeness() else {
            panic!("{trace:?}");
        };
        assert_eq!(*lost, Some(100_000 - (TABLE_LEN + MOST_STRANGE) as u64));
    }

    #[test]
    fn arguments_are_distinct_sorted_and_bounded() {
        const SOCKET: u32 = 41;
        const IOCTL: u32 = 16;
        let mut recorder = Recorder::new();
        for args in [[16, 3, 0, 7, 7, 7], [1, 1, 0, 8, 8, 8], [16, 3, 0, 9, 9, 9]] {
            recorder.record(&call(X86_64, SOCKET, args));
        }
        for request in 0..33 {
            recorder.record(&call(X86_64, IOCTL, [0, request, 0, 0, 0, 0]));
        }
        let trace = finish(recorder);
        let Arguments::Seen(seen) = &trace.calls()[&Syscall::new(Arch::X86_64, SOCKET)].arguments
        else {
            panic!("{trace:?}");
        };
        assert_eq!(seen.rows().collect::<Vec<_>>(), [&[1, 1, 0], &[16, 3, 0]]);
        assert_eq!(
            trace.calls()[&Syscall::new(Arch::X86_64, IOCTL)].arguments,
            Arguments::TooMany
        );
    }

    #[test]
    fn arguments_seen_only_sometimes_are_unknown() {
        let mut recorder = Recorder::new();
        recorder.record_without_arguments(X86_64, 16);
        recorder.record(&call(X86_64, 16, [0; 6]));
        recorder.record(&call(X86_64, 41, [0; 6]));
        recorder.record_without_arguments(X86_64, 41);
        let trace = finish(recorder);
        assert!(
            trace
                .calls()
                .values()
                .all(|call| call.arguments == Arguments::Unknown && call.count == 2)
        );
    }
}

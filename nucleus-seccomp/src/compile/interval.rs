//! The numbers of one `AUDIT_ARCH_*` value, cut where the verdict changes.

use std::collections::{BTreeMap, BTreeSet};

use super::argument::Outcome;
use crate::policy::{Policy, has_wide_registers};
use crate::{Arch, Syscall, X32_SYSCALL_BIT};

/// What becomes of a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Leaf {
    /// The same with and without the x32 bit, or that bit was looked at.
    One(Outcome),
    /// One thing without the x32 bit and another with it.
    ByAbi { plain: Outcome, x32: Outcome },
}

/// Neighbouring numbers with one leaf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Interval {
    /// The first number, as a call.
    pub(super) call: Syscall,
    pub(super) first: u32,
    pub(super) last: u32,
    pub(super) leaf: Leaf,
    /// How often its calls are made; at least 1.
    pub(super) weight: u64,
}

impl Interval {
    pub(super) const fn is_single(&self) -> bool {
        self.first == self.last
    }
}

/// The numbers of an `AUDIT_ARCH_*` value, in order, without gaps.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) intervals: Vec<Interval>,
    /// Whether the numbers are those without the x32 bit.
    pub(super) folded: bool,
}

/// Where the architecture of an `x86_64` number changes: the x32 bit, and -1,
/// which is of no ABI (see [`Arch::of`]).
const X32_EDGES: [u32; 4] = [0x4000_0000, 0x8000_0000, 0xc000_0000, u32::MAX];

impl Line {
    /// Cuts the line of all numbers.
    ///
    /// Where the policy knows x32, it is folded: a number and the same one
    /// with the x32 bit are looked at together, for most of them are the same
    /// call and have the same leaf.
    pub(super) fn new(policy: &Policy, audit: u32, hot: &BTreeMap<Syscall, u64>) -> Self {
        let folded = audit == Arch::X32.audit() && policy.arches().any(|arch| arch == Arch::X32);
        let fold = |number: u32| {
            if folded {
                number & !X32_SYSCALL_BIT
            } else {
                number
            }
        };
        let mut starts: BTreeSet<u32> = X32_EDGES.into_iter().map(fold).collect();
        starts.insert(0);
        let arches = policy.arch_policies().iter();
        for arch in arches.filter(|policy| policy.arch.audit() == audit) {
            let newer = arch.newer.map(|newer| newer.above);
            for &number in arch.calls.keys() {
                starts.insert(fold(number));
            }
            let ends = arch.calls.keys().copied().chain(newer);
            starts.extend(ends.filter_map(|number| fold(number).checked_add(1)));
        }
        if folded {
            // No number has the bit that was cleared.
            starts.retain(|start| start & X32_SYSCALL_BIT == 0);
        }
        let mut line = Self {
            intervals: cut(&starts, |first| leaf(policy, audit, first, folded)),
            folded,
        };
        for (call, &count) in hot {
            if call.arch().audit() == audit {
                line.weigh(fold(call.number()), count);
            }
        }
        line
    }

    fn weigh(&mut self, number: u32, count: u64) {
        let intervals = &mut self.intervals;
        let index = intervals.partition_point(|interval| interval.last < number);
        let weight = &mut intervals[index].weight;
        *weight = weight.saturating_add(count);
    }
}

/// Intervals from start to start; neighbours with equal leaves are one.
fn cut(starts: &BTreeSet<u32>, leaf: impl Fn(u32) -> Option<(Syscall, Leaf)>) -> Vec<Interval> {
    let mut intervals: Vec<Interval> = Vec::new();
    let lasts = starts.iter().skip(1).map(|next| next - 1);
    for (&first, last) in starts.iter().zip(lasts.chain([u32::MAX])) {
        let Some((call, leaf)) = leaf(first) else {
            continue;
        };
        match intervals.last_mut() {
            Some(before) if before.leaf == leaf => before.last = last,
            _ => intervals.push(Interval {
                call,
                first,
                last,
                leaf,
                weight: 1,
            }),
        }
    }
    intervals
}

fn leaf(policy: &Policy, audit: u32, number: u32, folded: bool) -> Option<(Syscall, Leaf)> {
    let call = |number| Arch::of(audit, number).map(|arch| Syscall::new(arch, number));
    let outcome =
        |call: Syscall| Outcome::new(&policy.verdict(call), has_wide_registers(call.arch()));
    let plain = call(number)?;
    let leaf = if folded {
        let x32 = outcome(call(number | X32_SYSCALL_BIT)?);
        let plain = outcome(plain);
        if plain == x32 {
            Leaf::One(plain)
        } else {
            Leaf::ByAbi { plain, x32 }
        }
    } else {
        Leaf::One(outcome(plain))
    };
    Some((plain, leaf))
}

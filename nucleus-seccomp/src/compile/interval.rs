//! The numbers of one `AUDIT_ARCH_*` value, cut where the verdict changes.

use std::collections::{BTreeMap, BTreeSet};

use super::argument::Outcome;
use crate::policy::{Policy, has_wide_registers};
use crate::{Arch, Syscall};

/// Neighbouring numbers with one outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Interval {
    /// The first number, as a call.
    pub(super) call: Syscall,
    pub(super) first: u32,
    pub(super) last: u32,
    pub(super) outcome: Outcome,
    /// How often its calls are made; at least 1.
    pub(super) weight: u64,
}

impl Interval {
    pub(super) const fn is_single(&self) -> bool {
        self.first == self.last
    }
}

/// Where the architecture of an `x86_64` number changes: bit 30, and -1, which
/// is of no ABI (see [`Arch::of`]).
const X32_EDGES: [u32; 4] = [0x4000_0000, 0x8000_0000, 0xc000_0000, u32::MAX];

/// All numbers from 0 to `u32::MAX`, in order, without gaps.
pub(super) fn intervals(
    policy: &Policy,
    audit: u32,
    hot: &BTreeMap<Syscall, u64>,
) -> Vec<Interval> {
    let mut starts = BTreeSet::from([0]);
    starts.extend(X32_EDGES);
    for arch in policy.arch_policies() {
        for &number in arch.calls.keys() {
            starts.insert(number);
            starts.extend(number.checked_add(1));
        }
        if let Some(newer) = arch.newer {
            starts.extend(newer.above.checked_add(1));
        }
    }
    let starts: Vec<u32> = starts.into_iter().collect();
    let mut intervals: Vec<Interval> = Vec::new();
    for (index, &first) in starts.iter().enumerate() {
        let last = starts.get(index + 1).map_or(u32::MAX, |next| next - 1);
        let Some(arch) = Arch::of(audit, first) else {
            continue;
        };
        let verdict = policy.verdict(Syscall::new(arch, first));
        let outcome = Outcome::new(&verdict, has_wide_registers(arch));
        match intervals.last_mut() {
            Some(before) if before.outcome == outcome => before.last = last,
            _ => intervals.push(Interval {
                call: Syscall::new(arch, first),
                first,
                last,
                outcome,
                weight: 1,
            }),
        }
    }
    for (call, &count) in hot {
        if call.arch().audit() == audit {
            let index = intervals.partition_point(|interval| interval.last < call.number());
            let weight = &mut intervals[index].weight;
            *weight = weight.saturating_add(count);
        }
    }
    intervals
}

//! A decision tree over the intervals.
//!
//! A number is looked up by `>=` down to a block: a few intervals in which all
//! but single numbers have the same leaf, so that an `==` for each of
//! those decides the rest. A single number in the midst of others costs one
//! instruction so, and not the two that its edges would.

use super::argument::Arguments;
use super::emit::{Emitter, Label};
use super::interval::{Interval, Leaf, Line};
use crate::{Syscall, X32_SYSCALL_BIT, offset, op};

/// The most `==` in a row: more make the program shorter, and slower.
const MAX_SINGLES: usize = 3;

/// Some intervals in a row.
struct Block<'a> {
    intervals: &'a [Interval],
    /// Where none of the single numbers is met.
    rest: &'a Leaf,
}

impl Block<'_> {
    /// The intervals, all of one number, that have another leaf than the rest.
    fn singles(&self) -> impl Iterator<Item = &Interval> {
        let differs = |interval: &&Interval| interval.leaf != *self.rest;
        self.intervals.iter().filter(differs)
    }

    fn weight(&self) -> u64 {
        let weights = self.intervals.iter().map(|interval| interval.weight);
        weights.fold(0, u64::saturating_add)
    }
}

/// Emits what decides a number, the load of it included.
pub(super) fn emit(emitter: &mut Emitter, arguments: &mut Arguments, line: &Line) -> Label {
    let mut root = subtree(emitter, arguments, &blocks(&line.intervals));
    if line.folded {
        root = emitter.and(!X32_SYSCALL_BIT, root);
    }
    emitter.load(offset::NR, root)
}

/// Cuts the line so that the tree has the fewest instructions.
fn blocks(intervals: &[Interval]) -> Vec<Block<'_>> {
    // best[n]: the cost of the first n intervals, and where their last block starts.
    let mut best = vec![(0, 0)];
    for end in 1..=intervals.len() {
        let longest = (2 * MAX_SINGLES + 1).min(end);
        let candidates = (end - longest..end).filter_map(|start| {
            let block = block(&intervals[start..end])?;
            let comparison = usize::from(start > 0);
            Some((best[start].0 + block.singles().count() + comparison, start))
        });
        // A single interval is always a block, so there is a candidate.
        best.push(candidates.min().unwrap_or((usize::MAX, end - 1)));
    }
    let mut blocks = Vec::new();
    let mut end = intervals.len();
    while end > 0 {
        let start = best[end].1;
        blocks.extend(block(&intervals[start..end]));
        end = start;
    }
    blocks.reverse();
    blocks
}

/// The intervals as one block, if they can be one.
fn block(intervals: &[Interval]) -> Option<Block<'_>> {
    let mut wide = intervals.iter().filter(|interval| !interval.is_single());
    let rest = match wide.next() {
        Some(first) if wide.all(|interval| interval.leaf == first.leaf) => first,
        Some(_) => return None,
        None => intervals.iter().max_by_key(|interval| interval.weight)?,
    };
    let block = Block {
        intervals,
        rest: &rest.leaf,
    };
    (block.singles().count() <= MAX_SINGLES).then_some(block)
}

fn subtree(emitter: &mut Emitter, arguments: &mut Arguments, blocks: &[Block<'_>]) -> Label {
    if let [block] = blocks {
        return leaf(emitter, arguments, block);
    }
    let (low, high) = blocks.split_at(middle(blocks));
    let yes = subtree(emitter, arguments, high);
    let no = subtree(emitter, arguments, low);
    emitter.branch(op::JGE_K, high[0].intervals[0].first, yes, no)
}

/// Where to split so that both sides weigh about the same; never at an end.
fn middle(blocks: &[Block<'_>]) -> usize {
    let total = blocks
        .iter()
        .map(Block::weight)
        .fold(0, u64::saturating_add);
    let mut before = 0_u64;
    let mut best = (u64::MAX, 1);
    for (index, block) in blocks.iter().enumerate().take(blocks.len() - 1) {
        before = before.saturating_add(block.weight());
        let after = total.saturating_sub(before);
        best = best.min((before.abs_diff(after), index + 1));
    }
    best.1
}

fn leaf(emitter: &mut Emitter, arguments: &mut Arguments, block: &Block<'_>) -> Label {
    let mut singles: Vec<&Interval> = block.singles().collect();
    // The heaviest is tried first, so it is written last.
    singles.sort_by_key(|interval| interval.weight);
    let mut next = outcome(emitter, arguments, block.rest, block.intervals[0].call);
    for single in singles {
        let yes = outcome(emitter, arguments, &single.leaf, single.call);
        next = emitter.branch(op::JEQ_K, single.first, yes, next);
    }
    next
}

fn outcome(emitter: &mut Emitter, arguments: &mut Arguments, leaf: &Leaf, call: Syscall) -> Label {
    match leaf {
        Leaf::One(outcome) => arguments.emit(emitter, outcome, call),
        Leaf::ByAbi { plain, x32 } => {
            let plain = arguments.emit(emitter, plain, call);
            let x32 = arguments.emit(emitter, x32, call);
            emitter.x32_test(x32, plain)
        }
    }
}

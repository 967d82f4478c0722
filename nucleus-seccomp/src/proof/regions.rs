//! The regions of the input that two functions tell apart.

use std::collections::{HashMap, HashSet};

use super::Relation;
use super::diagram::{Diagram, Node, Ref};
use super::word::{first_level, offset_of};
use crate::{ProofError, SeccompData, offset};

/// A part of the input: the bits on the way to it are settled, the others
/// are not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Region(Vec<(u16, bool)>);

impl Region {
    /// The call with every other bit clear.
    pub(super) fn smallest(&self) -> SeccompData {
        self.fill(0)
    }

    /// The call with every other bit set.
    fn largest(&self) -> SeccompData {
        self.fill(u32::MAX)
    }

    fn fill(&self, word: u32) -> SeccompData {
        let mut words = [word; 16];
        for &(level, set) in &self.0 {
            let word = &mut words[offset_of(level) as usize / 4];
            let mask = 1 << (31 - level % 32);
            *word = if set { *word | mask } else { *word & !mask };
        }
        let long = |at: usize| u64::from(words[at]) | u64::from(words[at + 1]) << 32;
        SeccompData {
            nr: words[0],
            arch: words[1],
            instruction_pointer: long(2),
            args: std::array::from_fn(|index| long(4 + 2 * index)),
        }
    }
}

/// Two functions on a part of the input.
#[derive(Clone)]
pub(super) struct Regions<'a> {
    diagram: &'a Diagram,
    pair: [Ref; 2],
    part: Region,
}

impl<'a> Regions<'a> {
    pub(super) fn new(diagram: &'a Diagram, pair: [Ref; 2]) -> Self {
        Self {
            diagram,
            pair,
            part: Region::default(),
        }
    }

    /// The part with this `arch` field.
    pub(super) fn of_arch(&self, arch: u32) -> Self {
        self.with_word(offset::ARCH, arch)
    }

    /// The part with this number, of a part with an `arch`.
    pub(super) fn of_number(&self, number: u32) -> Self {
        self.with_word(offset::NR, number)
    }

    /// Settles a word that no function asks anything in front of.
    fn with_word(&self, at: u32, value: u32) -> Self {
        let mut regions = self.clone();
        for (level, bit) in (first_level(at)..).zip((0..32).rev()) {
            let set = value >> bit & 1 == 1;
            regions.pair = regions.side(regions.pair, level, set);
            regions.part.0.push((level, set));
        }
        regions
    }

    fn side(&self, pair: [Ref; 2], level: u16, set: bool) -> [Ref; 2] {
        pair.map(|at| self.diagram.at_bit(at, level, set))
    }

    /// What a pair asks first, or both verdicts where it asks nothing.
    fn level(&self, pair: [Ref; 2]) -> Option<u16> {
        let level = pair.map(|at| self.diagram.level(at)).into_iter().min();
        level.filter(|level| *level != u16::MAX)
    }

    /// The first region in which the relation does not hold.
    pub(super) fn find(&self, relation: Relation) -> Option<Region> {
        let mut region = self.part.clone();
        let mut sound = HashSet::new();
        self.find_from(self.pair, relation, &mut region, &mut sound)
            .then_some(region)
    }

    fn find_from(
        &self,
        pair: [Ref; 2],
        relation: Relation,
        region: &mut Region,
        sound: &mut HashSet<[Ref; 2]>,
    ) -> bool {
        if pair[0] == pair[1] || sound.contains(&pair) {
            return false;
        }
        let Some(level) = self.level(pair) else {
            return match pair.map(|at| self.diagram.node(at)) {
                [Node::Verdict(left), Node::Verdict(right)] => !relation(left, right),
                // A condition is no behaviour: never sound.
                _ => true,
            };
        };
        for set in [false, true] {
            region.0.push((level, set));
            if self.find_from(self.side(pair, level, set), relation, region, sound) {
                return true;
            }
            region.0.pop();
        }
        sound.insert(pair);
        false
    }

    /// How many regions there are.
    pub(super) fn count(&self) -> u64 {
        self.count_from(self.pair, &mut HashMap::new())
    }

    fn count_from(&self, pair: [Ref; 2], known: &mut HashMap<[Ref; 2], u64>) -> u64 {
        if let Some(&count) = known.get(&pair) {
            return count;
        }
        let Some(level) = self.level(pair) else {
            return 1;
        };
        let [low, high] =
            [false, true].map(|set| self.count_from(self.side(pair, level, set), known));
        let count = low.saturating_add(high);
        known.insert(pair, count);
        count
    }

    /// Hands out the smallest and the largest call of each region, of at most
    /// `limit` regions.
    pub(super) fn each_bound(
        &self,
        mut limit: u32,
        evaluate: &mut impl FnMut(SeccompData) -> Result<(), ProofError>,
    ) -> Result<(), ProofError> {
        self.each_from(self.pair, &mut self.part.clone(), &mut limit, evaluate)
    }

    fn each_from(
        &self,
        pair: [Ref; 2],
        region: &mut Region,
        limit: &mut u32,
        evaluate: &mut impl FnMut(SeccompData) -> Result<(), ProofError>,
    ) -> Result<(), ProofError> {
        if *limit == 0 {
            return Ok(());
        }
        let Some(level) = self.level(pair) else {
            *limit -= 1;
            evaluate(region.smallest())?;
            return evaluate(region.largest());
        };
        for set in [false, true] {
            region.0.push((level, set));
            self.each_from(self.side(pair, level, set), region, limit, evaluate)?;
            region.0.pop();
        }
        Ok(())
    }
}

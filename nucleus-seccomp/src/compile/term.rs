//! Tests of 32-bit words, and what is known of a word.

use crate::offset;
use crate::profile::{ArgTest, Comparison};

/// A word of the arguments, by its offset into `seccomp_data`.
pub(super) type Word = u32;

/// What a single instruction (or an AND and another) can find out of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Test {
    Equal(u32),
    Greater(u32),
    /// The bits of the first under the second are the third; neither is 0 or full.
    Masked(u32, u32),
}

/// A test of a word, and the result that is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Literal {
    pub(super) word: Word,
    pub(super) test: Test,
    pub(super) wanted: bool,
}

/// Literals that must all hold.
pub(super) type Term = Vec<Literal>;

const fn literal(word: Word, test: Test, wanted: bool) -> Literal {
    Literal { word, test, wanted }
}

/// A test of an argument as terms of which one must hold: none where it never
/// does, an empty one where it always does.
pub(super) fn terms(test: &ArgTest, wide: bool) -> Vec<Term> {
    let index = test.index.get();
    let (low, high) = (offset::arg_low(index), offset::arg_high(index));
    let high = wide.then_some(high);
    match test.comparison {
        Comparison::Equal(value) => vec![equal(high, low, value)],
        Comparison::NotEqual(value) => {
            let negated = |mut literal: Literal| {
                literal.wanted = false;
                vec![literal]
            };
            equal(high, low, value).into_iter().map(negated).collect()
        }
        Comparison::Greater(value) => greater(high, low, value),
        Comparison::GreaterOrEqual(value) => match value.checked_sub(1) {
            Some(value) => greater(high, low, value),
            None => vec![Vec::new()],
        },
        Comparison::LessOrEqual(value) => not_greater(high, low, value),
        Comparison::Less(value) => match value.checked_sub(1) {
            Some(value) => not_greater(high, low, value),
            None => Vec::new(),
        },
        Comparison::MaskedEqual { mask, value } => {
            let high = high.and_then(|high| masked(high, halves(mask).0, halves(value).0));
            let low = masked(low, halves(mask).1, halves(value).1);
            vec![high.into_iter().chain(low).collect()]
        }
    }
}

fn equal(high: Option<Word>, low: Word, value: u64) -> Term {
    let (value_high, value_low) = halves(value);
    let high = high.map(|high| literal(high, Test::Equal(value_high), true));
    let low = literal(low, Test::Equal(value_low), true);
    high.into_iter().chain([low]).collect()
}

fn greater(high: Option<Word>, low: Word, value: u64) -> Vec<Term> {
    let (value_high, value_low) = halves(value);
    let low = literal(low, Test::Greater(value_low), true);
    match high {
        Some(high) => vec![
            vec![literal(high, Test::Greater(value_high), true)],
            vec![literal(high, Test::Equal(value_high), true), low],
        ],
        None => vec![vec![low]],
    }
}

fn not_greater(high: Option<Word>, low: Word, value: u64) -> Vec<Term> {
    let (value_high, value_low) = halves(value);
    let low = literal(low, Test::Greater(value_low), false);
    let Some(high) = high else {
        return vec![vec![low]];
    };
    let below = value_high.checked_sub(1);
    below
        .map(|below| vec![literal(high, Test::Greater(below), false)])
        .into_iter()
        .chain([vec![literal(high, Test::Equal(value_high), true), low]])
        .collect()
}

fn masked(word: Word, mask: u32, value: u32) -> Option<Literal> {
    let test = match mask {
        0 => return None,
        u32::MAX => Test::Equal(value),
        mask => Test::Masked(mask, value & mask),
    };
    Some(literal(word, test, true))
}

/// The upper and the lower half.
const fn halves(value: u64) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = value.to_be_bytes();
    (
        u32::from_be_bytes([a, b, c, d]),
        u32::from_be_bytes([e, f, g, h]),
    )
}

/// What earlier tests have found out of one word.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Knowledge {
    least: u32,
    most: u32,
    /// Values that it does not have.
    not: Vec<u32>,
    /// Bits that are known, and their values.
    bits: (u32, u32),
    /// Masks under which it does not have these values.
    not_masked: Vec<(u32, u32)>,
}

impl Default for Knowledge {
    fn default() -> Self {
        Self {
            least: 0,
            most: u32::MAX,
            not: Vec::new(),
            bits: (0, 0),
            not_masked: Vec::new(),
        }
    }
}

impl Knowledge {
    /// The result of a test, where it is known already.
    pub(super) fn result(&self, test: Test) -> Option<bool> {
        if self.least == self.most {
            return Some(test.holds(self.least));
        }
        match test {
            Test::Equal(value) => self.excludes(value).then_some(false),
            Test::Greater(value) if self.least > value => Some(true),
            Test::Greater(value) => (self.most <= value).then_some(false),
            Test::Masked(mask, value) => {
                let (known, bits) = self.bits;
                if (bits ^ value) & known & mask != 0 || self.not_masked.contains(&(mask, value)) {
                    Some(false)
                } else {
                    (mask & known == mask).then_some(true)
                }
            }
        }
    }

    fn excludes(&self, value: u32) -> bool {
        let (known, bits) = self.bits;
        value < self.least
            || value > self.most
            || self.not.contains(&value)
            || value & known != bits
            || self
                .not_masked
                .iter()
                .any(|&(mask, other)| value & mask == other)
    }

    /// Takes in the result of a test that was not known.
    pub(super) fn learn(&mut self, test: Test, result: bool) {
        match (test, result) {
            (Test::Equal(value), true) => (self.least, self.most) = (value, value),
            (Test::Equal(value), false) => self.not.push(value),
            (Test::Greater(value), true) => self.least = self.least.max(value.saturating_add(1)),
            (Test::Greater(value), false) => self.most = self.most.min(value),
            (Test::Masked(mask, value), true) => {
                self.bits = (self.bits.0 | mask, self.bits.1 | value);
            }
            (Test::Masked(mask, value), false) => self.not_masked.push((mask, value)),
        }
    }
}

impl Test {
    const fn holds(self, word: u32) -> bool {
        match self {
            Self::Equal(value) => word == value,
            Self::Greater(value) => word > value,
            Self::Masked(mask, value) => word & mask == value,
        }
    }
}

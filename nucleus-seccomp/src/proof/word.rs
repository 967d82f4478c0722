//! Machine words whose bits are functions of the input, and the arithmetic of
//! classic BPF on them.

use super::diagram::{Diagram, FALSE, Ref, TRUE};
use crate::{ProofError, offset};

/// Bit 0 first.
pub(super) type Word = [Ref; 32];

type Result<T> = std::result::Result<T, ProofError>;

pub(super) const ZERO: Word = [FALSE; 32];

pub(super) fn constant(value: u32) -> Word {
    std::array::from_fn(|bit| if value >> bit & 1 == 1 { TRUE } else { FALSE })
}

/// The first level of the word of `seccomp_data` at an offset; its most
/// significant bit. Architecture and number come first, and of an argument the
/// upper half, so that what is decided first is asked first.
pub(super) const fn first_level(at: u32) -> u16 {
    let rank = match at {
        offset::ARCH => 0,
        offset::NR => 1,
        offset::IP_HIGH => 14,
        offset::IP_LOW => 15,
        // Exchanges the two halves of each argument.
        _ => ((at / 4) ^ 1) - 2,
    };
    // At most 15.
    rank.to_le_bytes()[0] as u16 * 32
}

/// The offset of the word that a level belongs to.
pub(super) const fn offset_of(level: u16) -> u32 {
    match level as u32 / 32 {
        0 => offset::ARCH,
        1 => offset::NR,
        14 => offset::IP_HIGH,
        15 => offset::IP_LOW,
        rank => ((rank + 2) ^ 1) * 4,
    }
}

/// The word of `seccomp_data` at an offset.
pub(super) fn input(diagram: &mut Diagram, at: u32) -> Result<Word> {
    let mut word = ZERO;
    for (level, bit) in (first_level(at)..).zip(word.iter_mut().rev()) {
        *bit = diagram.bit(level)?;
    }
    Ok(word)
}

impl Diagram {
    pub(super) fn not(&mut self, a: Ref) -> Result<Ref> {
        self.choose(a, FALSE, TRUE)
    }

    pub(super) fn and(&mut self, a: Ref, b: Ref) -> Result<Ref> {
        self.choose(a, b, FALSE)
    }

    pub(super) fn or(&mut self, a: Ref, b: Ref) -> Result<Ref> {
        self.choose(a, TRUE, b)
    }

    fn xor(&mut self, a: Ref, b: Ref) -> Result<Ref> {
        let not_b = self.not(b)?;
        self.choose(a, not_b, b)
    }

    /// Applies an operation on bits to words.
    fn bitwise(
        &mut self,
        a: &Word,
        b: &Word,
        operation: fn(&mut Self, Ref, Ref) -> Result<Ref>,
    ) -> Result<Word> {
        let mut word = ZERO;
        for (bit, (&a, &b)) in word.iter_mut().zip(a.iter().zip(b)) {
            *bit = operation(self, a, b)?;
        }
        Ok(word)
    }

    pub(super) fn and_words(&mut self, a: &Word, b: &Word) -> Result<Word> {
        self.bitwise(a, b, Self::and)
    }

    pub(super) fn or_words(&mut self, a: &Word, b: &Word) -> Result<Word> {
        self.bitwise(a, b, Self::or)
    }

    pub(super) fn xor_words(&mut self, a: &Word, b: &Word) -> Result<Word> {
        self.bitwise(a, b, Self::xor)
    }

    fn choose_words(&mut self, condition: Ref, yes: &Word, no: &Word) -> Result<Word> {
        let mut word = ZERO;
        for (bit, (&yes, &no)) in word.iter_mut().zip(yes.iter().zip(no)) {
            *bit = self.choose(condition, yes, no)?;
        }
        Ok(word)
    }

    /// `a + b + carry`, bit by bit.
    fn add_with(&mut self, a: &Word, b: &Word, mut carry: Ref) -> Result<Word> {
        let mut word = ZERO;
        for (bit, (&a, &b)) in word.iter_mut().zip(a.iter().zip(b)) {
            let half = self.xor(a, b)?;
            *bit = self.xor(half, carry)?;
            carry = self.choose(half, carry, a)?;
        }
        Ok(word)
    }

    pub(super) fn add(&mut self, a: &Word, b: &Word) -> Result<Word> {
        self.add_with(a, b, FALSE)
    }

    pub(super) fn sub(&mut self, a: &Word, b: &Word) -> Result<Word> {
        let complement = self.xor_words(b, &[TRUE; 32])?;
        self.add_with(a, &complement, TRUE)
    }

    /// The product, where one of the two is a power of two or both are
    /// constants; what else a product can be has no diagram of bounded size.
    pub(super) fn mul(&self, a: &Word, b: &Word) -> Result<Word> {
        match (value(a), value(b)) {
            (Some(a), Some(b)) => Ok(constant(a.wrapping_mul(b))),
            (Some(k), None) if k.is_power_of_two() => Ok(shift_left(b, k.trailing_zeros())),
            (None, Some(k)) if k.is_power_of_two() => Ok(shift_left(a, k.trailing_zeros())),
            _ => Err(ProofError::Arithmetic),
        }
    }

    /// The quotient, likewise; 0 where `b` is 0.
    pub(super) fn div(&self, a: &Word, b: &Word) -> Result<Word> {
        match (value(a), value(b)) {
            (Some(a), Some(b)) => Ok(constant(a.checked_div(b).unwrap_or(0))),
            (None, Some(k)) if k.is_power_of_two() => Ok(shift_right(a, k.trailing_zeros())),
            _ => Err(ProofError::Arithmetic),
        }
    }

    /// Shifts by the lower five bits of `by`.
    pub(super) fn shift(
        &mut self,
        a: &Word,
        by: &Word,
        shift: fn(&Word, u32) -> Word,
    ) -> Result<Word> {
        let mut word = *a;
        for (bit, &set) in by.iter().take(5).enumerate() {
            word = self.choose_words(set, &shift(&word, 1 << bit), &word)?;
        }
        Ok(word)
    }

    pub(super) fn equal(&mut self, a: &Word, b: &Word) -> Result<Ref> {
        let mut equal = TRUE;
        for (&a, &b) in a.iter().zip(b) {
            let differ = self.xor(a, b)?;
            equal = self.choose(differ, FALSE, equal)?;
        }
        Ok(equal)
    }

    /// Whether `a > b`, unsigned; and `if_equal` where they are equal.
    pub(super) fn greater(&mut self, a: &Word, b: &Word, if_equal: Ref) -> Result<Ref> {
        let mut greater = if_equal;
        for (&a, &b) in a.iter().zip(b) {
            let set = self.choose(b, greater, TRUE)?;
            let clear = self.choose(b, FALSE, greater)?;
            greater = self.choose(a, set, clear)?;
        }
        Ok(greater)
    }

    /// Whether a bit is set in both.
    pub(super) fn intersect(&mut self, a: &Word, b: &Word) -> Result<Ref> {
        let both = self.and_words(a, b)?;
        let none = self.equal(&both, &ZERO)?;
        self.not(none)
    }
}

pub(super) fn shift_left(word: &Word, by: u32) -> Word {
    let by = by as usize;
    std::array::from_fn(|bit| bit.checked_sub(by).map_or(FALSE, |from| word[from]))
}

pub(super) fn shift_right(word: &Word, by: u32) -> Word {
    let by = by as usize;
    std::array::from_fn(|bit| word.get(bit + by).copied().unwrap_or(FALSE))
}

/// The value of a word that does not depend on the input.
fn value(word: &Word) -> Option<u32> {
    word.iter().rev().try_fold(0, |value, &bit| match bit {
        TRUE => Some(value << 1 | 1),
        FALSE => Some(value << 1),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_on_constants() {
        let mut diagram = Diagram::new();
        let samples = [0, 1, 2, 7, 32, 0x8000_0000, 0xffff_fff9, u32::MAX];
        for (a, b) in samples.iter().flat_map(|a| samples.map(|b| (*a, b))) {
            let (x, y) = (constant(a), constant(b));
            let check = |word: Word, expected: u32| {
                assert_eq!(value(&word), Some(expected), "{a:#x} and {b:#x}");
            };
            check(diagram.add(&x, &y).unwrap(), a.wrapping_add(b));
            check(diagram.sub(&x, &y).unwrap(), a.wrapping_sub(b));
            check(diagram.mul(&x, &y).unwrap(), a.wrapping_mul(b));
            check(diagram.xor_words(&x, &y).unwrap(), a ^ b);
            check(
                diagram.shift(&x, &y, shift_left).unwrap(),
                a.wrapping_shl(b),
            );
            check(
                diagram.shift(&x, &y, shift_right).unwrap(),
                a.wrapping_shr(b),
            );
            if let Some(quotient) = a.checked_div(b) {
                check(diagram.div(&x, &y).unwrap(), quotient);
            }
            let truth = |holds| if holds { TRUE } else { FALSE };
            assert_eq!(diagram.greater(&x, &y, FALSE).unwrap(), truth(a > b));
            assert_eq!(diagram.greater(&x, &y, TRUE).unwrap(), truth(a >= b));
            assert_eq!(diagram.equal(&x, &y).unwrap(), truth(a == b));
            assert_eq!(diagram.intersect(&x, &y).unwrap(), truth(a & b != 0));
        }
    }

    #[test]
    fn every_word_has_levels_of_its_own() {
        let mut levels: Vec<_> = (0..64).step_by(4).map(first_level).collect();
        levels.sort_unstable();
        assert_eq!(levels, (0..512).step_by(32).collect::<Vec<_>>());
        for at in (0..64).step_by(4) {
            assert_eq!(offset_of(first_level(at) + 31), at);
        }
        assert!(first_level(offset::arg_high(0)) < first_level(offset::arg_low(0)));
    }
}

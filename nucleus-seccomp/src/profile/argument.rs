//! Tests of a call's arguments.

use std::fmt;

/// Which of the six argument registers, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArgIndex(u8);

impl ArgIndex {
    /// Argument 0.
    pub const FIRST: Self = Self(0);

    /// `None` above 5.
    #[must_use]
    pub const fn new(index: u8) -> Option<Self> {
        if index < 6 { Some(Self(index)) } else { None }
    }

    /// 0 to 5.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

/// What an argument is compared with; unsigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Comparison {
    /// `SCMP_CMP_NE`
    NotEqual(u64),
    /// `SCMP_CMP_LT`
    Less(u64),
    /// `SCMP_CMP_LE`
    LessOrEqual(u64),
    /// `SCMP_CMP_EQ`
    Equal(u64),
    /// `SCMP_CMP_GE`
    GreaterOrEqual(u64),
    /// `SCMP_CMP_GT`
    Greater(u64),
    /// `SCMP_CMP_MASKED_EQ`: the argument's bits under the mask are the
    /// value's bits under the mask.
    MaskedEqual {
        /// Which bits are compared.
        mask: u64,
        /// What they must be.
        value: u64,
    },
}

impl Comparison {
    /// Whether an argument passes.
    #[must_use]
    pub const fn holds(self, argument: u64) -> bool {
        match self {
            Self::NotEqual(value) => argument != value,
            Self::Less(value) => argument < value,
            Self::LessOrEqual(value) => argument <= value,
            Self::Equal(value) => argument == value,
            Self::GreaterOrEqual(value) => argument >= value,
            Self::Greater(value) => argument > value,
            Self::MaskedEqual { mask, value } => argument & mask == value & mask,
        }
    }

    /// The comparison of an architecture whose registers have 32 bits: the
    /// upper halves of the operands are dropped, as libseccomp drops them.
    #[must_use]
    pub const fn narrow(self) -> Self {
        const LOW: u64 = u32::MAX as u64;
        match self {
            Self::NotEqual(value) => Self::NotEqual(value & LOW),
            Self::Less(value) => Self::Less(value & LOW),
            Self::LessOrEqual(value) => Self::LessOrEqual(value & LOW),
            Self::Equal(value) => Self::Equal(value & LOW),
            Self::GreaterOrEqual(value) => Self::GreaterOrEqual(value & LOW),
            Self::Greater(value) => Self::Greater(value & LOW),
            Self::MaskedEqual { mask, value } => Self::MaskedEqual {
                mask: mask & LOW,
                value: value & LOW,
            },
        }
    }
}

/// One test of one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArgTest {
    /// Which argument.
    pub index: ArgIndex,
    /// What it must be.
    pub comparison: Comparison,
}

impl ArgTest {
    /// Whether the arguments of a call pass.
    #[must_use]
    pub fn holds(&self, args: &[u64; 6]) -> bool {
        self.comparison.holds(args[usize::from(self.index.0)])
    }
}

impl fmt::Display for ArgTest {
    /// `arg0 == 0x1`, `arg2 & 0xff == 0x4`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "arg{} ", self.index.0)?;
        match self.comparison {
            Comparison::NotEqual(value) => write!(f, "!= {value:#x}"),
            Comparison::Less(value) => write!(f, "< {value:#x}"),
            Comparison::LessOrEqual(value) => write!(f, "<= {value:#x}"),
            Comparison::Equal(value) => write!(f, "== {value:#x}"),
            Comparison::GreaterOrEqual(value) => write!(f, ">= {value:#x}"),
            Comparison::Greater(value) => write!(f, "> {value:#x}"),
            Comparison::MaskedEqual { mask, value } => {
                write!(f, "& {mask:#x} == {:#x}", value & mask)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparisons_are_unsigned_and_64_bits_wide() {
        for (comparison, yes, no) in [
            (Comparison::NotEqual(5), 1 << 32 | 5, 5),
            (Comparison::Less(1 << 32), u64::from(u32::MAX), 1 << 32),
            (Comparison::LessOrEqual(5), 5, 6),
            (Comparison::Equal(u64::MAX), u64::MAX, u64::from(u32::MAX)),
            (Comparison::GreaterOrEqual(5), u64::MAX, 4),
            (Comparison::Greater(5), 6, 5),
            (
                Comparison::MaskedEqual {
                    mask: 0xf0,
                    value: 0x1f0,
                },
                0xff,
                0x1e0,
            ),
        ] {
            assert!(comparison.holds(yes), "{comparison:?} {yes}");
            assert!(!comparison.holds(no), "{comparison:?} {no}");
        }
    }
}

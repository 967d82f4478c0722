//! For which arguments a call is meant.

use nucleus_seccomp::{Insn, SeccompData, Syscall, offset, op};

use crate::TrapError;

/// A condition on one argument.
///
/// `Int` tests look at the lower half of the register alone, as the kernel does
/// with arguments of type `int`; with a 64-bit test a program would pass by
/// setting bits that the kernel ignores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ArgTest {
    /// `(int)argument & mask == value`.
    Int {
        /// The argument, 0 to 5.
        index: u8,
        /// The bits that count.
        mask: u32,
        /// What they must be.
        value: u32,
    },
    /// The whole register has this value.
    Long {
        /// The argument, 0 to 5.
        index: u8,
        /// What it must be.
        value: u64,
    },
    /// The whole register has another value, such as a pointer that is not NULL.
    LongNot {
        /// The argument, 0 to 5.
        index: u8,
        /// What it must not be.
        value: u64,
    },
    /// The whole register, without a sign, is at most this, such as a size.
    LongAtMost {
        /// The argument, 0 to 5.
        index: u8,
        /// The largest that it may be.
        value: u64,
    },
    /// The whole register, without a sign, is larger than this.
    LongAbove {
        /// The argument, 0 to 5.
        index: u8,
        /// The largest that it must not be.
        value: u64,
    },
}

impl ArgTest {
    /// `(int)argument == value`.
    #[must_use]
    pub const fn int(index: u8, value: u32) -> Self {
        Self::Int {
            index,
            mask: u32::MAX,
            value,
        }
    }

    pub(super) const fn index(self) -> u8 {
        match self {
            Self::Int { index, .. }
            | Self::Long { index, .. }
            | Self::LongNot { index, .. }
            | Self::LongAtMost { index, .. }
            | Self::LongAbove { index, .. } => index,
        }
    }

    /// Whether the two are never met by the same call, as far as it is plain.
    const fn excludes(self, other: Self) -> bool {
        if self.index() != other.index() {
            return false;
        }
        match (self, other) {
            (Self::LongAtMost { value: most, .. }, Self::LongAbove { value, .. })
            | (Self::LongAbove { value, .. }, Self::LongAtMost { value: most, .. }) => {
                most <= value
            }
            (
                Self::Int { mask, value, .. },
                Self::Int {
                    mask: other_mask,
                    value: other_value,
                    ..
                },
            ) => (value ^ other_value) & mask & other_mask != 0,
            _ => false,
        }
    }

    pub(super) fn holds(self, data: &SeccompData) -> bool {
        let register = data.args[usize::from(self.index())];
        match self {
            Self::Int { mask, value, .. } => register & u64::from(mask) == u64::from(value),
            Self::Long { value, .. } => register == value,
            Self::LongNot { value, .. } => register != value,
            Self::LongAtMost { value, .. } => register <= value,
            Self::LongAbove { value, .. } => register > value,
        }
    }

    /// Falls through when it holds; else jumps over `rest` further instructions.
    pub(super) fn emit(self, out: &mut Vec<Insn>, rest: u8) {
        let (low, high) = halves(match self {
            Self::Int { value, .. } => value.into(),
            Self::Long { value, .. }
            | Self::LongNot { value, .. }
            | Self::LongAtMost { value, .. }
            | Self::LongAbove { value, .. } => value,
        });
        let (low_half, high_half) = (
            Insn::load(offset::arg_low(self.index())),
            Insn::load(offset::arg_high(self.index())),
        );
        out.push(match self {
            Self::LongAtMost { .. } | Self::LongAbove { .. } => high_half,
            Self::Int { .. } | Self::Long { .. } | Self::LongNot { .. } => low_half,
        });
        match self {
            Self::LongAtMost { .. } => {
                out.push(Insn::jump(op::JGT_K, high, rest + 3, 0));
                out.push(Insn::jump(op::JEQ_K, high, 0, 2));
                out.push(low_half);
                out.push(Insn::jump(op::JGT_K, low, rest, 0));
            }
            Self::LongAbove { .. } => {
                out.push(Insn::jump(op::JGT_K, high, 3, 0));
                out.push(Insn::jump(op::JEQ_K, high, 0, rest + 2));
                out.push(low_half);
                out.push(Insn::jump(op::JGT_K, low, 0, rest));
            }
            Self::Int { mask, .. } => {
                out.push(Insn::stmt(op::AND_K, mask));
                out.push(Insn::jump(op::JEQ_K, low, 0, rest));
            }
            Self::Long { .. } => {
                out.push(Insn::jump(op::JEQ_K, low, 0, rest + 2));
                out.push(high_half);
                out.push(Insn::jump(op::JEQ_K, high, 0, rest));
            }
            Self::LongNot { .. } => {
                out.push(Insn::jump(op::JEQ_K, low, 0, 2));
                out.push(high_half);
                out.push(Insn::jump(op::JEQ_K, high, rest, 0));
            }
        }
    }

    pub(super) const fn length(self) -> u8 {
        match self {
            Self::Int { .. } => 3,
            Self::Long { .. } | Self::LongNot { .. } => 4,
            Self::LongAtMost { .. } | Self::LongAbove { .. } => 5,
        }
    }
}

#[allow(clippy::cast_possible_truncation, reason = "each half is meant")]
const fn halves(value: u64) -> (u32, u32) {
    (value as u32, (value >> 32) as u32)
}

/// For which arguments a call is trapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum When {
    /// Whatever they are.
    Always,
    /// When every test of one of the lists holds. No list at all: never; a list
    /// without tests: always.
    Any(Vec<Vec<ArgTest>>),
}

impl When {
    /// When this one test holds.
    #[must_use]
    pub fn test(test: ArgTest) -> Self {
        Self::Any(vec![vec![test]])
    }

    /// Whether a call is meant.
    #[must_use]
    pub fn holds(&self, data: &SeccompData) -> bool {
        match self {
            Self::Always => true,
            Self::Any(lists) => lists
                .iter()
                .any(|list| list.iter().all(|test| test.holds(data))),
        }
    }

    /// Whether no call is meant by both, as far as it is plain.
    pub(super) fn excludes(&self, other: &Self) -> bool {
        let (Self::Any(lists), Self::Any(others)) = (self, other) else {
            return false;
        };
        let apart = |list: &[ArgTest], other: &[ArgTest]| {
            let mut tests = list.iter();
            tests.any(|test| other.iter().any(|it| test.excludes(*it)))
        };
        let mut lists = lists.iter();
        lists.all(|list| others.iter().all(|other| apart(list, other)))
    }

    /// That it tests only arguments that there are.
    pub(super) fn check(&self, call: Syscall) -> Result<(), TrapError> {
        match self.tests().find(|test| test.index() > 5) {
            Some(test) => Err(TrapError::Argument {
                call,
                index: test.index(),
            }),
            None => Ok(()),
        }
    }

    fn tests(&self) -> impl Iterator<Item = &ArgTest> {
        match self {
            Self::Always => [].iter(),
            Self::Any(lists) => lists.as_slice().iter(),
        }
        .flatten()
    }

    /// Both together.
    pub(super) fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Any(mut lists), Self::Any(more)) => {
                lists.extend(more);
                Self::Any(lists)
            }
            _ => Self::Always,
        }
    }
}

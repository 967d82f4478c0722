//! Which argument registers of which calls are worth remembering.

use nucleus_seccomp::ArgIndex;

/// How much of an argument register the kernel reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Width {
    /// Declared `int` or `unsigned int`: the kernel ignores the upper half,
    /// which holds whatever the compiler left there.
    Int,
    /// Declared `long`, `unsigned long` or wider.
    Long,
}

impl Width {
    /// The bits that the kernel reads.
    pub(crate) const fn mask(self) -> u64 {
        match self {
            Self::Int => 0xffff_ffff,
            Self::Long => u64::MAX,
        }
    }
}

/// One argument register, by its index in `seccomp_data.args`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Argument {
    pub(crate) index: ArgIndex,
    pub(crate) width: Width,
}

/// The remembered arguments of one call, ascending by index.
pub(crate) type Selection = &'static [Argument];

/// No call has more remembered arguments.
pub(crate) const MOST_ARGUMENTS: usize = 3;

#[expect(clippy::panic, reason = "in a constant: the compiler panics")]
const fn argument(index: u8, width: Width) -> Argument {
    match ArgIndex::new(index) {
        Some(index) => Argument { index, width },
        None => panic!("a call has six arguments"),
    }
}

const fn int(index: u8) -> Argument {
    argument(index, Width::Int)
}

const fn long(index: u8) -> Argument {
    argument(index, Width::Long)
}

/// Calls that do different things by a flag-like argument, of which a program
/// uses few: there a rule on the value takes away most of what the call can do.
/// Types and positions are those of `SYSCALL_DEFINE` in the kernel. Calls whose
/// flags lie behind a pointer (clone3, openat2) cannot be narrowed by a filter;
/// those called all the time (mmap, futex, openat) would lose the kernel's
/// cache of allowed calls.
const TABLE: &[(&str, Selection)] = &[
    ("arch_prctl", &[int(0)]),
    ("bpf", &[int(0)]),
    ("clone", &[long(0)]),
    ("execveat", &[int(4)]),
    ("fcntl", &[int(1)]),
    ("fcntl64", &[int(1)]),
    ("io_uring_register", &[int(1)]),
    ("ioctl", &[int(1)]),
    ("ipc", &[int(0)]),
    ("kcmp", &[int(2)]),
    ("keyctl", &[int(0)]),
    ("memfd_create", &[int(1)]),
    ("mount", &[long(3)]),
    ("personality", &[int(0)]),
    ("prctl", &[int(0)]),
    ("prlimit64", &[int(1)]),
    ("ptrace", &[long(0)]),
    ("quotactl", &[int(0)]),
    ("reboot", &[int(2)]),
    ("sched_setscheduler", &[int(1)]),
    ("seccomp", &[int(0), int(1)]),
    ("setns", &[int(1)]),
    ("setsockopt", &[int(1), int(2)]),
    ("socket", &[int(0), int(1), int(2)]),
    ("socketcall", &[int(0)]),
    ("socketpair", &[int(0), int(1), int(2)]),
    ("syslog", &[int(0)]),
    ("umount2", &[int(1)]),
    ("unshare", &[long(0)]),
    ("userfaultfd", &[int(0)]),
];

/// The arguments to remember of the call `name`; empty for most calls.
pub(crate) fn selection(name: &str) -> Selection {
    match TABLE.binary_search_by_key(&name, |(known, _)| known) {
        Ok(found) => TABLE[found].1,
        Err(_) => &[],
    }
}

/// How many combinations of arguments are kept for one call; a call with more
/// is not worth narrowing.
pub(crate) const MOST_COMBINATIONS: usize = 32;

/// The combinations of remembered arguments that a call was made with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Arguments {
    /// The call has none worth remembering, or the source did not see them.
    #[default]
    Unknown,
    /// Every combination that was seen.
    Seen(Combinations),
    /// More combinations than are worth keeping.
    TooMany,
}

/// Distinct combinations of some argument registers; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Combinations {
    selection: Selection,
    rows: Vec<[u64; MOST_ARGUMENTS]>,
}

impl Combinations {
    pub(crate) fn first(selection: Selection, row: [u64; MOST_ARGUMENTS]) -> Self {
        let mut rows = Vec::with_capacity(4);
        rows.push(row);
        Self { selection, rows }
    }

    /// Adds a combination; `false` when there is no room left.
    pub(crate) fn add(&mut self, row: [u64; MOST_ARGUMENTS]) -> bool {
        if self.rows.contains(&row) {
            return true;
        }
        if self.rows.len() == MOST_COMBINATIONS {
            return false;
        }
        self.rows.push(row);
        true
    }

    pub(crate) fn sort(&mut self) {
        self.rows.sort_unstable();
    }

    pub(crate) const fn selection(&self) -> Selection {
        self.selection
    }

    /// The indices in `seccomp_data.args` that the combinations are of, ascending.
    pub fn indices(&self) -> impl Iterator<Item = u8> {
        self.selection.iter().map(|argument| argument.index.get())
    }

    /// The combinations, each with one value per index; of an `int` argument
    /// only the lower 32 bits. Ascending in a finished trace.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[u64]> {
        self.rows.iter().map(|row| &row[..self.selection.len()])
    }
}

impl Arguments {
    /// What is known of the arguments of both: of a call that was once seen
    /// without its arguments, nothing is.
    pub(crate) fn merge(&mut self, other: &Self) {
        match (&mut *self, other) {
            (Self::Seen(mine), Self::Seen(theirs)) => {
                if theirs.rows.iter().all(|row| mine.add(*row)) {
                    mine.sort();
                } else {
                    *self = Self::TooMany;
                }
            }
            (Self::Unknown, _) | (_, Self::Unknown) => *self = Self::Unknown,
            _ => *self = Self::TooMany,
        }
    }
}

/// The remembered part of `args`.
pub(crate) fn row(selection: Selection, args: &[u64; 6]) -> [u64; MOST_ARGUMENTS] {
    let mut row = [0; MOST_ARGUMENTS];
    for (value, argument) in row.iter_mut().zip(selection) {
        *value = args[usize::from(argument.index.get())] & argument.width.mask();
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_fits() {
        assert!(TABLE.is_sorted_by_key(|(name, _)| name));
        for (name, selection) in TABLE {
            assert!(
                (1..=MOST_ARGUMENTS).contains(&selection.len()),
                "{name} has {} arguments",
                selection.len()
            );
            assert!(
                selection.is_sorted_by_key(|argument| argument.index),
                "{name}"
            );
        }
    }

    #[test]
    fn the_upper_half_of_an_int_is_ignored() {
        let args = [0xdead_beef_0000_0002, 1, 0, 9, 9, 9];
        assert_eq!(row(selection("socket"), &args), [2, 1, 0]);
        assert_eq!(row(selection("clone"), &args), [args[0], 0, 0]);
    }

    #[test]
    fn merging_keeps_what_is_known_of_both() {
        let selection = selection("ioctl");
        let seen = |values: std::ops::Range<u64>| {
            let mut all = Combinations::first(selection, [values.start, 0, 0]);
            for value in values {
                assert!(all.add([value, 0, 0]));
            }
            Arguments::Seen(all)
        };
        let check = |mut left: Arguments, right: &Arguments, expected: &Arguments| {
            left.merge(right);
            assert_eq!(&left, expected);
        };
        check(seen(3..5), &seen(1..4), &seen(1..5));
        check(seen(0..32), &seen(0..32), &seen(0..32));
        check(seen(0..32), &seen(32..33), &Arguments::TooMany);
        check(seen(0..1), &Arguments::Unknown, &Arguments::Unknown);
        check(Arguments::TooMany, &Arguments::Unknown, &Arguments::Unknown);
        check(Arguments::TooMany, &seen(0..1), &Arguments::TooMany);
    }
}

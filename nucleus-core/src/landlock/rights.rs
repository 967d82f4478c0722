//! The rights that Landlock knows for files, with the words for them.

use std::fmt;

/// `LANDLOCK_ACCESS_FS_*` (`include/uapi/linux/landlock.h`), in the order of
/// their bits, and the ABI that brought each.
const RIGHTS: [(&str, u32); 16] = [
    ("execute", 1),
    ("write_file", 1),
    ("read_file", 1),
    ("read_dir", 1),
    ("remove_dir", 1),
    ("remove_file", 1),
    ("make_char", 1),
    ("make_dir", 1),
    ("make_reg", 1),
    ("make_sock", 1),
    ("make_fifo", 1),
    ("make_block", 1),
    ("make_sym", 1),
    ("refer", 2),
    ("truncate", 3),
    ("ioctl_dev", 5),
];

/// Some of the rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Rights(u64);

const fn bits(indexes: &[u32]) -> u64 {
    let mut set = 0;
    let mut at = 0;
    while at < indexes.len() {
        set |= 1 << indexes[at];
        at += 1;
    }
    set
}

/// Words for what belongs together. None holds another's: reading is not
/// executing, writing is not reading, and nobody makes devices by `write`.
const WORDS: [(&str, u64); 3] = [
    ("read", bits(&[2, 3])),
    ("write", bits(&[1, 4, 5, 7, 8, 9, 10, 12, 13, 14])),
    ("execute", bits(&[0])),
];

impl Rights {
    /// What applies to a file that is no folder.
    pub(crate) const OF_FILES: Self = Self(bits(&[0, 1, 2, 14, 15]));

    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    /// All that an ABI knows.
    pub(crate) fn of_abi(abi: u32) -> Self {
        let known = RIGHTS.iter().enumerate();
        let known = known.filter(|(_index, (_name, since))| *since <= abi);
        Self(known.fold(0, |set, (index, _right)| set | 1 << index))
    }

    /// By a word or by the kernel's name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let word = WORDS.iter().find(|(word, _set)| *word == name);
        let right = || RIGHTS.iter().position(|(right, _since)| *right == name);
        word.map(|(_word, set)| Self(*set))
            .or_else(|| right().map(|index| Self(1 << index)))
    }

    /// Every word and name.
    pub(crate) fn names() -> impl Iterator<Item = &'static str> {
        let words = WORDS.iter().map(|(word, _set)| *word);
        words.chain(RIGHTS.iter().skip(1).map(|(name, _since)| *name))
    }

    pub(crate) const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The names of those that an ABI lacks.
    pub(crate) fn beyond(abi: u32) -> impl Iterator<Item = &'static str> {
        let newer = RIGHTS.iter().filter(move |(_name, since)| *since > abi);
        newer.map(|(name, _since)| *name)
    }
}

impl fmt::Display for Rights {
    /// Words where all of what they stand for is there, names for the rest.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        let mut before = "";
        for (word, set) in WORDS {
            if self.0 & set == set {
                write!(f, "{before}{word}")?;
                rest &= !set;
                before = ", ";
            }
        }
        for (index, (name, _since)) in RIGHTS.iter().enumerate() {
            if rest & 1 << index != 0 {
                write!(f, "{before}{name}")?;
                before = ", ";
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use landlock::{ABI, Access as _, AccessFs};

    use super::*;

    #[test]
    fn the_table_is_that_of_the_kernel() {
        for (abi, number) in [
            (ABI::V1, 1),
            (ABI::V2, 2),
            (ABI::V3, 3),
            (ABI::V4, 4),
            (ABI::V5, 5),
        ] {
            assert_eq!(
                Rights::of_abi(number).bits(),
                AccessFs::from_all(abi).bits()
            );
        }
        assert_eq!(Rights::OF_FILES.bits(), AccessFs::from_file(ABI::V5).bits());
        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        assert_eq!(Rights::named("read"), Some(Rights(read.bits())));
        let never = AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev;
        let write = AccessFs::from_write(ABI::V5) & !never;
        assert_eq!(Rights::named("write"), Some(Rights(write.bits())));
        let ioctl = landlock::BitFlags::from(AccessFs::IoctlDev).bits();
        assert_eq!(Rights::named("ioctl_dev"), Some(Rights(ioctl)));
    }

    #[test]
    fn rights_are_said_in_words() {
        let all = Rights::of_abi(5);
        let expected = "read, write, execute, make_char, make_block, ioctl_dev";
        assert_eq!(all.to_string(), expected);
        assert_eq!(Rights::named("read_dir").unwrap().to_string(), "read_dir");
    }
}

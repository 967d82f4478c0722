//! Ranges of ids, as id maps have them.

use std::fmt;
use std::str::FromStr;

use crate::error::IdError;

/// Ids of a sandbox and the host's ids that they stand for: a line of `uid_map`
/// or `gid_map` (user_namespaces(7)).
///
/// Written `CONTAINER:HOST:SIZE`:
///
/// ```
/// use nucleus_core::IdRange;
///
/// let range: IdRange = "0:100000:65536".parse()?;
/// assert_eq!((range.inside(), range.outside(), range.count()), (0, 100_000, 65536));
/// # Ok::<(), nucleus_core::IdError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct IdRange {
    inside: u32,
    outside: u32,
    count: u32,
}

/// The most lines that a map can have (user_namespaces(7), since Linux 4.15).
const MOST: usize = 340;

impl IdRange {
    /// `count` ids from `inside` on, which are those from `outside` on for the
    /// host.
    ///
    /// # Errors
    ///
    /// No id at all, or one beyond 2³²-2, the last there is.
    pub fn new(inside: u32, outside: u32, count: u32) -> Result<Self, IdError> {
        let range = Self {
            inside,
            outside,
            count,
        };
        // The last id of all, 2³²-1, stands for none.
        let fits = |first: u32| first.checked_add(count).is_some();
        if count == 0 || !fits(inside) || !fits(outside) {
            return Err(IdError::Range { range });
        }
        Ok(range)
    }

    /// One id.
    pub(crate) const fn one(inside: u32, outside: u32) -> Self {
        Self {
            inside,
            outside,
            count: 1,
        }
    }

    /// The first id in the sandbox.
    #[must_use]
    pub const fn inside(self) -> u32 {
        self.inside
    }

    /// The host's id for it.
    #[must_use]
    pub const fn outside(self) -> u32 {
        self.outside
    }

    /// How many ids.
    #[must_use]
    pub const fn count(self) -> u32 {
        self.count
    }

    /// What an id of the sandbox is for the host.
    pub(crate) fn outward(self, id: u32) -> Option<u32> {
        let offset = id.checked_sub(self.inside)?;
        (offset < self.count).then(|| self.outside + offset)
    }

    /// What an id of the host is in the sandbox.
    pub(crate) fn inward(self, id: u32) -> Option<u32> {
        let offset = id.checked_sub(self.outside)?;
        (offset < self.count).then(|| self.inside + offset)
    }

    fn overlaps(self, other: Self) -> bool {
        let meet = |a: u32, b: u32| a < b + other.count && b < a + self.count;
        meet(self.inside, other.inside) || meet(self.outside, other.outside)
    }
}

impl FromStr for IdRange {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let wrong = || IdError::Syntax {
            text: text.to_owned(),
        };
        let mut numbers = text.split(':').map(str::parse::<u32>);
        let mut next = || numbers.next().and_then(Result::ok).ok_or_else(wrong);
        let (inside, outside, count) = (next()?, next()?, next()?);
        if numbers.next().is_some() {
            return Err(wrong());
        }
        Self::new(inside, outside, count)
    }
}

impl fmt::Display for IdRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.inside, self.outside, self.count)
    }
}

/// What an id of the sandbox is for the host.
pub(crate) fn outward(map: &[IdRange], id: u32) -> Option<u32> {
    map.iter().find_map(|range| range.outward(id))
}

/// What an id of the host is in the sandbox.
pub(crate) fn inward(map: &[IdRange], id: u32) -> Option<u32> {
    map.iter().find_map(|range| range.inward(id))
}

/// Checks what the kernel would refuse without a reason.
pub(crate) fn check(map: &[IdRange]) -> Result<(), IdError> {
    if map.len() > MOST {
        return Err(IdError::TooMany {
            count: map.len(),
            most: MOST,
        });
    }
    for (index, range) in map.iter().enumerate() {
        if let Some(other) = map[..index].iter().find(|other| range.overlaps(**other)) {
            return Err(IdError::Overlap {
                first: *other,
                second: *range,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_three_numbers() {
        let check = |text: &str, good| assert_eq!(text.parse::<IdRange>().is_ok(), good, "{text}");
        check("0:100000:65536", true);
        check("0:0:4294967295", true);
        check("1:0:4294967295", false);
        check("0:1:4294967295", false);
        check("0:0:0", false);
        check("0:0", false);
        check("0:0:1:1", false);
        check("a:0:1", false);
        check("-1:0:1", false);
        check("", false);
    }

    #[test]
    fn ids_are_found_in_both_directions() {
        let map = [IdRange::one(0, 1000), "1:100000:10".parse().unwrap()];
        assert_eq!(outward(&map, 0), Some(1000));
        assert_eq!(outward(&map, 10), Some(100_009));
        assert_eq!(outward(&map, 11), None);
        assert_eq!(inward(&map, 1000), Some(0));
        assert_eq!(inward(&map, 100_010), None);
    }

    #[test]
    fn overlapping_ranges_are_refused() {
        let check = |first: &str, second: &str, good| {
            let map = [first.parse().unwrap(), second.parse().unwrap()];
            assert_eq!(check(&map).is_ok(), good, "{first} {second}");
        };
        check("0:100:10", "10:110:5", true);
        check("0:100:10", "9:200:1", false);
        check("0:100:10", "20:109:1", false);
        check("20:109:1", "0:100:10", false);
    }
}

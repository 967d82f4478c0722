//! Users and groups as a caller's namespace numbers them.

use rustix::io::Errno;

use super::subject::Subject;
use crate::process::number;

/// What nobody is called who has no number inside (`overflowuid`).
const NOBODY: u32 = 65534;

/// The numbers of one kind, from `/proc/PID/uid_map` or `gid_map`.
#[derive(Debug)]
pub(super) struct Map(Vec<Extent>);

/// `count` numbers from `inside` on are those from `outside` on.
#[derive(Debug, Clone, Copy)]
struct Extent {
    inside: u32,
    outside: u32,
    count: u32,
}

impl Map {
    pub(super) fn of_users(subject: &Subject<'_>) -> Result<Self, Errno> {
        Self::parse(&subject.caller.read_proc("uid_map")?)
    }

    pub(super) fn of_groups(subject: &Subject<'_>) -> Result<Self, Errno> {
        Self::parse(&subject.caller.read_proc("gid_map")?)
    }

    fn parse(text: &[u8]) -> Result<Self, Errno> {
        let lines = text.split(|&byte| byte == b'\n');
        let lines = lines.filter(|line| !line.is_empty());
        let extents = lines.map(|line| {
            let words = line.split(u8::is_ascii_whitespace);
            let mut numbers = words.filter(|word| !word.is_empty()).map(number);
            let mut next = || numbers.next().flatten().ok_or(Errno::SRCH);
            Ok(Extent {
                inside: next()?,
                outside: next()?,
                count: next()?,
            })
        });
        extents.collect::<Result<_, _>>().map(Self)
    }

    /// What a number of the caller is here; `None` where it is nobody.
    pub(super) fn outside(&self, inside: u32) -> Option<u32> {
        let mut extents = self.0.iter();
        extents.find_map(|it| it.shift(inside, it.inside, it.outside))
    }

    /// What a number of ours is to the caller.
    pub(super) fn inside(&self, outside: u32) -> u32 {
        let mut extents = self.0.iter();
        let inside = extents.find_map(|it| it.shift(outside, it.outside, it.inside));
        inside.unwrap_or(NOBODY)
    }
}

impl Extent {
    fn shift(self, id: u32, from: u32, to: u32) -> Option<u32> {
        let offset = id.checked_sub(from)?;
        (offset < self.count).then(|| to.wrapping_add(offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shifted_both_ways() {
        let map = Map::parse(b"         0     100000      1000\n      1000 65534 1\n");
        let map = map.expect("a map");
        assert_eq!(map.outside(5), Some(100_005));
        assert_eq!(map.outside(1000), Some(65534));
        assert_eq!(map.outside(1001), None);
        assert_eq!(map.inside(100_999), 999);
        assert_eq!(map.inside(65534), 1000);
        assert_eq!(map.inside(0), NOBODY);
        let all = Map::parse(b"0 0 4294967295\n").expect("a map");
        assert_eq!(all.outside(7), Some(7));
    }
}

//! The ids that a user may map besides the own: `/etc/subuid` and
//! `/etc/subgid` (subuid(5)).

use std::fs;

use crate::error::IdError;
use crate::host;
use crate::ids::range::IdRange;

/// Which of the two kinds of ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    User,
    Group,
}

/// Some of the host's ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subordinate {
    pub(crate) first: u32,
    pub(crate) count: u32,
}

/// Both kinds of a user's subordinate ids.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct SubordinateIds {
    /// The user's name or number, as the two files have it.
    pub(crate) user: String,
    pub(crate) users: Vec<Subordinate>,
    pub(crate) groups: Vec<Subordinate>,
}

impl Kind {
    pub(crate) const fn file(self) -> &'static str {
        match self {
            Self::User => "/etc/subuid",
            Self::Group => "/etc/subgid",
        }
    }

    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Group => "group",
        }
    }
}

impl SubordinateIds {
    /// What the two files give a user.
    pub(crate) fn read(uid: u32) -> Result<Self, IdError> {
        let user = host::user_name(uid).unwrap_or_else(|| uid.to_string());
        let of = |kind: Kind| match fs::read(kind.file()) {
            Ok(file) => Ok(parse(&file, &user, uid)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(source) => Err(IdError::Unreadable {
                file: kind.file(),
                source,
            }),
        };
        Ok(Self {
            users: of(Kind::User)?,
            groups: of(Kind::Group)?,
            user,
        })
    }

    pub(crate) fn of(&self, kind: Kind) -> &[Subordinate] {
        match kind {
            Kind::User => &self.users,
            Kind::Group => &self.groups,
        }
    }
}

/// The ranges of a user, who is named by name or by number. Lines that are no
/// ranges are passed over, as the helpers do.
fn parse(file: &[u8], user: &str, uid: u32) -> Vec<Subordinate> {
    let uid = uid.to_string();
    file.split(|&byte| byte == b'\n')
        .filter_map(|line| {
            let mut fields = std::str::from_utf8(line).ok()?.trim().split(':');
            let owner = fields.next()?;
            let first: u32 = fields.next()?.parse().ok()?;
            let count: u32 = fields.next()?.parse().ok()?;
            let fits = count > 0 && first.checked_add(count).is_some();
            (fits && (owner == user || owner == uid)).then_some(Subordinate { first, count })
        })
        .collect()
}

/// Lays subordinate ids out from id 0 of the sandbox on, around an id that is
/// mapped to itself, if there is one.
pub(crate) fn lay_out(ranges: &[Subordinate], own: Option<u32>) -> Vec<IdRange> {
    let mut map = Vec::new();
    let mut inside = 0;
    let mut own = own;
    for range in ranges {
        let (mut first, mut count) = (range.first, range.count);
        while count > 0 {
            if own == Some(inside) {
                map.push(IdRange::one(inside, inside));
                own = None;
                inside += 1;
            }
            let room = match own {
                Some(own) if own > inside => own - inside,
                _ => u32::MAX - inside,
            };
            let part = count.min(room);
            let Ok(range) = IdRange::new(inside, first, part) else {
                // No id is left to give out.
                return map;
            };
            map.push(range);
            inside += part;
            first += part;
            count -= part;
        }
    }
    map.extend(own.map(|own| IdRange::one(own, own)));
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_belong_to_names_and_numbers() {
        let file = b"me:100000:65536\nyou:1:1\n1000:200000:10\nme:x:1\n\nme:5:0\nme:4294967295:1\n";
        let expected =
            [(100_000, 65536), (200_000, 10)].map(|(first, count)| Subordinate { first, count });
        assert_eq!(parse(file, "me", 1000), expected);
        assert_eq!(parse(file, "other", 3), []);
    }

    #[test]
    fn ranges_are_laid_out_around_the_own_id() {
        let check = |ranges: &[(u32, u32)], own, expected: &[&str]| {
            let ranges: Vec<_> = ranges
                .iter()
                .map(|&(first, count)| Subordinate { first, count })
                .collect();
            let map = lay_out(&ranges, own);
            let found: Vec<_> = map.iter().map(ToString::to_string).collect();
            assert_eq!(found, expected);
        };
        check(&[(100_000, 65536)], None, &["0:100000:65536"]);
        check(&[(10, 5), (50, 5)], None, &["0:10:5", "5:50:5"]);
        check(
            &[(100_000, 65536)],
            Some(1000),
            &["0:100000:1000", "1000:1000:1", "1001:101000:64536"],
        );
        check(
            &[(100_000, 10)],
            Some(1000),
            &["0:100000:10", "1000:1000:1"],
        );
        check(&[(100_000, 10)], Some(0), &["0:0:1", "1:100000:10"]);
        check(&[], Some(5), &["5:5:1"]);
    }
}

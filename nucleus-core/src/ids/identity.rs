//! Who the program is: from what is asked for, and from who asks, to ids and
//! the maps of a user namespace.

use crate::error::IdError;
use crate::host::Host;
use crate::ids::range::{self, IdRange};
use crate::ids::subordinate::{Kind, SubordinateIds, lay_out};
use crate::isolation::{User, UserNamespace};

/// The name in `/etc/passwd`, and the id inside, of a program that is to be
/// nobody on the host.
pub(crate) const GUEST: (&str, u32) = ("sandbox", 1000);

/// How many ids a range that owns nothing has.
const RANGE: u32 = 65536;

/// Who the program is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    /// User and group, inside of its user namespace.
    pub(crate) inside: (u32, u32),
    /// On the host.
    pub(crate) outside: (u32, u32),
    /// Its supplementary groups, inside; `None` leaves it those of the caller,
    /// because nobody may change them.
    pub(crate) groups: Option<Vec<u32>>,
    /// All ids of the user namespace.
    pub(crate) users: Vec<IdRange>,
    pub(crate) group_ranges: Vec<IdRange>,
    pub(crate) maker: Maker,
}

/// Who makes the user namespace, and so the mounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Maker {
    /// Init, which has root's privileges on the host and makes one for the
    /// program alone.
    Root,
    /// The caller, who may map nothing but the own id.
    Caller,
    /// newuidmap and newgidmap, for the caller.
    Helpers,
    /// Nobody: there is none.
    Nobody,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish<'a> {
    pub(crate) namespace: &'a UserNamespace,
    pub(crate) user: Option<User>,
    pub(crate) groups: &'a [u32],
}

impl Maker {
    /// Whether mounts are made with root's privileges on the host.
    pub(crate) const fn mounts_as_root(self) -> bool {
        matches!(self, Self::Root | Self::Nobody)
    }
}

impl Identity {
    /// Decides. The caller's subordinate ids are asked for only where they
    /// matter.
    pub(crate) fn decide(
        wish: &Wish<'_>,
        host: &Host,
        subordinate: impl FnOnce() -> Result<SubordinateIds, IdError>,
    ) -> Result<Self, IdError> {
        let identity = match host.root_s_guest() {
            Some(guest) => of_root(wish, host, guest)?,
            None => of_user(wish, host, subordinate)?,
        };
        range::check(&identity.users)?;
        range::check(&identity.group_ranges)?;
        for group in identity.groups.iter().flatten() {
            outward(&identity.group_ranges, *group, Kind::Group)?;
        }
        Ok(identity)
    }

    /// User and group as the process that makes the mounts names them.
    pub(crate) const fn of_mounts(&self) -> (u32, u32) {
        if self.maker.mounts_as_root() {
            self.outside
        } else {
            self.inside
        }
    }
}

fn of_root(wish: &Wish<'_>, host: &Host, guest: u32) -> Result<Identity, IdError> {
    let stranger = ids(wish.user, (GUEST.1, GUEST.1));
    let inside = match wish.namespace {
        UserNamespace::Default | UserNamespace::Auto | UserNamespace::NoMap => stranger,
        UserNamespace::KeepId => ids(wish.user, (host.uid, host.gid)),
        UserNamespace::Host => ids(wish.user, (guest, guest)),
        UserNamespace::Mapped { users, groups } => {
            let uid = default_id(users, host.uid);
            let gid = default_id(groups, host.gid);
            ids(wish.user, (uid, gid))
        }
    };
    let (users, groups) = match wish.namespace {
        // Groups that are asked for are the host's: why else ask?
        UserNamespace::Default | UserNamespace::Auto => (
            vec![IdRange::one(inside.0, guest)],
            with_groups(IdRange::one(inside.1, guest), wish.groups),
        ),
        UserNamespace::KeepId | UserNamespace::Host => (
            vec![IdRange::one(inside.0, inside.0)],
            with_groups(IdRange::one(inside.1, inside.1), wish.groups),
        ),
        UserNamespace::NoMap => {
            let first = host.guest_range(RANGE).ok_or(IdError::NoSpareRange)?;
            let all = vec![IdRange::new(0, first, RANGE)?];
            (all.clone(), all)
        }
        UserNamespace::Mapped { users, groups } => (users.clone(), groups.clone()),
    };
    if range::inward(&users, 0).is_some() {
        return Err(IdError::HostRoot);
    }
    Ok(Identity {
        inside,
        outside: both_outward(&users, &groups, inside)?,
        groups: Some(wish.groups.to_vec()),
        users,
        group_ranges: groups,
        maker: if *wish.namespace == UserNamespace::Host {
            Maker::Nobody
        } else {
            Maker::Root
        },
    })
}

fn of_user(
    wish: &Wish<'_>,
    host: &Host,
    subordinate: impl FnOnce() -> Result<SubordinateIds, IdError>,
) -> Result<Identity, IdError> {
    let own = (host.uid, host.gid);
    let (inside, users, groups) = match wish.namespace {
        UserNamespace::Host => return Err(IdError::RootOnly),
        UserNamespace::Default => {
            let inside = ids(wish.user, own);
            (inside, one(inside.0, own.0), one(inside.1, own.1))
        }
        UserNamespace::KeepId => {
            let inside = ids(wish.user, own);
            if inside == own && wish.groups.is_empty() {
                (own, one(own.0, own.0), one(own.1, own.1))
            } else {
                let ranges = subordinate()?;
                need(&ranges)?;
                let users = lay_out(&ranges.users, Some(own.0));
                (inside, users, lay_out(&ranges.groups, Some(own.1)))
            }
        }
        UserNamespace::Auto => {
            let ranges = subordinate()?;
            need(&ranges)?;
            let inside = ids(wish.user, (GUEST.1, GUEST.1));
            let pick = |kind| {
                let all = lay_out(ranges.of(kind), None);
                let count = all.iter().map(|range| range.count()).sum::<u32>().max(1);
                outward(&all, host.random % count, kind)
            };
            let users = one(inside.0, pick(Kind::User)?);
            (inside, users, one(inside.1, pick(Kind::Group)?))
        }
        UserNamespace::NoMap => {
            let ranges = subordinate()?;
            need(&ranges)?;
            let users = lay_out(&ranges.users, None);
            let groups = lay_out(&ranges.groups, None);
            let least = |map: &[IdRange]| {
                if range::outward(map, GUEST.1).is_some() {
                    GUEST.1
                } else {
                    0
                }
            };
            (
                ids(wish.user, (least(&users), least(&groups))),
                users,
                groups,
            )
        }
        UserNamespace::Mapped { users, groups } => {
            let inside = (default_id(users, own.0), default_id(groups, own.1));
            let inside = ids(wish.user, inside);
            if !(is_own(users, own.0) && is_own(groups, own.1)) {
                let ranges = subordinate()?;
                may_map(users, own.0, &ranges, Kind::User)?;
                may_map(groups, own.1, &ranges, Kind::Group)?;
            }
            (inside, users.clone(), groups.clone())
        }
    };
    let own_group = is_own(&groups, own.1);
    Ok(Identity {
        inside,
        outside: both_outward(&users, &groups, inside)?,
        // The price of a group map without privilege (user_namespaces(7)).
        groups: (!own_group || !wish.groups.is_empty()).then(|| wish.groups.to_vec()),
        maker: if is_own(&users, own.0) && own_group {
            Maker::Caller
        } else {
            Maker::Helpers
        },
        users,
        group_ranges: groups,
    })
}

/// The ids that were asked for, or others.
fn ids(user: Option<User>, otherwise: (u32, u32)) -> (u32, u32) {
    user.map_or(otherwise, |user| (user.uid, user.gid))
}

fn one(inside: u32, outside: u32) -> Vec<IdRange> {
    vec![IdRange::one(inside, outside)]
}

/// A group map with the host's groups besides.
fn with_groups(own: IdRange, groups: &[u32]) -> Vec<IdRange> {
    let mut map = vec![own];
    for &group in groups {
        if range::outward(&map, group).is_none() {
            map.push(IdRange::one(group, group));
        }
    }
    map
}

/// Who the program is by default in a map: the caller, unless that is root;
/// else the usual id; else the first there is.
fn default_id(map: &[IdRange], own: u32) -> u32 {
    let caller = range::inward(map, own).filter(|_id| own != 0);
    let usual = range::outward(map, GUEST.1).map(|_outside| GUEST.1);
    let first = map.iter().map(|range| range.inside()).min();
    caller.or(usual).or(first).unwrap_or(GUEST.1)
}

/// Whether a map has the caller's id alone, which needs no privilege.
fn is_own(map: &[IdRange], own: u32) -> bool {
    matches!(map, [range] if range.outside() == own && range.count() == 1)
}

fn outward(map: &[IdRange], id: u32, kind: Kind) -> Result<u32, IdError> {
    range::outward(map, id).ok_or(IdError::NotMapped {
        what: kind.word(),
        id,
    })
}

fn both_outward(
    users: &[IdRange],
    groups: &[IdRange],
    (uid, gid): (u32, u32),
) -> Result<(u32, u32), IdError> {
    Ok((
        outward(users, uid, Kind::User)?,
        outward(groups, gid, Kind::Group)?,
    ))
}

/// Fails unless the caller has subordinate ids of both kinds.
fn need(ranges: &SubordinateIds) -> Result<(), IdError> {
    for kind in [Kind::User, Kind::Group] {
        if ranges.of(kind).is_empty() {
            return Err(IdError::NoSubordinate {
                file: kind.file(),
                user: ranges.user.clone(),
            });
        }
    }
    Ok(())
}

/// Fails unless the caller may map these ids of the host: the own one, and
/// subordinate ones.
fn may_map(map: &[IdRange], own: u32, ranges: &SubordinateIds, kind: Kind) -> Result<(), IdError> {
    let allowed = |range: &IdRange| {
        let mut of_user = ranges.of(kind).iter();
        let end = range.outside() + range.count();
        (range.outside() == own && range.count() == 1)
            || of_user.any(|have| have.first <= range.outside() && end <= have.first + have.count)
    };
    match map.iter().find(|range| !allowed(range)) {
        None => Ok(()),
        Some(range) => Err(IdError::NotSubordinate {
            range: *range,
            what: kind.word(),
            file: kind.file(),
            user: ranges.user.clone(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::subordinate::Subordinate;

    const GUEST_ID: u32 = 0x7000_0005;

    fn host(uid: u32) -> Host {
        Host {
            uid,
            gid: uid,
            guest: (uid == 0).then_some(GUEST_ID),
            random: 7,
            ..Host::default()
        }
    }

    fn subordinate() -> Result<SubordinateIds, IdError> {
        let range = Subordinate {
            first: 100_000,
            count: 65536,
        };
        Ok(SubordinateIds {
            user: "user".to_owned(),
            users: vec![range],
            groups: vec![range],
        })
    }

    fn user(uid: u32) -> Option<User> {
        Some(User { uid, gid: uid })
    }

    fn mapped(range: &str) -> UserNamespace {
        let map = vec![range.parse().unwrap()];
        UserNamespace::Mapped {
            users: map.clone(),
            groups: map,
        }
    }

    /// `INSIDE OUTSIDE MAP` and who makes it.
    #[track_caller]
    fn check(caller: u32, namespace: UserNamespace, asked: Option<User>, expected: (&str, Maker)) {
        let wish = Wish {
            namespace: &namespace,
            user: asked,
            groups: &[],
        };
        let found = Identity::decide(&wish, &host(caller), subordinate).unwrap();
        let map: Vec<_> = found.users.iter().map(ToString::to_string).collect();
        let text = format!("{} {} {}", found.inside.0, found.outside.0, map.join(","));
        assert_eq!((text.as_str(), found.maker), expected);
        assert_eq!(found.users, found.group_ranges);
    }

    #[test]
    fn root_s_programs_own_nothing_unless_they_are_to() {
        use UserNamespace::{Auto, Default, Host, KeepId, NoMap};
        let guest = "1000 1879048197 1000:1879048197:1";
        check(0, Default, None, (guest, Maker::Root));
        check(0, Auto, None, (guest, Maker::Root));
        let zero = "0 1879048197 0:1879048197:1";
        check(0, Auto, user(0), (zero, Maker::Root));
        check(0, KeepId, user(33), ("33 33 33:33:1", Maker::Root));
        let range = "1000 1879049192 0:1879048192:65536";
        check(0, NoMap, None, (range, Maker::Root));
        let plain = "1879048197 1879048197 1879048197:1879048197:1";
        check(0, Host, None, (plain, Maker::Nobody));
        let map = "1000 5000 1000:5000:1";
        check(0, mapped("1000:5000:1"), None, (map, Maker::Root));
    }

    #[test]
    fn nobody_becomes_the_host_s_root() {
        for (namespace, asked) in [
            (UserNamespace::KeepId, None),
            (UserNamespace::KeepId, user(0)),
            (UserNamespace::Host, user(0)),
            (mapped("0:0:2000"), None),
        ] {
            let wish = Wish {
                namespace: &namespace,
                user: asked,
                groups: &[],
            };
            let refused = Identity::decide(&wish, &host(0), subordinate);
            assert!(matches!(refused, Err(IdError::HostRoot)), "{refused:?}");
        }
    }

    #[test]
    fn users_stay_who_they_are_unless_they_have_other_ids() {
        use UserNamespace::{Auto, Default, KeepId, NoMap};
        check(5, Default, None, ("5 5 5:5:1", Maker::Caller));
        check(5, Default, user(0), ("0 5 0:5:1", Maker::Caller));
        check(5, KeepId, None, ("5 5 5:5:1", Maker::Caller));
        let around = "0 100000 0:100000:5,5:5:1,6:100005:65531";
        check(5, KeepId, user(0), (around, Maker::Helpers));
        check(5, Auto, None, ("1000 100007 1000:100007:1", Maker::Helpers));
        let all = "1000 101000 0:100000:65536";
        check(5, NoMap, None, (all, Maker::Helpers));
        check(5, mapped("0:5:1"), None, ("0 5 0:5:1", Maker::Caller));
        let some = "1000 101000 0:100000:2000";
        check(5, mapped("0:100000:2000"), None, (some, Maker::Helpers));
    }

    #[test]
    fn groups_are_the_host_s_where_they_can_be() {
        let decide = |caller, namespace, groups: &[u32]| {
            let wish = Wish {
                namespace: &namespace,
                user: None,
                groups,
            };
            Identity::decide(&wish, &host(caller), subordinate)
        };
        let found = decide(0, UserNamespace::Default, &[44, 1000]).unwrap();
        let map: Vec<_> = found.group_ranges.iter().map(ToString::to_string).collect();
        assert_eq!(map, ["1000:1879048197:1", "44:44:1"]);
        assert_eq!(found.groups, Some(vec![44, 1000]));
        let found = decide(5, UserNamespace::Default, &[]).unwrap();
        assert_eq!(found.groups, None);
        let error = decide(5, UserNamespace::Default, &[44]).unwrap_err();
        assert!(error.to_string().contains("--gidmap 44:"), "{error}");
    }

    #[test]
    fn what_a_user_may_not_map_is_named_with_the_line_to_add() {
        let decide = |namespace: &UserNamespace, ids: SubordinateIds| {
            let wish = Wish {
                namespace,
                user: None,
                groups: &[],
            };
            let decided = Identity::decide(&wish, &host(5), || Ok(ids));
            decided.unwrap_err().to_string()
        };
        let none = SubordinateIds {
            user: "user".to_owned(),
            ..SubordinateIds::default()
        };
        let error = decide(&UserNamespace::Auto, none);
        assert!(error.contains("/etc/subuid"), "{error}");
        assert!(error.contains("user:100000:65536"), "{error}");
        let error = decide(&mapped("0:200000:10"), subordinate().unwrap());
        assert!(error.contains("user:200000:10"), "{error}");
        let error = decide(&UserNamespace::Host, SubordinateIds::default());
        assert!(error.contains("root"), "{error}");
    }
}

//! Which extended attributes are a file's own, and which overlayfs's.

use std::ffi::{CStr, CString};
use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use super::{Layers, Mapped, Owner, beneath};
use crate::ids::inward;

pub(super) const CAPABILITY: &CStr = c"security.capability";

/// Attributes by name, ascending.
pub(crate) type Attributes = Vec<(CString, Vec<u8>)>;

/// How an overlay marks its files, and whose ids they have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Marks<'a> {
    user: bool,
    mapped: Option<&'a Mapped>,
}

/// The attributes of a file of the upper layer, as a commit makes them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Carried {
    pub(super) attributes: Attributes,
    /// An access control list names ids that are the sandbox's alone.
    pub(super) without_acl: bool,
}

impl<'a> Marks<'a> {
    pub(super) const fn of(layers: &'a Layers) -> Self {
        Self {
            user: layers.user_xattr,
            mapped: match &layers.owner {
                Owner::Mapped(mapped) => Some(mapped),
                Owner::Caller | Owner::Same => None,
            },
        }
    }

    /// On a folder that lets nothing of the host show through.
    pub(super) const fn opaque(self) -> &'static CStr {
        if self.user {
            c"user.overlay.opaque"
        } else {
            c"trusted.overlay.opaque"
        }
    }

    /// The marks of entries that stand for something at another place, which
    /// the layers are mounted without: no such entry can be understood.
    pub(super) const fn elsewhere(self) -> [&'static CStr; 2] {
        if self.user {
            [c"user.overlay.redirect", c"user.overlay.metacopy"]
        } else {
            [c"trusted.overlay.redirect", c"trusted.overlay.metacopy"]
        }
    }

    /// Those of a file of the upper layer, with the host's ids.
    pub(super) fn carried(self, file: BorrowedFd<'_>) -> Result<Carried, Errno> {
        let mut carried = Carried::default();
        for (name, value) in own(file)? {
            let acl = self.mapped.filter(|_mapped| is_acl(&name));
            match acl.map_or(Some(value.clone()), |mapped| outward(value, mapped)) {
                Some(value) => carried.attributes.push((name, value)),
                None => carried.without_acl = true,
            }
        }
        Ok(carried)
    }
}

/// The attributes that belong to a file's content. Those of `security.*` give
/// privileges, those of `trusted.*` are root's.
pub(crate) fn own(file: BorrowedFd<'_>) -> Result<Attributes, Errno> {
    let mut own = Vec::new();
    for name in beneath::attributes(file)? {
        if is_own(&name)
            && let Some(value) = beneath::attribute(file, &name)?
        {
            own.push((name, value));
        }
    }
    Ok(own)
}

pub(super) fn is_own(name: &CStr) -> bool {
    is_acl(name) || (is_user(name) && !name.to_bytes().starts_with(b"user.overlay."))
}

pub(crate) fn is_user(name: &CStr) -> bool {
    name.to_bytes().starts_with(b"user.")
}

fn is_acl(name: &CStr) -> bool {
    name.to_bytes().starts_with(b"system.posix_acl_")
}

/// Replaces the attributes of a folder that are its own.
pub(super) fn replace(folder: BorrowedFd<'_>, attributes: &Attributes) -> Result<(), Errno> {
    for name in beneath::attributes(folder)? {
        if is_own(&name) && !attributes.iter().any(|(kept, _value)| *kept == name) {
            rustix::fs::fremovexattr(folder, name.as_c_str())?;
        }
    }
    set(folder, attributes)
}

pub(super) fn set(file: BorrowedFd<'_>, attributes: &Attributes) -> Result<(), Errno> {
    attributes
        .iter()
        .try_for_each(|(name, value)| beneath::set_attribute(file, name, value))
}

/// An access control list of the upper layer as the host's: what names the
/// program names the owner of the folder. `None` when it names another id of
/// the sandbox, or none that the host knows.
fn outward(acl: Vec<u8>, mapped: &Mapped) -> Option<Vec<u8>> {
    translate(acl, |kind, id| {
        let (ranges, program, owner) = match kind {
            Named::User => (&mapped.users, mapped.program.0, mapped.owner.0),
            Named::Group => (&mapped.groups, mapped.program.1, mapped.owner.1),
        };
        match id {
            _ if id == program => Some(owner),
            u32::MAX => None,
            _ => inward(ranges, id).is_none().then_some(id),
        }
    })
}

/// Whom an entry of a list is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Named {
    User,
    Group,
}

/// The list with other ids (`struct posix_acl_xattr_entry` in
/// `include/uapi/linux/posix_acl_xattr.h`, little-endian); `None` when one has
/// none, or the list is of a version that nobody knows.
pub(crate) fn translate(
    mut acl: Vec<u8>,
    id: impl Fn(Named, u32) -> Option<u32>,
) -> Option<Vec<u8>> {
    const VERSION: [u8; 4] = [2, 0, 0, 0];
    const USER: [u8; 2] = [0x02, 0];
    const GROUP: [u8; 2] = [0x08, 0];
    let (version, entries) = acl.split_first_chunk_mut::<4>()?;
    let (entries, rest) = entries.as_chunks_mut::<8>();
    if *version != VERSION || !rest.is_empty() {
        return None;
    }
    for [tag, more, _, _, number @ ..] in entries {
        let kind = match [*tag, *more] {
            USER => Named::User,
            GROUP => Named::Group,
            _ => continue,
        };
        *number = id(kind, u32::from_le_bytes(*number))?.to_le_bytes();
    }
    Some(acl)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::IdRange;

    fn acl(entries: &[(u16, u32)]) -> Vec<u8> {
        let mut bytes = 2_u32.to_le_bytes().to_vec();
        for (tag, id) in entries {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(6_u16.to_le_bytes());
            bytes.extend(id.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn lists_get_the_ids_of_the_host() {
        let mapped = Mapped {
            program: (7000, 7001),
            owner: (50, 51),
            users: vec![IdRange::new(0, 7000, 10).unwrap()],
            groups: vec![IdRange::new(0, 7000, 10).unwrap()],
        };
        let check = |from: &[(u16, u32)], to: Option<&[(u16, u32)]>| {
            assert_eq!(outward(acl(from), &mapped), to.map(acl), "{from:?}");
        };
        let nobody = u32::MAX;
        check(
            &[(1, nobody), (2, 7000), (2, 1000), (4, nobody), (8, 7001)],
            Some(&[(1, nobody), (2, 50), (2, 1000), (4, nobody), (8, 51)]),
        );
        check(&[(2, 7001)], None);
        check(&[(8, 7000)], None);
        check(&[(2, nobody)], None);
        assert_eq!(outward(vec![1, 0, 0, 0], &mapped), None);
        assert_eq!(outward(vec![2, 0, 0, 0, 2], &mapped), None);
        assert_eq!(outward(Vec::new(), &mapped), None);
    }
}

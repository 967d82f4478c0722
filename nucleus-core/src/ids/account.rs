//! Users and groups by name, as the host's `/etc/passwd` and `/etc/group`
//! have them (passwd(5), group(5)).

use std::fs;

use crate::error::IdError;
use crate::isolation::User;

impl User {
    /// Reads `USER[:GROUP]`, where each is a number or a name of the host. The
    /// group is by default that of the user, or, if the host knows no such
    /// user, the same number.
    ///
    /// # Errors
    ///
    /// A name that the host does not know.
    pub fn lookup(text: &str) -> Result<Self, IdError> {
        let passwd = || read("/etc/passwd");
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        let (uid, own_group) = find_user(&passwd()?, user)?;
        let gid = match group {
            Some(group) => Self::lookup_group(group)?,
            None => own_group.unwrap_or(uid),
        };
        Ok(Self { uid, gid })
    }

    /// Reads a group, a number or a name of the host.
    ///
    /// # Errors
    ///
    /// A name that the host does not know.
    pub fn lookup_group(text: &str) -> Result<u32, IdError> {
        match number(text) {
            Some(gid) => Ok(gid),
            None => find_group(&read("/etc/group")?, text),
        }
    }
}

/// A host without such a file knows no names.
fn read(file: &'static str) -> Result<Vec<u8>, IdError> {
    match fs::read(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other.map_err(|source| IdError::Unreadable { file, source }),
    }
}

/// An id; the last number of all stands for none.
fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|&id| id != u32::MAX)
}

/// The id of a user, and its group where the host knows it.
fn find_user(passwd: &[u8], user: &str) -> Result<(u32, Option<u32>), IdError> {
    let id = number(user);
    let known = passwd.split(|&byte| byte == b'\n').find_map(|line| {
        let mut fields = std::str::from_utf8(line).ok()?.split(':');
        let name = fields.next()?;
        let uid: u32 = fields.nth(1)?.parse().ok()?;
        let gid: u32 = fields.next()?.parse().ok()?;
        let same = id.map_or(name == user, |id| id == uid);
        same.then_some((uid, Some(gid)))
    });
    known
        .or(id.map(|uid| (uid, None)))
        .ok_or_else(|| IdError::Unknown {
            what: "user",
            name: user.to_owned(),
            file: "/etc/passwd",
        })
}

fn find_group(group: &[u8], wanted: &str) -> Result<u32, IdError> {
    let known = group.split(|&byte| byte == b'\n').find_map(|line| {
        let mut fields = std::str::from_utf8(line).ok()?.split(':');
        let name = fields.next()?;
        let gid = fields.nth(1)?.parse().ok()?;
        (name == wanted).then_some(gid)
    });
    known.ok_or_else(|| IdError::Unknown {
        what: "group",
        name: wanted.to_owned(),
        file: "/etc/group",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\nwww:x:33:34::/:\nbroken\nme:x:a:b:::\n";

    #[test]
    fn users_are_names_or_numbers() {
        let check = |user: &str, expected: Option<(u32, Option<u32>)>| {
            assert_eq!(find_user(PASSWD, user).ok(), expected, "{user}");
        };
        check("root", Some((0, Some(0))));
        check("www", Some((33, Some(34))));
        check("33", Some((33, Some(34))));
        check("77", Some((77, None)));
        check("me", None);
        check("nobody-here", None);
        check("4294967295", None);
        check("", None);
    }

    #[test]
    fn groups_are_found_by_name() {
        let group = b"root:x:0:\nvideo:x:44:me,you\n";
        assert_eq!(find_group(group, "video").ok(), Some(44));
        assert!(find_group(group, "audio").is_err());
        assert_eq!(User::lookup_group("12").ok(), Some(12));
    }
}

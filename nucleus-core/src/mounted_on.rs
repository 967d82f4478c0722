//! Which file system a path is on, for errors that name it.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxFlags};

/// A mounted file system.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MountedOn {
    /// `ext4`, `vfat`, `fuse.sshfs`.
    pub(crate) kind: String,
    pub(crate) point: PathBuf,
}

impl MountedOn {
    /// The one that a path is on, if /proc says.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let stat = rustix::fs::statx(CWD, path, AtFlags::empty(), StatxFlags::MNT_ID).ok()?;
        let mounts = fs::read("/proc/self/mountinfo").ok()?;
        Self::find(&mounts, stat.stx_mnt_id)
    }

    /// The mount of this number in a `mountinfo` (proc_pid_mountinfo(5)):
    /// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw`.
    fn find(mounts: &[u8], number: u64) -> Option<Self> {
        mounts.split(|&byte| byte == b'\n').find_map(|line| {
            let mut fields = line.split(|&byte| byte == b' ');
            let this: u64 = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
            let point = fields.nth(3).filter(|_point| this == number)?;
            let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
            Some(Self {
                kind: String::from_utf8_lossy(kind).into_owned(),
                point: OsString::from_vec(unescaped(point)).into(),
            })
        })
    }
}

/// White space and backslashes are written as three octal digits.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, behind @ ..] = rest {
        let escaped = match behind {
            [a, b, c, ..] if *first == b'\\' => std::str::from_utf8(&[*a, *b, *c])
                .ok()
                .and_then(|digits| u8::from_str_radix(digits, 8).ok()),
            _ => None,
        };
        bytes.push(escaped.unwrap_or(*first));
        rest = behind
            .get(if escaped.is_some() { 3 } else { 0 }..)
            .unwrap_or_default();
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_found_by_its_number() {
        let mounts = b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw\n\
            37 35 0:5 / /a\\040b\\134 rw - fuse.sshfs host: rw\n38 35 garbage\n";
        let check = |number, expected: Option<(&str, &str)>| {
            let expected = expected.map(|(kind, point)| MountedOn {
                kind: kind.to_owned(),
                point: point.into(),
            });
            assert_eq!(MountedOn::find(mounts, number), expected);
        };
        check(36, Some(("ext3", "/mnt2")));
        check(37, Some(("fuse.sshfs", "/a b\\")));
        check(38, None);
        check(3, None);
    }
}

//! Which file system a path is on, for errors that name it.

use std::fs;
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
    /// The one that a real path is on, if /proc says.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let number = mount(path)?;
        let mounts = fs::read("/proc/self/mountinfo").ok()?;
        let ancestors = path.ancestors();
        // The list of mounts has it as well, but with characters escaped.
        let point = ancestors
            .take_while(|ancestor| mount(ancestor) == Some(number))
            .last()?;
        Some(Self {
            kind: kind(&mounts, number)?,
            point: point.to_owned(),
        })
    }
}

/// The number of the mount that a path is on (statx(2), since Linux 5.8).
fn mount(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statx(CWD, path, AtFlags::empty(), StatxFlags::MNT_ID).ok()?;
    let known = StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::MNT_ID);
    known.then_some(stat.stx_mnt_id)
}

/// The type of a mount in a `mountinfo` (proc_pid_mountinfo(5)):
/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw`.
fn kind(mounts: &[u8], number: u64) -> Option<String> {
    mounts.split(|&byte| byte == b'\n').find_map(|line| {
        let mut fields = line.split(|&byte| byte == b' ');
        let this: u64 = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
        let mut behind = fields.skip_while(|field| *field != b"-");
        let kind = behind.nth(1).filter(|_kind| this == number)?;
        Some(String::from_utf8_lossy(kind).into_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_found_by_its_number() {
        let mounts = b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw\n\
            37 35 0:5 / /a\\040b\\134 rw - fuse.sshfs host: rw\n38 35 garbage\n";
        let check = |number, expected: Option<&str>| {
            assert_eq!(kind(mounts, number).as_deref(), expected);
        };
        check(36, Some("ext3"));
        check(37, Some("fuse.sshfs"));
        check(38, None);
        check(3, None);
    }

    #[test]
    fn a_path_is_on_the_mount_above_it() {
        let found = MountedOn::of(Path::new("/proc/self/stat")).unwrap();
        let expected = MountedOn {
            kind: "proc".to_owned(),
            point: "/proc".into(),
        };
        assert_eq!(found, expected);
    }
}

//! `/proc/PID/mountinfo`: which file system is mounted where.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// One mount (proc_pid_mountinfo(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Major and minor number of the file system, as `st_dev` shows them.
    pub device: (u32, u32),
    /// The directory of the file system that is the root of this mount.
    pub root: PathBuf,
    /// Where it is mounted, relative to the reader's root.
    pub mount_point: PathBuf,
    /// Whether this mount or its file system is read-only.
    pub read_only: bool,
    /// The type, such as `cgroup2`.
    pub fs_type: OsString,
    /// The options of the file system, such as `rw,memory,nsdelegate`.
    pub super_options: OsString,
}

/// Why a line is not one of mountinfo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {line} is not a mountinfo line: {what}")]
pub struct MountinfoError {
    /// The line, counted from 1.
    pub line: usize,
    /// The field that is missing or malformed.
    pub what: &'static str,
}

/// Reads every line, in the order of the file.
///
/// Fields are bytes: a mount point may hold anything but a null byte, and the
/// kernel writes blank, tab, newline and backslash as octal escapes.
///
/// # Errors
///
/// A line that lacks a field, or whose device is no pair of numbers.
pub fn parse(bytes: &[u8]) -> Result<Vec<Mount>, MountinfoError> {
    bytes
        .split(|&byte| byte == b'\n')
        .enumerate()
        .filter(|(_, line)| !line.is_empty())
        .map(|(index, line)| {
            parse_line(line).map_err(|what| MountinfoError {
                line: index + 1,
                what,
            })
        })
        .collect()
}

fn parse_line(line: &[u8]) -> Result<Mount, &'static str> {
    let mut fields = line.split(|&byte| byte == b' ');
    let mut field = |name: &'static str| fields.next().ok_or(name);
    field("mount id")?;
    field("parent id")?;
    let device = device(field("device")?).ok_or("device")?;
    let root = unescape(field("root")?);
    let mount_point = unescape(field("mount point")?);
    let options = field("mount options")?;
    // Optional fields follow, none or many, up to a lone hyphen.
    while field("separator")? != b"-" {}
    let fs_type = unescape(field("file system type")?);
    field("mount source")?;
    let super_options = field("super options")?;
    Ok(Mount {
        device,
        root: PathBuf::from(OsString::from_vec(root)),
        mount_point: PathBuf::from(OsString::from_vec(mount_point)),
        read_only: has_option(options, b"ro") || has_option(super_options, b"ro"),
        fs_type: OsString::from_vec(fs_type),
        super_options: OsString::from_vec(unescape(super_options)),
    })
}

fn device(field: &[u8]) -> Option<(u32, u32)> {
    let text = std::str::from_utf8(field).ok()?;
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn has_option(options: &[u8], wanted: &[u8]) -> bool {
    options.split(|&byte| byte == b',').any(|o| o == wanted)
}

/// Undoes the kernel's `\ooo` (`mangle` in fs/proc_namespace.c); what only
/// looks like an escape stays as it is.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        match octal(rest) {
            Some(byte) => {
                plain.push(byte);
                rest = &rest[4..];
            }
            None => {
                plain.push(first);
                rest = after;
            }
        }
    }
    plain
}

fn octal(bytes: &[u8]) -> Option<u8> {
    let [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] = bytes else {
        return None;
    };
    Some((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn one(line: &[u8]) -> Mount {
        let mut mounts = parse(line).expect("a valid line");
        assert_eq!(mounts.len(), 1);
        mounts.remove(0)
    }

    #[test]
    fn a_line_with_and_without_optional_fields() {
        let plain = one(b"41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n");
        assert_eq!(plain.device, (0, 38));
        assert_eq!(plain.root, Path::new("/"));
        assert_eq!(plain.mount_point, Path::new("/sys/fs/cgroup/unified"));
        assert_eq!(plain.fs_type, "cgroup2");
        assert!(!plain.read_only);

        let shared = one(
            b"30 23 0:26 /../.. /sys/fs/cgroup ro,nosuid shared:9 master:3 - cgroup2 cgroup2 rw,nsdelegate",
        );
        assert_eq!(shared.root, Path::new("/../.."));
        assert!(
            shared.read_only,
            "a read-only mount of a writable file system"
        );
        assert_eq!(shared.super_options, "rw,nsdelegate");
    }

    #[test]
    fn names_are_bytes_and_escapes_are_undone() {
        let mount = one(b"1 2 8:1 /a\\040b /mnt/\\011\\134x\\012\xff rw - ext4 /dev/sda1 rw");
        assert_eq!(mount.root, Path::new("/a b"));
        assert_eq!(
            mount.mount_point.as_os_str().as_encoded_bytes(),
            b"/mnt/\t\\x\n\xff"
        );
        assert_eq!(unescape(b"\\04"), b"\\04", "cut off");
        assert_eq!(unescape(b"\\777"), b"\\777", "no byte");
    }

    #[test]
    fn a_malformed_line_is_named() {
        fn check(line: &[u8], what: &'static str) {
            let text = [b"1 2 8:1 / / rw - ext4 a rw\n", line].concat();
            assert_eq!(parse(&text), Err(MountinfoError { line: 2, what }));
        }
        check(b"1", "parent id");
        check(b"1 2 8 / / rw - ext4 a rw", "device");
        check(b"1 2 8:x / / rw - ext4 a rw", "device");
        check(b"1 2 8:1 / / rw shared:1", "separator");
        check(b"1 2 8:1 / / rw - ext4 a", "super options");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_parse_or_fail_but_never_panic(bytes: Vec<u8>) {
            let _outcome: Result<Vec<Mount>, MountinfoError> = parse(&bytes);
        }

        #[test]
        fn what_the_kernel_escapes_comes_back(name: Vec<u8>) {
            let mut escaped = Vec::new();
            for &byte in &name {
                if b" \t\n\\#".contains(&byte) {
                    escaped.extend(format!("\\{byte:03o}").bytes());
                } else {
                    escaped.push(byte);
                }
            }
            proptest::prop_assert_eq!(unescape(&escaped), name);
        }
    }
}

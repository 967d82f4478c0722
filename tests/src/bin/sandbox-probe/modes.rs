//! Files by which whoever executes them becomes their owner.

use std::ffi::CStr;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use crate::{at, call, errno, number_of};

const AT_FDCWD: u64 = (-100_i64).cast_unsigned();
/// The same on every architecture; not known to libc on all.
const FCHMODAT2: libc::c_long = 452;
const SET_USER_ID: u64 = 0o4755;
const SET_GROUP_ID: u64 = 0o2755;

/// What makes a file with such a bit, or gives one to a file, in `folder`,
/// which the program may write to.
pub(crate) fn modes(folder: &str) -> Vec<(&'static str, i32)> {
    let path = |name: &str| std::ffi::CString::new(format!("{folder}/{name}")).unwrap_or_default();
    let (plain, new) = (path("plain"), path("new"));
    let file = match std::fs::write(format!("{folder}/plain"), "") {
        Ok(()) => std::fs::File::open(format!("{folder}/plain")),
        Err(error) => Err(error),
    };
    let fd = match &file {
        Ok(file) => number_of(file),
        Err(error) => return vec![("make a file", errno(error))],
    };
    let make = libc::O_CREAT | libc::O_WRONLY | libc::O_EXCL;
    let attempts = [
        (
            "set-user-ID by fchmod",
            call(libc::SYS_fchmod, &[fd, SET_USER_ID]),
        ),
        (
            "set-group-ID by fchmod",
            call(libc::SYS_fchmod, &[fd, SET_GROUP_ID]),
        ),
        (
            "set-user-ID by fchmodat",
            call(libc::SYS_fchmodat, &[AT_FDCWD, at(&plain), SET_USER_ID]),
        ),
        (
            "set-user-ID by fchmodat2",
            call(FCHMODAT2, &[AT_FDCWD, at(&plain), SET_USER_ID, 0]),
        ),
        // The kernel looks at 16 bits of a mode.
        (
            "set-user-ID by fchmod with more bits",
            call(libc::SYS_fchmod, &[fd, SET_USER_ID | 0xdead_0000]),
        ),
        (
            "set-user-ID by openat",
            removed(&new, call_openat(&new, make, SET_USER_ID)),
        ),
        (
            "set-group-ID by openat",
            removed(&new, call_openat(&new, make, SET_GROUP_ID)),
        ),
        (
            "set-user-ID without a name",
            call_openat(&path(""), libc::O_TMPFILE | libc::O_RDWR, SET_USER_ID),
        ),
        ("set-user-ID by openat2", {
            let how = [u64::from(make.unsigned_abs()), SET_USER_ID, 0];
            let how = how.as_ptr().addr() as u64;
            removed(
                &new,
                call(libc::SYS_openat2, &[AT_FDCWD, at(&new), how, 24]),
            )
        }),
        ("set-user-ID by mknodat", {
            let mode = u64::from(libc::S_IFREG) | SET_USER_ID;
            removed(
                &new,
                call(libc::SYS_mknodat, &[AT_FDCWD, at(&new), mode, 0]),
            )
        }),
    ];
    let mut attempts = attempts.to_vec();
    attempts.extend(old_calls(&plain, &new, make));
    // The bits of a folder run nothing, and no call sets them while it is made.
    let made = path("folder");
    let mode = match call(libc::SYS_mkdirat, &[AT_FDCWD, at(&made), 0o6755]) {
        0 => std::fs::metadata(format!("{folder}/folder")).map_or(-1, |found| {
            i32::from(found.permissions().mode() & 0o6000 != 0)
        }),
        errno => errno,
    };
    attempts.push(("a folder with bits by mkdirat", mode));
    // Without them each call does what it is for.
    let mode = Permissions::from_mode(0o755);
    let plain = file.and_then(|file| file.set_permissions(mode));
    attempts.push(("mode without them", crate::done(plain)));
    attempts
}

fn call_openat(path: &CStr, flags: i32, mode: u64) -> i32 {
    let flags = u64::from(flags.unsigned_abs());
    call(libc::SYS_openat, &[AT_FDCWD, at(path), flags, mode])
}

/// For the next attempt; the file is there only where this one worked.
fn removed(path: &CStr, errno: i32) -> i32 {
    if errno == 0 {
        call(libc::SYS_unlinkat, &[AT_FDCWD, at(path), 0]);
    }
    errno
}

/// What only older architectures have.
#[cfg(target_arch = "x86_64")]
fn old_calls(plain: &CStr, new: &CStr, make: i32) -> Vec<(&'static str, i32)> {
    let flags = u64::from(make.unsigned_abs());
    let node = u64::from(libc::S_IFREG) | SET_USER_ID;
    vec![
        (
            "set-user-ID by chmod",
            call(libc::SYS_chmod, &[at(plain), SET_USER_ID]),
        ),
        (
            "set-user-ID by open",
            removed(new, call(libc::SYS_open, &[at(new), flags, SET_USER_ID])),
        ),
        // Flags make no file, so that the mode means nothing.
        (
            "open with a mode that means nothing",
            call(libc::SYS_open, &[at(plain), 0, SET_USER_ID]),
        ),
        (
            "set-user-ID by creat",
            removed(new, call(libc::SYS_creat, &[at(new), SET_USER_ID])),
        ),
        (
            "set-user-ID by mknod",
            removed(new, call(libc::SYS_mknod, &[at(new), node, 0])),
        ),
    ]
}

#[cfg(not(target_arch = "x86_64"))]
fn old_calls(_plain: &CStr, _new: &CStr, _make: i32) -> Vec<(&'static str, i32)> {
    Vec::new()
}

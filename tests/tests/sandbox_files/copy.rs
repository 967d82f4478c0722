//! Running a program on a copy of the folder `ws`.

use nucleus_seccomp::KernelVersion;

use super::place::USERS;

/// The words for a script on a copy, and what becomes of that in the end.
pub(crate) fn copy<'a>(on_exit: &'a str, script: &'a str) -> [&'a str; 8] {
    [
        "--workspace",
        "ws:cow",
        "--on-exit",
        on_exit,
        "--",
        "sh",
        "-ec",
        script,
    ]
}

/// Those who can have a copy: without privilege since Linux 6.6.
pub(crate) fn users() -> Vec<u32> {
    let kernel = KernelVersion::running().unwrap();
    let can_all = kernel >= KernelVersion::new(6, 6);
    USERS
        .into_iter()
        .filter(|user| can_all || *user == 0)
        .collect()
}

//! What a guest needs to be started by systemd: the host's own, with a session
//! bus and the modules of PAM that make a session of a login.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::vm::tools;
use crate::vm::tree::Tree;
use crate::vm::userland::{self, GROUP, PASSWD};

/// Packages that come whole, but for [`is_of_use`].
const PACKAGES: &[&str] = &[
    "dbus",
    "dbus-daemon",
    "dbus-session-bus-common",
    "dbus-system-bus-common",
    "dbus-user-session",
    "libpam-modules",
    "libpam-modules-bin",
    "libpam-systemd",
    "systemd",
];

/// The users of the userland, and whom the message bus runs as.
const MORE_TEXTS: &[(&str, &str, &str)] = &[
    (
        "/etc/passwd",
        PASSWD,
        "messagebus:x:100:100::/nonexistent:/usr/sbin/nologin\n",
    ),
    ("/etc/group", GROUP, "messagebus:x:100:\n"),
];

const TEXTS: &[(&str, &str)] = &[
    ("/etc/machine-id", "5ab1e0c0ffee4b1d8e5ab1e0c0ffee4b\n"),
    // Included by `user@.service`'s own.
    (
        "/etc/pam.d/common-account",
        "account required pam_permit.so\n",
    ),
    (
        "/etc/pam.d/common-session-noninteractive",
        "session required pam_permit.so\n",
    ),
    // A login that root opens for a user.
    (
        "/etc/pam.d/runuser-l",
        "auth sufficient pam_rootok.so\n\
         account required pam_permit.so\n\
         session required pam_loginuid.so\n\
         session required pam_systemd.so\n",
    ),
    // The user's manager is there from the start to the end.
    ("/var/lib/systemd/linger/user", ""),
];

/// The packages that are not installed.
pub(super) fn missing() -> Vec<&'static str> {
    tools::missing(PACKAGES)
}

/// The archive with systemd, kept in `directory`; none where it is not
/// installed.
pub(super) fn layer(directory: &Path) -> Result<Option<PathBuf>> {
    if !missing().is_empty() {
        return Ok(None);
    }
    let path = directory.join(format!(
        "systemd-{:016x}.cpio",
        super::hash(&(userland::installation()?, PACKAGES, TEXTS, MORE_TEXTS))
    ));
    if !path.is_file() {
        collect()?.write_to(&path)?;
    }
    Ok(Some(path))
}

fn collect() -> Result<Tree> {
    let mut tree = Tree::default();
    for package in PACKAGES {
        for path in userland::files(package)? {
            if is_of_use(&path) {
                tree.add(&path)?;
            }
        }
    }
    tree.add_libraries()?;
    for (path, text) in TEXTS {
        tree.text(path, text);
    }
    for (path, text, more) in MORE_TEXTS {
        tree.text(path, &format!("{text}{more}"));
    }
    Ok(tree)
}

/// Not what starts services by itself, sets up devices, or makes files at
/// boot: the machine is to have a bus, logins, and nothing else.
fn is_of_use(path: &Path) -> bool {
    const UNUSED: &[&str] = &[
        "catalog",
        "init.d",
        "kernel",
        "polkit-1",
        "sysctl.d",
        "sysusers.d",
        "system-generators",
        "tmpfiles.d",
        "udev",
        "user-environment-generators",
        "user-generators",
    ];
    path.ends_with("sockets.target.wants/dbus.socket")
        || !path.iter().any(|part| {
            let part = part.to_string_lossy();
            part.ends_with(".wants") || UNUSED.contains(&&*part)
        })
}

//! Landlock's three calls.

use std::ffi::c_int;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;
use std::sync::OnceLock;

use rustix::io::Errno;
use syscalls::{Sysno, syscall};

use super::{new_fd, result};

/// `LANDLOCK_CREATE_RULESET_VERSION`, `include/uapi/linux/landlock.h`.
const LANDLOCK_CREATE_RULESET_VERSION: c_int = 1;
/// `LANDLOCK_RULE_PATH_BENEATH`.
const LANDLOCK_RULE_PATH_BENEATH: c_int = 1;

/// The best Landlock ABI of the kernel, 0 where it has none or it is off
/// (landlock_create_ruleset(2)). For the parent; the kernel is asked once.
#[must_use]
pub fn landlock_abi() -> u32 {
    static ABI: OnceLock<u32> = OnceLock::new();
    *ABI.get_or_init(|| {
        // SAFETY: with this flag no attributes are read.
        let ret = unsafe {
            syscall!(
                Sysno::landlock_create_ruleset,
                ptr::null::<u8>(),
                0,
                LANDLOCK_CREATE_RULESET_VERSION
            )
        };
        ret.ok().and_then(|abi| abi.try_into().ok()).unwrap_or(0)
    })
}

/// A ruleset that denies the given accesses and scopes until rules allow some.
pub(crate) fn landlock_ruleset(handled: u64, ports: u64, scoped: u64) -> Result<OwnedFd, Errno> {
    // `struct landlock_ruleset_attr`: file accesses, network accesses, scopes.
    // A kernel that does not know the later fields takes them when they are 0.
    let attr = [handled, ports, scoped];
    // SAFETY: `attr` is as long as the size says.
    let ret = unsafe {
        syscall!(
            Sysno::landlock_create_ruleset,
            &raw const attr,
            mem::size_of_val(&attr),
            0
        )
    };
    new_fd(ret)
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct PathBeneath {
    allowed: u64,
    parent: c_int,
}

/// Allows `allowed` beneath a file or folder.
pub(crate) fn landlock_allow(
    ruleset: BorrowedFd<'_>,
    beneath: BorrowedFd<'_>,
    allowed: u64,
) -> Result<(), Errno> {
    let rule = PathBeneath {
        allowed,
        parent: beneath.as_raw_fd(),
    };
    // SAFETY: `rule` has the layout of the rule type.
    let ret = unsafe {
        syscall!(
            Sysno::landlock_add_rule,
            ruleset.as_raw_fd(),
            LANDLOCK_RULE_PATH_BENEATH,
            &raw const rule,
            0
        )
    };
    result(ret).map(drop)
}

/// `LANDLOCK_RULE_NET_PORT`.
const LANDLOCK_RULE_NET_PORT: c_int = 2;

/// Allows `allowed` for a TCP port.
pub(crate) fn landlock_allow_port(
    ruleset: BorrowedFd<'_>,
    port: u16,
    allowed: u64,
) -> Result<(), Errno> {
    // `struct landlock_net_port_attr`: accesses, port.
    let rule = [allowed, u64::from(port)];
    // SAFETY: `rule` has the layout of the rule type.
    let ret = unsafe {
        syscall!(
            Sysno::landlock_add_rule,
            ruleset.as_raw_fd(),
            LANDLOCK_RULE_NET_PORT,
            rule.as_ptr(),
            0
        )
    };
    result(ret).map(drop)
}

/// Enforces a ruleset on the calling thread, for good.
pub(crate) fn landlock_restrict(ruleset: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: takes no pointer.
    let ret = unsafe { syscall!(Sysno::landlock_restrict_self, ruleset.as_raw_fd(), 0) };
    result(ret).map(drop)
}

//! The features of the running kernel, found out by doing, and the versions
//! that brought them: the facts of `docs/kernel-features.md`.

use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;

use nucleus_seccomp::{Action, Insn, InstallFlags, KernelVersion, Program};

use crate::sys::{self, probe};

/// A feature that nucleus uses.
#[derive(Debug, Clone, Copy)]
pub struct Feature {
    /// As the page calls it.
    pub name: &'static str,
    /// The first kernel with it.
    pub since: KernelVersion,
    how: How,
}

#[derive(Debug, Clone, Copy)]
enum How {
    Call(libc::c_long),
    FilterFlags(InstallFlags),
    SyncWakeUp,
    CgroupFile(&'static str),
}

const fn call(name: &'static str, since: (u16, u16), number: libc::c_long) -> Feature {
    let how = How::Call(number);
    let since = KernelVersion::new(since.0, since.1);
    Feature { name, since, how }
}

const fn filter_flag(name: &'static str, since: (u16, u16), flags: InstallFlags) -> Feature {
    let how = How::FilterFlags(flags);
    let since = KernelVersion::new(since.0, since.1);
    Feature { name, since, how }
}

const fn cgroup_file(name: &'static str, since: (u16, u16)) -> Feature {
    let how = How::CgroupFile(name);
    let since = KernelVersion::new(since.0, since.1);
    Feature { name, since, how }
}

/// What nucleus uses, oldest first.
pub const FEATURES: &[Feature] = &[
    call("execveat", (3, 19), libc::SYS_execveat),
    filter_flag("SECCOMP_FILTER_FLAG_LOG", (4, 14), InstallFlags::LOG),
    cgroup_file("memory.oom.group", (4, 19)),
    filter_flag(
        "SECCOMP_FILTER_FLAG_NEW_LISTENER",
        (5, 0),
        InstallFlags::NEW_LISTENER,
    ),
    call("pidfd_send_signal", (5, 1), libc::SYS_pidfd_send_signal),
    call("open_tree", (5, 2), libc::SYS_open_tree),
    call("move_mount", (5, 2), libc::SYS_move_mount),
    call("fsopen", (5, 2), libc::SYS_fsopen),
    cgroup_file("cgroup.freeze", (5, 2)),
    cgroup_file("memory.pressure", (5, 2)),
    call("pidfd_open", (5, 3), libc::SYS_pidfd_open),
    call("clone3", (5, 3), libc::SYS_clone3),
    call("openat2", (5, 6), libc::SYS_openat2),
    call("pidfd_getfd", (5, 6), libc::SYS_pidfd_getfd),
    filter_flag(
        "SECCOMP_FILTER_FLAG_TSYNC_ESRCH",
        (5, 7),
        InstallFlags::TSYNC.union(InstallFlags::TSYNC_ESRCH),
    ),
    call("close_range", (5, 9), libc::SYS_close_range),
    call("mount_setattr", (5, 12), libc::SYS_mount_setattr),
    call(
        "landlock_create_ruleset",
        (5, 13),
        libc::SYS_landlock_create_ruleset,
    ),
    cgroup_file("cgroup.kill", (5, 14)),
    cgroup_file("memory.peak", (5, 19)),
    filter_flag(
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
        (5, 19),
        InstallFlags::NEW_LISTENER.union(InstallFlags::WAIT_KILLABLE_RECV),
    ),
    cgroup_file("pids.peak", (6, 1)),
    Feature {
        name: "SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP",
        since: KernelVersion::new(6, 6),
        how: How::SyncWakeUp,
    },
];

impl Feature {
    /// Whether the running kernel has it; None if that cannot be seen here.
    ///
    /// # Errors
    ///
    /// When the kernel's answer means neither.
    pub fn is_there(&self) -> io::Result<Option<bool>> {
        match self.how {
            How::Call(number) => Ok(Some(probe::has_call(number))),
            How::FilterFlags(flags) => probe::has_filter_flags(flags.bits()).map(Some),
            How::SyncWakeUp => sync_wake_up().map(Some),
            How::CgroupFile(name) => Ok(in_a_cgroup(name)),
        }
    }
}

/// The ABI of Landlock that the kernel has.
///
/// # Errors
///
/// When Landlock is not built in or not enabled.
pub fn landlock_abi() -> io::Result<i32> {
    sys::landlock_abi()
}

/// Traces a child as `nucleus` does.
///
/// # Errors
///
/// When the kernel or Yama forbids it.
pub fn trace_a_child() -> io::Result<()> {
    sys::trace_a_child()
}

/// Starts a program in a user namespace of its own.
///
/// # Errors
///
/// When user namespaces are switched off or used up.
pub fn enter_user_namespace() -> io::Result<()> {
    sys::enter_user_namespace()
}

/// Joins the readers of audit records.
///
/// # Errors
///
/// When audit is off or the process may not.
pub fn join_audit_group() -> io::Result<()> {
    sys::join_audit_group()
}

/// On a thread of its own: the filter with the listener stays with it.
fn sync_wake_up() -> io::Result<bool> {
    let thread = std::thread::spawn(|| {
        rustix::thread::set_no_new_privs(true)?;
        let program = Program::new(vec![Insn::ret(Action::Allow)]).map_err(io::Error::other)?;
        let listener = program
            .install(InstallFlags::NEW_LISTENER)
            .map_err(io::Error::other)?
            .ok_or_else(|| io::Error::other("no listener"))?;
        probe::set_sync_wake_up(listener.as_fd())
    });
    thread.join().expect("the thread does not panic")
}

/// Whether a cgroup below the root has this file: None where there is no
/// cgroup v2 with its controller, or where we may not make one.
fn in_a_cgroup(file: &str) -> Option<bool> {
    let root = Path::new("/sys/fs/cgroup");
    let enabled = std::fs::read_to_string(root.join("cgroup.subtree_control")).ok()?;
    let controller = file.split('.').next()?;
    if controller != "cgroup" && !enabled.split_whitespace().any(|name| name == controller) {
        return None;
    }
    // The root itself has no such files.
    let cgroup = root.join(format!("probe-{}", std::process::id()));
    std::fs::create_dir(&cgroup).ok()?;
    let there = cgroup.join(file).exists();
    std::fs::remove_dir(&cgroup).expect("an empty cgroup can be removed");
    Some(there)
}

//! What can fail, with the inputs of the operation that did.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::controller::{self, Controller};
use crate::membership::MembershipError;
use crate::mountinfo::MountinfoError;
use crate::place::Rejection;

/// An operation on cgroups that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file of a cgroup or of `/proc` could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A value could not be written.
    #[error("cannot write {value:?} to {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What was to be written.
        value: String,
        /// The reason.
        source: io::Error,
    },
    /// A cgroup's directory could not be opened.
    #[error("cannot open cgroup {}", path.display())]
    Open {
        /// The directory.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A cgroup could not be created.
    #[error("cannot create cgroup {}", path.display())]
    Create {
        /// The directory.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A cgroup could not be removed.
    #[error("cannot remove cgroup {}", path.display())]
    Remove {
        /// The directory.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A cgroup's lock could not be taken.
    #[error("cannot lock cgroup {}", path.display())]
    Lock {
        /// The directory.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A process could not be killed where the kernel has no `cgroup.kill`.
    #[error("cannot kill process {pid} of cgroup {}", path.display())]
    Kill {
        /// The cgroup.
        path: PathBuf,
        /// The process.
        pid: i32,
        /// The reason.
        source: io::Error,
    },
    /// A file of the kernel did not hold what its documentation says.
    #[error("{} does not hold {expected}: {content:?}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        expected: &'static str,
        /// The line or the value found.
        content: String,
    },
    /// `/proc/PID/mountinfo` could not be understood.
    #[error("cannot understand {}", path.display())]
    Mountinfo {
        /// The file.
        path: PathBuf,
        /// The line and the field.
        source: MountinfoError,
    },
    /// `/proc/PID/cgroup` could not be understood.
    #[error("cannot understand {}", path.display())]
    Membership {
        /// The file.
        path: PathBuf,
        /// The line.
        source: MembershipError,
    },
    /// No cgroup2 file system is mounted where this process can see it.
    #[error(
        "no cgroup v2 hierarchy is mounted on this host; mount one (mount -t cgroup2 none /sys/fs/cgroup) \
         or boot with systemd.unified_cgroup_hierarchy=1"
    )]
    NotMounted,
    /// A directory is not of the file system it should be.
    #[error(
        "{} is not on cgroup2: its file system has magic {magic:#x} and device {}:{}",
        path.display(), device.0, device.1
    )]
    NotCgroup2 {
        /// The directory.
        path: PathBuf,
        /// `f_type` of statfs(2).
        magic: u64,
        /// Major and minor number.
        device: (u32, u32),
    },
    /// The process is in no cgroup that the mounted hierarchy shows.
    #[error(
        "own cgroup {} is not below any mounted part of the hierarchy; \
         mount cgroup2 inside this cgroup namespace",
        path.display()
    )]
    OutOfSight {
        /// What `/proc/PID/cgroup` says.
        path: PathBuf,
    },
    /// A controller belongs to a hierarchy of version 1.
    #[error(
        "controller {controller} is bound to cgroup v1 on this host{}; \
         boot with systemd.unified_cgroup_hierarchy=1 or cgroup_no_v1={}",
        mounted_at(mount_point.as_ref()), controller.v1_name()
    )]
    BoundToV1 {
        /// The controller.
        controller: Controller,
        /// Where that hierarchy is mounted, if it is.
        mount_point: Option<PathBuf>,
    },
    /// No cgroup was found below which a limited one can be made.
    #[error("{}", no_place(needed, tried))]
    NoPlace {
        /// The controllers that the limits need.
        needed: Vec<Controller>,
        /// Every cgroup looked at, the own one first.
        tried: Vec<(PathBuf, Rejection)>,
    },
    /// No systemd manager of the user is there to be asked.
    #[error("{}", no_manager(*uid, socket, *booted))]
    NoManager {
        /// The user.
        uid: u32,
        /// Where its socket would be.
        socket: PathBuf,
        /// Whether systemd runs this host (sd_booted(3)).
        booted: bool,
    },
    /// The user's systemd manager could not be talked to.
    #[error("cannot {doing} systemd at {}", socket.display())]
    Systemd {
        /// What was to be done.
        doing: &'static str,
        /// Its socket.
        socket: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The user's systemd manager answered with an error.
    #[error("systemd at {} refuses {method}: {message} ({name})", socket.display())]
    SystemdRefused {
        /// Its socket.
        socket: PathBuf,
        /// The D-Bus method.
        method: &'static str,
        /// The name of the error.
        name: String,
        /// What it says.
        message: String,
    },
    /// systemd began to make a scope and did not finish.
    #[error("systemd could not start {scope}: {result}; see systemctl --user status {scope}")]
    ScopeFailed {
        /// The unit.
        scope: String,
        /// `canceled`, `timeout`, `failed`, `dependency` or `skipped`.
        result: String,
    },
    /// systemd said that this process was moved, and the kernel does not.
    #[error("systemd has started {scope}, but this process is in cgroup {}", own.display())]
    NotMoved {
        /// The unit.
        scope: String,
        /// Where it is.
        own: PathBuf,
    },
    /// A move to another cgroup would leave a limit behind.
    #[error("cgroup {} limits this process by {limit}, which a new scope would escape", from.display())]
    LimitLeft {
        /// The cgroup that is limited.
        from: PathBuf,
        /// The file that holds the limit.
        limit: &'static str,
    },
    /// No random number could be had.
    #[error("cannot choose a name for a scope")]
    Random {
        /// The reason.
        source: io::Error,
    },
    /// A controller was written to `cgroup.subtree_control` and is not there.
    #[error("controller {controller} did not become active below {}", path.display())]
    NotEnabled {
        /// The cgroup.
        path: PathBuf,
        /// The controller.
        controller: Controller,
    },
    /// The kernel took a limit and holds something else.
    #[error("{} was set to {asked:?} but holds {got:?}", path.display())]
    NotTaken {
        /// The file.
        path: PathBuf,
        /// What was written.
        asked: String,
        /// What was read back.
        got: String,
    },
    /// Processes outlived SIGKILL for as long as was waited.
    #[error(
        "cgroup {} still has processes {pids:?} after {waited:?}; \
         they sleep uninterruptibly in the kernel (see /proc/PID/stack)",
        path.display()
    )]
    StillPopulated {
        /// The cgroup.
        path: PathBuf,
        /// The time waited.
        waited: Duration,
        /// Its processes, descendants included.
        pids: Vec<i32>,
    },
    /// Processes kept moving into a sub-cgroup's parent.
    #[error("cgroup {} cannot be emptied: processes {pids:?} keep appearing in it", path.display())]
    Refilled {
        /// The cgroup.
        path: PathBuf,
        /// Those last seen.
        pids: Vec<i32>,
    },
    /// The cgroup did not freeze or thaw in time.
    #[error("cgroup {} did not {} within {waited:?}", path.display(), if *frozen { "freeze" } else { "thaw" })]
    NotSettled {
        /// The cgroup.
        path: PathBuf,
        /// What was asked for.
        frozen: bool,
        /// The time waited.
        waited: Duration,
    },
}

/// A limit that cannot be: it does not build.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LimitError {
    /// A text is not of the form that the limit has.
    #[error("{text:?} is not {expected}")]
    Syntax {
        /// The text.
        text: String,
        /// The form, with an example.
        expected: &'static str,
    },
    /// A number lies outside of what the kernel takes.
    #[error("{what} is {value}, which is not within {min} to {max}")]
    Range {
        /// The limit.
        what: &'static str,
        /// The value asked for.
        value: u64,
        /// The smallest legal one.
        min: u64,
        /// The largest legal one.
        max: u64,
    },
    /// `memory.high` above `memory.max` would never act.
    #[error("memory.high ({high}) is above memory.max ({max}) and would never act")]
    HighAboveMax {
        /// `memory.high`, in bytes.
        high: u64,
        /// `memory.max`, in bytes.
        max: u64,
    },
    /// An I/O limit that limits nothing.
    #[error(
        "the I/O limit of device {major}:{minor} names no rate; give rbps, wbps, riops or wiops"
    )]
    NoRate {
        /// The device's major number.
        major: u32,
        /// The device's minor number.
        minor: u32,
    },
    /// A device to limit could not be found.
    #[error("cannot find the block device of {}", path.display())]
    Device {
        /// The path given.
        path: PathBuf,
        /// What the kernel said.
        errno: rustix::io::Errno,
    },
    /// A path to limit is not a block device.
    #[error("{} is not a block device", path.display())]
    NotBlock {
        /// The path given.
        path: PathBuf,
    },
}

fn mounted_at(mount_point: Option<&PathBuf>) -> String {
    mount_point.map_or_else(String::new, |path| {
        format!(" (mounted at {})", path.display())
    })
}

fn no_manager(uid: u32, socket: &Path, booted: bool) -> String {
    let socket = socket.display();
    if booted {
        format!(
            "nothing serves {socket}: no systemd manager runs for user {uid}; log in as that user \
             (su and sudo do not), or have an administrator run loginctl enable-linger {uid}"
        )
    } else {
        format!("nothing serves {socket}: this host is not run by systemd")
    }
}

fn no_place(needed: &[Controller], tried: &[(PathBuf, Rejection)]) -> String {
    use fmt::Write as _;
    let mut text = String::from("no cgroup to put the program into");
    if !needed.is_empty() {
        text.push_str(" with controllers ");
        text.push_str(&controller::list(&needed.iter().copied().collect()));
    }
    for (index, (path, rejection)) in tried.iter().enumerate() {
        let separator = if index == 0 { ": " } else { "; " };
        // Writing to a String cannot fail.
        let _ok = write!(text, "{separator}{}: {rejection}", path.display());
    }
    if let Some(remedy) = tried.first().map(|(_, rejection)| rejection.remedy()) {
        let _ok = write!(text, "; {remedy}");
    }
    text
}

//! Why a program did not start.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use nucleus_seccomp::Action;
use rustix::io::Errno;

use crate::ids::IdRange;
use crate::report::{Call, Fault};

/// Why a program was not started, or how its start went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// A string that the kernel takes as a C string has a NUL byte inside.
    #[error("the {what} {value:?} has a NUL byte inside, which no program can be given")]
    Nul {
        /// `argument`, `environment variable`, `path`.
        what: &'static str,
        /// The string.
        value: OsString,
    },

    /// There is no such program.
    #[error("program {program:?} not found{}", searched_in(searched))]
    NotFound {
        /// The program as it was asked for.
        program: OsString,
        /// The folders of PATH that were searched; empty when the program was
        /// given with a slash, as a path.
        searched: Vec<PathBuf>,
    },

    /// The program is there on the host, but not in the sandbox.
    #[error(
        "program {program:?} is {path:?} on the host, which the sandbox does not show; show its folder with --volume {folder:?}:{folder:?}:ro"
    )]
    NotVisible {
        /// The program as it was asked for.
        program: OsString,
        /// Where it is on the host.
        path: PathBuf,
        /// The folder that it is in.
        folder: PathBuf,
    },

    /// What of the host the program shall see is not there, or this process
    /// cannot see it.
    #[error("could not open the {what} {path:?}")]
    Source {
        /// `volume`, `folder`.
        what: &'static str,
        /// The path on the host.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },

    /// A file or folder was replaced between its check and its use.
    #[error(
        "{path:?} was moved or replaced while the sandbox was being made; start again, and keep others from changing the folders above it"
    )]
    Replaced {
        /// The real path on the host.
        path: PathBuf,
    },

    /// What cannot be copied as a secret.
    #[error("the secret {path:?} must be a file of at most 1 MiB, or a pipe")]
    NoSecret {
        /// The path on the host.
        path: PathBuf,
    },

    /// What must be a folder is none.
    #[error("the {what} {path:?} is not a folder")]
    NotAFolder {
        /// `workspace`.
        what: &'static str,
        /// The path on the host.
        path: PathBuf,
    },

    /// Overlayfs shows no mounts below a folder.
    #[error(
        "{path:?} has mounts below it, which a writable layer over it would not show; name a folder without"
    )]
    MountsBelow {
        /// The real path on the host.
        path: PathBuf,
    },

    /// Overlayfs was refused.
    #[error(
        "could not lay a writable layer over {path:?}; that needs overlayfs in the kernel (CONFIG_OVERLAY_FS), for an ordinary user of Linux 5.11 or newer, and a folder on a file system that can be a lower layer; grant the folder itself (rw) or show it read-only (ro) otherwise"
    )]
    Overlay {
        /// The real path on the host.
        path: PathBuf,
        /// What mount(2) said.
        source: io::Error,
    },

    /// Root's grant of writing, on a file system without id-mapped mounts.
    #[error(
        "could not let the program write to {path:?} as its owner, user {owner}: the {kind} file system mounted at {mount_point:?} cannot be mounted with mapped ids; run nucleus as the owner of the folder, if that is not root, or move it to ext4, xfs, btrfs or (from Linux 6.3) tmpfs, or show it read-only"
    )]
    NotMappable {
        /// The real path on the host.
        path: PathBuf,
        /// Its owner, whom the program would have acted for.
        owner: u32,
        /// The type of the file system, as `/proc/self/mountinfo` has it.
        kind: String,
        /// Where that is mounted.
        mount_point: PathBuf,
        /// What mount_setattr(2) said.
        source: io::Error,
    },

    /// A path in the sandbox that is not one.
    #[error("the {what} target {path:?} must be an absolute path below /, without . and .. parts")]
    Target {
        /// `volume`, `tmpfs`.
        what: &'static str,
        /// The path.
        path: PathBuf,
    },

    /// The working directory is not among what the program sees.
    #[error(
        "the program sees no folder {path:?} to start in; show it that folder, or start it in one that it sees, by an absolute path"
    )]
    NoFolder {
        /// The working directory.
        path: PathBuf,
        /// What chdir(2) said.
        source: io::Error,
    },

    /// A limit above that of this process.
    #[error(
        "could not limit {resource} to {value}: the limit of nucleus itself is lower (ulimit -H), and only root may raise one"
    )]
    LimitTooHigh {
        /// The resource, as setrlimit(2) names it.
        resource: &'static str,
        /// What was asked for.
        value: u64,
        /// What prlimit(2) said.
        source: io::Error,
    },

    /// More mounts than the child has room for.
    #[error("the sandbox would show {count} files and folders of the host; {most} is the most")]
    TooManyMounts {
        /// How many were asked for.
        count: usize,
        /// How many there may be.
        most: usize,
    },

    /// The ids that were asked for cannot be had.
    #[error(transparent)]
    Ids(#[from] IdError),

    /// The program would not be the owner of what it is to write to.
    #[error(
        "the program would be user {program} on the host, and could not write to {path:?}, which is user {owner}'s; let it be that user (--userns, --user), or grant a folder of its own"
    )]
    GrantOfAnother {
        /// The volume.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// The program's user id on the host.
        program: u32,
    },

    /// A kernel whose Landlock cannot restrict what a policy does.
    #[error("{why}, as the policy does; with best_effort = true in the policy it goes without")]
    LandlockLacks {
        /// What, and since when it can be.
        why: String,
    },

    /// The reduced sandbox, for root.
    #[error(
        "--no-userns is for users without privilege, and would leave root what is root's; without user namespaces root has --userns host"
    )]
    ReducedRoot,

    /// The reduced sandbox without what it is made of.
    #[error(
        "without namespaces and without Landlock nothing would keep the program from the host's files; leave --no-landlock out, or --host says so"
    )]
    ReducedToNothing,

    /// The reduced sandbox, with something that it cannot have.
    #[error("{what} takes a namespace, and --no-userns does without all; leave one of the two out")]
    NeedsNamespaces {
        /// What was asked for.
        what: &'static str,
    },

    /// A policy of the user's where Landlock has to be off.
    #[error(
        "a Landlock policy cannot be enforced where sandboxes inside are allowed, which Landlock forbids"
    )]
    LandlockNested,

    /// Capabilities without a user namespace to have them in.
    #[error(
        "a program without a user namespace (--userns host) can be given no capabilities: they would be the host's"
    )]
    CapabilitiesOfHost,

    /// A kernel without Landlock.
    #[error(
        "this kernel has no Landlock (CONFIG_SECURITY_LANDLOCK, and landlock in the lsm= list of the kernel's command line); --no-landlock runs without it"
    )]
    NoLandlock,

    /// There is such a file, but the kernel does not run it.
    #[error("{path:?} cannot be executed")]
    NotExecutable {
        /// The file.
        path: PathBuf,
        /// EACCES: no permission, or a file system mounted `noexec`. ENOEXEC:
        /// neither a binary of this machine nor a `#!` script.
        source: io::Error,
    },

    /// The file is there, what shall interpret it is not.
    #[error(
        "{path:?} is there, but the interpreter that it names (its #! line, or the loader of a dynamic binary) is not"
    )]
    InterpreterMissing {
        /// The script or binary.
        path: PathBuf,
    },

    /// The filter does not allow the one call that starts the program.
    #[error(
        "the seccomp filter does not allow execve, so {path:?} could not start; allow execve in the profile"
    )]
    FilterForbidsExec {
        /// The program.
        path: PathBuf,
        /// What the filter says.
        action: Action,
    },

    /// The host does not let this user make the namespaces of a sandbox.
    #[error("could not make the sandbox's namespaces: {cause}")]
    Namespaces {
        /// What the host has against it.
        cause: Cause,
        /// What clone said.
        source: io::Error,
    },

    /// A step of the set-up failed in the child.
    #[error("could not {step}: {call} failed")]
    Step {
        /// The step, as a plan prints it.
        step: String,
        /// The system call.
        call: &'static str,
        /// Why.
        source: io::Error,
    },

    /// Something failed in this process, before or after the child ran.
    #[error("could not {what}")]
    Parent {
        /// What was tried.
        what: &'static str,
        /// Why.
        source: io::Error,
    },

    /// Somebody killed the program while it was being set up.
    #[error("signal {signal} killed the program before it started")]
    KilledEarly {
        /// The signal.
        signal: i32,
    },

    /// The sandbox's init process ended without a word about the program.
    #[error("the init process was killed, and the program with it")]
    InitDied,
}

/// What is wrong in a policy file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// It is not TOML, or not of the right form.
    #[error("line {line}, column {column}: {message}")]
    Form {
        /// The line, from 1.
        line: usize,
        /// The byte in the line, from 1.
        column: usize,
        /// What is wrong there.
        message: String,
    },

    /// It would have no effect.
    #[error("the policy restricts nothing; give it a [[path]], ports in [tcp], or scopes")]
    Nothing,
}

impl PolicyError {
    pub(crate) fn new(text: &str, error: &toml::de::Error) -> Self {
        let at = error.span().map_or(0, |span| span.start);
        Self::at(text, at, error.message().to_owned())
    }

    /// Something wrong with what begins at this byte of the text.
    pub(crate) fn at(text: &str, at: usize, message: String) -> Self {
        let before = text.as_bytes().get(..at).unwrap_or_default();
        let line_start = before.iter().rposition(|&byte| byte == b'\n');
        Self::Form {
            line: before.iter().filter(|&&byte| byte == b'\n').count() + 1,
            column: at - line_start.map_or(0, |newline| newline + 1) + 1,
            message,
        }
    }

    pub(crate) const fn nothing() -> Self {
        Self::Nothing
    }
}

/// A name that no capability has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no capability is called {name:?}; {}",
    near.as_ref().map_or_else(
        || "capabilities(7) lists them, such as net_bind_service".to_owned(),
        |near| format!("did you mean {near:?}?"),
    )
)]
pub struct UnknownCapability {
    /// The name.
    pub name: String,
    /// A known one like it.
    pub near: Option<String>,
}

/// Why a program cannot have the ids that were asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// Not three numbers.
    #[error("{text:?} is no range of ids; write CONTAINER:HOST:SIZE, such as 0:100000:65536")]
    Syntax {
        /// What was written.
        text: String,
    },

    /// A range without ids, or with ids that there are not.
    #[error("the range {range} needs at least one id, and none beyond 4294967294")]
    Range {
        /// The range.
        range: IdRange,
    },

    /// Two ranges of a map with the same id.
    #[error("the ranges {first} and {second} overlap")]
    Overlap {
        /// The first.
        first: IdRange,
        /// The other.
        second: IdRange,
    },

    /// More ranges than the kernel takes.
    #[error("a map of {count} ranges has too many; the kernel takes {most}")]
    TooMany {
        /// How many were asked for.
        count: usize,
        /// How many there may be.
        most: usize,
    },

    /// No such user or group on the host.
    #[error("no {what} {name:?} in {file}; a number needs no entry there")]
    Unknown {
        /// `user` or `group`.
        what: &'static str,
        /// Its name.
        name: String,
        /// Where it was looked for.
        file: &'static str,
    },

    /// A file of the host that names users or ids cannot be read.
    #[error("could not read {file}")]
    Unreadable {
        /// The file.
        file: &'static str,
        /// Why.
        source: io::Error,
    },

    /// The program was to have an id that the user namespace does not.
    #[error(
        "{what} id {id} is not mapped in the sandbox's user namespace; map it to one of the host's ids with --{}idmap {id}:HOST:1",
        &what[..1]
    )]
    NotMapped {
        /// `user` or `group`.
        what: &'static str,
        /// The id.
        id: u32,
    },

    /// Root's own id was to be mapped.
    #[error(
        "the sandbox would have user 0 of the host, who even without capabilities may change /proc/sys and whatever of root's it sees; map other ids, or name a user with --user"
    )]
    HostRoot,

    /// Only root can do without a user namespace.
    #[error(
        "only root can do without a user namespace (--userns host); as a user, --no-userns does without all namespaces"
    )]
    RootOnly,

    /// A container that was given too few ids.
    #[error(
        "this host, a container, has no 65536 ids to spare; give a smaller range with --uidmap and --gidmap"
    )]
    NoSpareRange,

    /// The caller has no subordinate ids.
    #[error(
        "{file} gives {user} no subordinate ids, which more ids than one's own come from; as root, add the line {user}:100000:65536 to it, with a range that no other line has"
    )]
    NoSubordinate {
        /// `/etc/subuid` or `/etc/subgid`.
        file: &'static str,
        /// The caller.
        user: String,
    },

    /// The caller may not map these ids.
    #[error(
        "the {what} ids {}..{} of the host are not {user}'s to map; as root, add the line {user}:{}:{} to {file}, or map a range that it has",
        range.outside(), u64::from(range.outside()) + u64::from(range.count()), range.outside(), range.count()
    )]
    NotSubordinate {
        /// The range.
        range: IdRange,
        /// `user` or `group`.
        what: &'static str,
        /// `/etc/subuid` or `/etc/subgid`.
        file: &'static str,
        /// The caller.
        user: String,
    },

    /// The programs that map subordinate ids are not there.
    #[error(
        "{helper} is not installed, which maps ids that are not one's own; it is in the package uidmap (Debian, Ubuntu), shadow-utils (Fedora) or shadow (Arch)"
    )]
    NoHelper {
        /// `newuidmap` or `newgidmap`.
        helper: &'static str,
    },

    /// Such a program could not be started.
    #[error("could not start {helper:?}")]
    HelperStart {
        /// The program.
        helper: PathBuf,
        /// Why.
        source: io::Error,
    },

    /// Such a program refused.
    #[error(
        "{helper:?} did not map the ids: {said}; it must be set-user-ID root or have the file capability for it, and {file} must give the range to this user"
    )]
    Helper {
        /// The program.
        helper: PathBuf,
        /// What it wrote to standard error.
        said: String,
        /// `/etc/subuid` or `/etc/subgid`.
        file: &'static str,
    },
}

/// Why a program's changes could not be read or carried over.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChangesError {
    /// On the side of what the program has written.
    #[error("could not {what} {path:?}, as the program left it")]
    Upper {
        /// What was tried.
        what: &'static str,
        /// Relative to the folder that is written to.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },

    /// On the side of the host's folder.
    #[error("could not {what} {path:?} in the folder on the host")]
    Lower {
        /// What was tried.
        what: &'static str,
        /// Relative to that folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },

    /// Some changes were carried over, others not.
    #[error(
        "the commit stopped after {done} of {total} changes; each file is as it was or as the program left it, and the folder {rest:?} there holds what was replaced and what is missing"
    )]
    Incomplete {
        /// How many were carried over.
        done: usize,
        /// How many there are.
        total: usize,
        /// The folder with the rest, relative to the one on the host.
        rest: PathBuf,
        /// What stopped it.
        source: Box<Self>,
    },
}

/// Why a host refuses namespaces to a user without privilege.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// `user.max_user_namespaces`, or the limit of another kind.
    #[error(
        "the limit on namespaces is reached (sysctl user.max_user_namespaces, or one of its kin user.max_*_namespaces); --no-userns does without them, with far less protection, and --userns host lets root do without one for users"
    )]
    Limit,
    /// EPERM: a sysctl, a security module, or the filter of a container.
    #[error(
        "user namespaces are forbidden here (sysctl kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns, or the seccomp profile of a container); run as root, or do without them by --no-userns, with far less protection"
    )]
    Forbidden,
    /// EINVAL: not in this kernel.
    #[error("this kernel was built without one of the namespaces")]
    Unsupported,
    /// Anything else.
    #[error("clone failed")]
    Other,
}

impl Cause {
    /// What an errno of clone stands for (clone(2)).
    pub(crate) fn of_clone(errno: Errno) -> Self {
        match errno {
            Errno::NOSPC | Errno::USERS => Self::Limit,
            Errno::PERM => Self::Forbidden,
            Errno::INVAL => Self::Unsupported,
            _ => Self::Other,
        }
    }
}

fn searched_in(searched: &[PathBuf]) -> String {
    if searched.is_empty() {
        return String::new();
    }
    let folders: Vec<_> = searched
        .iter()
        .map(|folder| folder.to_string_lossy())
        .collect();
    format!(" in PATH ({})", folders.join(":"))
}

impl LaunchError {
    /// A step that failed; if it was to make a process with namespaces, what
    /// the host has against those.
    pub(crate) fn step(step: String, fault: Fault) -> Self {
        let source = fault.errno.into();
        match (fault.call, Cause::of_clone(fault.errno)) {
            (Call::Clone, cause) if cause != Cause::Other => Self::Namespaces { cause, source },
            (call, _) => {
                let call = call.name();
                Self::Step { step, call, source }
            }
        }
    }

    /// The exit code that stands for it: 127 for a program that is not there,
    /// 126 for one that cannot be executed, 125 for the rest, as `env(1)` has
    /// them.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::NotFound { .. } | Self::NotVisible { .. } => 127,
            Self::NotExecutable { .. } | Self::InterpreterMissing { .. } => 126,
            _ => 125,
        }
    }
}

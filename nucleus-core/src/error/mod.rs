//! Why a program did not start.

mod cause;
mod changes;
mod ids;
mod image;
mod kept;
mod policy;
mod source;
mod target;

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use nucleus_seccomp::Action;
use rustix::io::Errno;

pub use self::cause::Cause;
pub use self::changes::ChangesError;
pub use self::ids::IdError;
pub use self::image::ImageError;
pub use self::kept::KeptLayerError;
pub use self::policy::{PolicyError, UnknownCapability};
pub use self::source::SourceError;
pub use self::target::TargetError;
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
    #[error(
        "program {program:?} not found{}{}",
        searched_in(searched),
        misplaced(program)
    )]
    NotFound {
        /// The program as it was asked for.
        program: OsString,
        /// The folders of PATH that were searched; empty when the program was
        /// given with a slash, as a path.
        searched: Vec<PathBuf>,
    },

    /// The program is there on the host, but not in the sandbox.
    #[error(
        "program {program:?} is {path:?} on the host, which the sandbox does not show there; show its folder with --volume {folder:?}:{folder:?}:ro, and name the program by that path"
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
    #[error(transparent)]
    Source(#[from] SourceError),

    /// A root directory that cannot be used.
    #[error(transparent)]
    Image(#[from] ImageError),

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

    /// A layer in memory that could not say what was deleted.
    #[error(
        "an ordinary user's copy of the {what} {path:?} needs files in memory with attributes (Linux 6.6, CONFIG_TMPFS_XATTR): without, the program could delete no folder; run nucleus as root, or grant the folder itself (rw) or read-only (ro)"
    )]
    NoMarks {
        /// `workspace`, `root directory`.
        what: &'static str,
        /// The real path on the host.
        path: PathBuf,
    },

    /// A layer that is kept over a root directory cannot be used.
    #[error(transparent)]
    KeptLayer(#[from] KeptLayerError),

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

    /// Something cannot be put where it was asked for.
    #[error(transparent)]
    Target(#[from] TargetError),

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

    /// The working directory is closed to the program's user.
    #[error(
        "the program may not enter {path:?}, which is closed to the user that it runs as; grant it with --workspace {path:?}, or start it elsewhere with --workdir /"
    )]
    ClosedFolder {
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
    #[error("{path:?} cannot be executed{}", why_not_executable(source))]
    NotExecutable {
        /// The file.
        path: PathBuf,
        /// EACCES: no permission, or a file system mounted `noexec`. ENOEXEC:
        /// neither a binary of this machine nor a `#!` script.
        source: io::Error,
    },

    /// The file is there, what shall interpret it is not.
    #[error(
        "{path:?} is there, but the interpreter that it names (its #! line, or the loader of a dynamic binary) is not; install that, or show it to the program with --volume"
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
    #[error("could not {step}: {call} failed{}", hint(source))]
    Step {
        /// The step, as a plan prints it.
        step: String,
        /// The system call.
        call: &'static str,
        /// Why.
        source: io::Error,
    },

    /// Something failed in this process, before or after the child ran.
    #[error("could not {what}{}", hint(source))]
    Parent {
        /// What was tried.
        what: &'static str,
        /// Why.
        source: io::Error,
    },

    /// No descriptor is left for the filter's listener.
    #[error(
        "could not install the seccomp filter: rules and reports of denials need a descriptor for it, and --rlimit nofile={limit} leaves none; set it to 64 or more"
    )]
    NoListener {
        /// The limit on open files that was asked for.
        limit: u64,
        /// What seccomp(2) said.
        source: io::Error,
    },

    /// Somebody killed the program while it was being set up.
    #[error("signal {signal} killed the program before it started")]
    KilledEarly {
        /// The signal.
        signal: i32,
    },

    /// A standard stream would be a way out of the sandbox.
    #[error(
        "{stream} is a folder of the host, from which the program could reach all others; \
         connect it to a file, or show the folder with --volume"
    )]
    FolderAsStream {
        /// Which.
        stream: String,
    },

    /// clone3 is not there, and nothing else starts a process in a cgroup.
    #[error(
        "could not start the program in its cgroup: clone3 is hidden by a filter on nucleus, \
         as by the default one of an outer run, or the kernel is older than 5.7; leave the \
         limits out, or give the outer run a profile that allows clone3"
    )]
    IntoCgroup {
        /// The reason.
        source: io::Error,
    },

    /// The sandbox's init process ended without a word about the program.
    #[error(
        "the init process was killed, and the program with it: by another process, or by the \
         kernel for want of memory (dmesg says so)"
    )]
    InitDied,
}

/// What can be done about it, where the errno alone says that.
fn hint(source: &io::Error) -> &'static str {
    match Errno::from_io_error(source) {
        Some(Errno::MFILE) => "; raise the limit on open files (ulimit -n)",
        Some(Errno::NFILE) => "; raise the host's limit on open files (sysctl fs.file-max)",
        Some(Errno::FBIG) => "; raise the limit on the size of files (ulimit -f)",
        Some(Errno::AGAIN) => "; raise the limit on processes (ulimit -u, pids.max), or end some",
        _ => "",
    }
}

fn why_not_executable(source: &io::Error) -> &'static str {
    match Errno::from_io_error(source) {
        Some(Errno::ACCESS) => "; it needs execute permission, on a file system without noexec",
        Some(Errno::NOEXEC) => "; it is no binary of this machine, and names no interpreter (#!)",
        Some(Errno::ISDIR) => "; name a program in it",
        Some(Errno::TXTBSY) => "; somebody is writing to it",
        _ => "",
    }
}

/// Who looks for an option among programs has put it behind the two hyphens.
fn misplaced(program: &OsStr) -> &'static str {
    if program.as_bytes().starts_with(b"-") {
        "; options of nucleus stand before the --"
    } else {
        ""
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
            Self::NotFound { .. }
            | Self::NotVisible { .. }
            | Self::Image(ImageError::NoProgram { .. }) => 127,
            Self::NotExecutable { .. } | Self::InterpreterMissing { .. } => 126,
            _ => 125,
        }
    }
}

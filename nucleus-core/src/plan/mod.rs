//! What will be done, as data: made by the parent, run by the child.

mod describe;

use std::ffi::CString;
use std::fmt;

use nucleus_seccomp::{InstallFlags, Program};
use rustix::process::Gid;

use crate::capability::Capabilities;
use crate::cpath::CPath;
use crate::ids::{Helpers, IdRange};
use crate::isolation::{Limit, TerminalSize};
use crate::landlock::Rights;
use crate::overlay::Overlay;
use crate::secret::Secret;
use crate::source::Source;

/// Everything that happens between clone and exec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The steps of the init process.
    pub(crate) init: Vec<Step>,
    /// The steps of the program's process, which init makes; exec is the last.
    pub(crate) program: Vec<Step>,
    /// What init does once the program's process is there: give up what it
    /// needs no longer.
    pub(crate) settle: Vec<Step>,
    /// How init treats what it sees.
    pub(crate) reaping: Reaping,
    /// The namespaces that init is made in (`CLONE_NEW*`).
    pub(crate) namespaces: Namespaces,
    /// The program's process works in init's memory until it executes.
    pub(crate) shares_memory: bool,
    /// The ids of the user namespace that the program's process is made in,
    /// where init itself is not in one.
    pub(crate) program_ids: Option<IdMaps>,
    /// The namespaces that the program's process is made in.
    pub(crate) program_namespaces: Namespaces,
    /// Who writes the maps of init's user namespace, where init may not.
    pub(crate) helpers: Option<Helpers>,
    /// Id mappings for mounts, by the index that [`Step::Take`] names.
    pub(crate) mount_ids: Vec<IdMaps>,
}

bitflags::bitflags! {
    /// `CLONE_NEW*` (`include/uapi/linux/sched.h`).
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) struct Namespaces: u64 {
        const MOUNT = 0x0002_0000;
        const CGROUP = 0x0200_0000;
        const UTS = 0x0400_0000;
        const IPC = 0x0800_0000;
        const USER = 0x1000_0000;
        const PID = 0x2000_0000;
        const NET = 0x4000_0000;
    }
}

/// What is written to `uid_map` and `gid_map` of a process
/// (user_namespaces(7)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IdMaps {
    pub(crate) uid: CString,
    pub(crate) gid: CString,
    /// Whether setgroups must be denied first: the price of a gid map that is
    /// written without privilege.
    pub(crate) deny_setgroups: bool,
}

impl IdMaps {
    pub(crate) fn new(users: &[IdRange], groups: &[IdRange], deny_setgroups: bool) -> Self {
        let map = |ranges: &[IdRange]| {
            let lines = ranges.iter().map(|range| {
                let (inside, outside) = (range.inside(), range.outside());
                format!("{inside} {outside} {}\n", range.count())
            });
            // Digits hold no NUL byte.
            CString::new(lines.collect::<String>()).unwrap_or_default()
        };
        Self {
            uid: map(users),
            gid: map(groups),
            deny_setgroups,
        }
    }

    /// One user and one group.
    pub(crate) fn single(inside: (u32, u32), outside: (u32, u32)) -> Self {
        Self::new(
            &[IdRange::one(inside.0, outside.0)],
            &[IdRange::one(inside.1, outside.1)],
            false,
        )
    }
}

/// Group ids as the child takes them, which must not allocate.
pub(crate) fn groups(ids: &[u32]) -> Vec<Gid> {
    ids.iter().copied().map(Gid::from_raw).collect()
}

bitflags::bitflags! {
    /// `MOUNT_ATTR_*` (mount_setattr(2)).
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) struct MountAttr: u64 {
        const RDONLY = 0x1;
        const NOSUID = 0x2;
        const NODEV = 0x4;
        const NOEXEC = 0x8;
    }
}

/// What a Landlock ruleset denies without a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Ruleset {
    pub(crate) files: Rights,
    /// `LANDLOCK_ACCESS_NET_*`.
    pub(crate) ports: u64,
    /// `LANDLOCK_SCOPE_*`.
    pub(crate) scopes: u64,
}

/// A TCP port that may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Port {
    pub(crate) port: u16,
    /// One of `LANDLOCK_ACCESS_NET_*`.
    pub(crate) access: u64,
}

/// The most host files that one sandbox can show: what the child has room for
/// without allocating.
pub(crate) const MAX_TREES: usize = 192;

/// When init ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reaping {
    /// With the program: init is PID 1 of a namespace, and the kernel kills
    /// whatever else is in it.
    Namespace,
    /// With the last descendant: init is a child subreaper, and must kill
    /// what is left by itself.
    Subreaper,
}

/// One of the three standard streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdin,
    Stdout,
    Stderr,
}

/// What a child does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Overwrite the command line of the calling process, which the program
    /// can read and which may hold what is not for it.
    HideCommandLine,
    /// Write the id maps of the calling process.
    MapIds(IdMaps),
    /// Wait until newuidmap and newgidmap have written them.
    AwaitHelpers,
    /// Begin to make a network namespace with a loopback device.
    BeginNetwork,
    /// Enter that network namespace.
    EnterNetwork,
    /// Bring the loopback device up.
    Loopback,
    /// Set the name of the machine.
    Hostname(CString),
    /// Let the clocks that count from the machine's start begin at so many
    /// seconds.
    Uptime(u32),
    /// Cut mount propagation from and to the host.
    PrivateMounts,
    /// Copy the mounts at and below a path of the host, for [`Step::Place`].
    Take {
        source: Source,
        attr: MountAttr,
        /// Submounts too.
        recursive: bool,
        /// The id mapping, an index of [`Plan::mount_ids`].
        ids: Option<usize>,
    },
    /// Make a new proc file system, for [`Step::Place`].
    TakeProc,
    /// Make an empty root with these options of tmpfs, for paths that do not
    /// contain `..`.
    EnterRoot(CString),
    /// Let go of the host's root, which is stacked on the new one.
    LeaveHost,
    /// Make a folder, unless it is there.
    MakeDir { path: CPath, mode: u32 },
    /// Make a folder of the root a mount of its own, which stays writable when
    /// the root does not.
    Private {
        path: CPath,
        mode: u32,
        /// The user and the group that it belongs to, if not to init.
        owner: Option<(u32, u32)>,
        attr: MountAttr,
    },
    /// Make a file.
    WriteFile { path: CPath, content: Vec<u8> },
    /// Make a file where there is none, or anew.
    Provide {
        path: CPath,
        content: Vec<u8>,
        replace: bool,
    },
    /// Make a symbolic link.
    Symlink { target: CString, path: CPath },
    /// Put what was taken as number `tree` in its place.
    Place { tree: usize, path: CPath },
    /// Copy a file that only the program may read.
    Secret(Secret),
    /// Lay a writable layer in memory over what was taken, and make it the root.
    EnterImage(Box<Overlay>),
    /// Lay a writable layer in memory over what was taken.
    Overlay(Box<Overlay>),
    /// Mount an empty tmpfs.
    Tmpfs {
        path: CPath,
        options: CString,
        attr: MountAttr,
    },
    /// Put the null device over a file.
    MaskFile(CPath),
    /// Put an empty read-only folder over a folder: the one for [`Step::Devpts`],
    /// which must not be there yet.
    MaskDir(CPath),
    /// Mount new pseudo-terminals at `/dev/pts`.
    Devpts,
    /// Make a mount read-only.
    Seal(CPath),
    /// Wait until init has written the id maps of this process.
    AwaitIds,
    /// Make a pseudo-terminal and start a session that it controls.
    NewTerminal(TerminalSize),
    /// Start a session without a terminal.
    NewSession,
    /// Start with an empty session keyring.
    NewKeyring,
    /// Let no user namespace be made below the one of this process.
    ForbidNamespaces,
    /// Limit a resource.
    Limit(Limit),
    /// Take other ids, and these supplementary groups where they can be
    /// changed; keep the capabilities.
    Become {
        uid: u32,
        gid: u32,
        groups: Option<Vec<Gid>>,
    },
    /// Leave these in the capability bounding set, which needs a capability
    /// itself.
    LimitBoundingSet(Capabilities),
    /// Have these in the other four capability sets.
    SetCapabilities(Capabilities),
    /// Fail unless the bounding set is this.
    CheckBoundingSet(Capabilities),
    /// Fail unless the other four sets are these.
    CheckCapabilities(Capabilities),
    /// Begin a Landlock ruleset.
    Landlock(Ruleset),
    /// Allow something beneath a path.
    LandlockPath { path: CPath, rights: Rights },
    /// Allow a port.
    LandlockPort(Port),
    /// Restrict this process with the ruleset.
    LandlockRestrict,
    /// `PR_SET_CHILD_SUBREAPER`: orphaned descendants become init's children.
    Subreaper,
    /// Be killed before init when memory runs out.
    DieBeforeInit,
    /// Die with init: `PR_SET_PDEATHSIG` with SIGKILL.
    DieWithInit,
    /// Connect a standard stream to the descriptor that the parent prepared.
    Connect(Stream),
    /// Change the working directory.
    Chdir(CString),
    /// Find the file to execute: the first regular file that may be executed.
    Find {
        candidates: Vec<CString>,
        /// They come from PATH.
        along_path: bool,
    },
    /// Close every descriptor but the standard streams.
    CloseFds,
    /// Default dispositions, empty mask.
    Signals,
    /// `PR_SET_NO_NEW_PRIVS`.
    NoNewPrivs,
    /// Close the memory that this process works in to tracers.
    CloseMemory,
    /// Open it again, for a tracer or where `/proc/PID` must be the process's own.
    OpenMemory,
    /// Tell the parent that exec is near.
    Announce,
    /// The same, then wait until the parent lets go.
    Hold,
    /// Install the seccomp filter.
    Filter(Program, InstallFlags),
    /// Execute the program.
    Exec,
}

impl Plan {
    /// The steps of init before it makes the program's process, those of
    /// that, and those of init after.
    pub fn steps(&self) -> impl Iterator<Item = impl fmt::Display> {
        self.init.iter().chain(&self.program).chain(&self.settle)
    }
}

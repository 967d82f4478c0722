//! What a sandbox is made of, as the user of the library says it.

use std::ffi::{OsStr, OsString};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::capability::{Capabilities, Capability};
use crate::ids::IdRange;
use crate::landlock::LandlockPolicy;

/// A sandbox. The default is safe: the host's programs read-only, a private
/// home and `/tmp`, no network, no privilege.
///
/// What is written to the private folders (`/tmp`, the home folder, `/dev/shm`)
/// stays in memory, and may fill half of it: where one is full, so are the
/// others. Memory itself is bounded by a cgroup only
/// ([`Command::cgroup`](crate::Command::cgroup)).
///
/// ```
/// use nucleus_core::{Access, Command, Isolation, View};
///
/// let folder = std::env::temp_dir();
/// let sandbox = Isolation::new().volume(&folder, "/data", Access::ReadOnly);
/// let plan = Command::new("ls").arg("/data").view(View::Isolated(sandbox)).plan()?;
/// println!("{plan}");
/// # Ok::<(), nucleus_core::LaunchError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Isolation {
    pub(crate) rootfs: Option<(PathBuf, RootMode)>,
    pub(crate) rootfs_upper: Option<PathBuf>,
    pub(crate) copy_on_write: Option<(PathBuf, PathBuf)>,
    /// Source and target.
    pub(crate) secrets: Vec<(PathBuf, PathBuf)>,
    pub(crate) volumes: Vec<Volume>,
    pub(crate) tmpfs: Vec<Tmpfs>,
    pub(crate) memory: Option<u64>,
    pub(crate) uptime: Option<u32>,
    pub(crate) network: Network,
    pub(crate) nameserver: Option<IpAddr>,
    pub(crate) hostname: OsString,
    pub(crate) hosts: Vec<(OsString, IpAddr)>,
    pub(crate) limits: Vec<Limit>,
    pub(crate) terminal: Terminal,
    pub(crate) landlock: bool,
    pub(crate) nested: bool,
    pub(crate) user_namespace: UserNamespace,
    pub(crate) user: Option<User>,
    pub(crate) groups: Vec<u32>,
    pub(crate) capabilities: Capabilities,
    pub(crate) landlock_policy: Option<LandlockPolicy>,
}

/// A file or folder of the host that the program sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Volume {
    pub(crate) source: PathBuf,
    pub(crate) target: PathBuf,
    pub(crate) access: Access,
}

/// A private, empty, writable folder in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tmpfs {
    pub(crate) target: PathBuf,
    pub(crate) size: Option<u64>,
}

/// A resource limit, soft and hard alike (setrlimit(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) resource: Resource,
    pub(crate) value: u64,
}

/// What the program may do with a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read and execute; submounts too are read-only.
    ReadOnly,
    /// Everything that the owner of the files may do, on the host itself.
    ReadWrite,
}

/// What the program may do with a root directory of the user's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RootMode {
    /// Read and execute.
    #[default]
    ReadOnly,
    /// Write, to memory: nothing of it is left when the program has ended,
    /// unless it is kept by [`Isolation::rootfs_upper`].
    Overlay,
}

/// What the program can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Network {
    /// A network of its own with a loopback device.
    #[default]
    None,
    /// The host's network, its abstract sockets and local services included.
    Host,
}

/// Whose ids the program has, on the host and in its user namespace.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum UserNamespace {
    /// What root runs becomes as [`UserNamespace::Auto`], what anybody else
    /// runs stays that user's. With [`Isolation::user`] a user sees itself as
    /// that one, and is still itself for the host.
    #[default]
    Default,
    /// The program has the same ids inside as on the host: those of the
    /// caller, or those of [`Isolation::user`]. Run by root it is thus that
    /// user, without capabilities. An unprivileged caller who asks for other
    /// ids gets its subordinate ones around its own.
    KeepId,
    /// An id of its own that owns nothing on the host: run by root one of
    /// 0x7000_0000 and above, otherwise one of the caller's subordinate ids.
    Auto,
    /// As many ids as there are, 65536 for root, all of the caller's
    /// subordinate ones for anybody else; none of the caller.
    NoMap,
    /// None, for root on a host where nobody can make one. The program has an
    /// id that owns nothing, or that of [`Isolation::user`], directly on the
    /// host, and nothing but the filter keeps it from making namespaces.
    Host,
    /// These ids and no others (user_namespaces(7)). Unless it is root, the
    /// caller may map its own and its subordinate ids.
    Mapped {
        /// User ids.
        users: Vec<IdRange>,
        /// Group ids.
        groups: Vec<IdRange>,
    },
}

/// Who the program is in its user namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    /// The user's id.
    pub uid: u32,
    /// The id of its group.
    pub gid: u32,
}

/// How the program is connected to the terminal of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Terminal {
    /// Not at all: it gets a session of its own.
    #[default]
    Detached,
    /// It stays in the session and process group, so that the terminal's
    /// signals reach it.
    Shared,
    /// It gets a pseudo-terminal of this size, whatever its streams were set
    /// to, and a session that it controls. The other end is
    /// [`Child::take_terminal`](crate::Child::take_terminal).
    New(TerminalSize),
}

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TerminalSize {
    /// Lines.
    pub rows: u16,
    /// Characters of a line.
    pub columns: u16,
}

/// A resource that can be limited (setrlimit(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Resource {
    /// Address space, bytes.
    AddressSpace,
    /// Core dumps, bytes. 0 unless it is set.
    Core,
    /// Processor time, seconds.
    Cpu,
    /// The largest file, bytes.
    FileSize,
    /// Open files.
    OpenFiles,
    /// Processes and threads of the sandbox. 4096, or as many as this process
    /// may have if that is less, unless it is set.
    Processes,
    /// The main thread's stack, bytes.
    Stack,
}

impl Resource {
    /// As setrlimit(2) names it, in small letters and without its prefix.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AddressSpace => "as",
            Self::Core => "core",
            Self::Cpu => "cpu",
            Self::FileSize => "fsize",
            Self::OpenFiles => "nofile",
            Self::Processes => "nproc",
            Self::Stack => "stack",
        }
    }
}

impl Default for Isolation {
    fn default() -> Self {
        Self::new()
    }
}

impl Isolation {
    /// The default sandbox.
    #[must_use]
    pub fn new() -> Self {
        Self {
            rootfs: None,
            rootfs_upper: None,
            copy_on_write: None,
            secrets: Vec::new(),
            volumes: Vec::new(),
            tmpfs: Vec::new(),
            memory: None,
            uptime: None,
            network: Network::None,
            nameserver: None,
            hostname: OsString::from("sandbox"),
            hosts: Vec::new(),
            limits: vec![Limit {
                resource: Resource::Core,
                value: 0,
            }],
            terminal: Terminal::Detached,
            landlock: true,
            nested: false,
            user_namespace: UserNamespace::Default,
            user: None,
            groups: Vec::new(),
            capabilities: Capabilities::NONE,
            landlock_policy: None,
        }
    }

    /// Shows a file or folder of the host at `target`, an absolute path in
    /// the sandbox: over a file or folder that is there, or at a new place,
    /// except below a folder of the host, where nothing new is made. None goes
    /// over what the sandbox lives by (`/proc`, its devices) or over another
    /// ([`TargetError`](crate::TargetError)).
    #[must_use]
    pub fn volume(
        mut self,
        source: impl AsRef<Path>,
        target: impl AsRef<Path>,
        access: Access,
    ) -> Self {
        self.volumes.push(Volume {
            source: source.as_ref().to_owned(),
            target: target.as_ref().to_owned(),
            access,
        });
        self
    }

    /// Makes a folder of the host, such as an unpacked container image, the
    /// root directory of the sandbox, instead of the host's programs. The
    /// sandbox has its own `/proc`, `/dev`, `/tmp` and home all the same, and
    /// those of `passwd`, `group` and `hosts` in `/etc` that the folder has
    /// not. The folder itself never changes. Needs overlayfs.
    #[must_use]
    pub fn rootfs(mut self, source: impl AsRef<Path>, mode: RootMode) -> Self {
        self.rootfs = Some((source.as_ref().to_owned(), mode));
        self
    }

    /// Keeps what is written over the root directory of
    /// [`RootMode::Overlay`] in `folder`: the next run with the same two sees
    /// it. The folder must be there, on a file system with extended attributes,
    /// and is one run's at a time, of one user and one root directory
    /// ([`KeptLayerError`](crate::KeptLayerError)).
    #[must_use]
    pub fn rootfs_upper(mut self, folder: impl AsRef<Path>) -> Self {
        self.rootfs_upper = Some(folder.as_ref().to_owned());
        self
    }

    /// Shows a folder of the host at `target`, an absolute path in the sandbox,
    /// where the program may write without changing the host: what it writes
    /// goes to memory, and is there as [`Child::changes`](crate::Child::changes)
    /// in the end. There is one such folder, below all volumes. Mounts below it
    /// are not shown, and nobody else should change it meanwhile (overlayfs
    /// leaves open what is seen then).
    #[must_use]
    pub fn copy_on_write(mut self, source: impl AsRef<Path>, target: impl AsRef<Path>) -> Self {
        self.copy_on_write = Some((source.as_ref().to_owned(), target.as_ref().to_owned()));
        self
    }

    /// Copies a file of the host, of at most 1 MiB, or what a pipe holds, to a
    /// file in memory at `target`, an absolute path in the sandbox, which only
    /// the program's user may read, and nobody may write or execute. Neither
    /// this process nor the child reads it.
    #[must_use]
    pub fn secret(mut self, source: impl AsRef<Path>, target: impl AsRef<Path>) -> Self {
        self.secrets
            .push((source.as_ref().to_owned(), target.as_ref().to_owned()));
        self
    }

    /// How much memory there is, in bytes, of which the private folders may
    /// fill half; no more than the machine has.
    #[must_use]
    pub const fn memory(mut self, bytes: u64) -> Self {
        self.memory = Some(bytes);
        self
    }

    /// How many seconds the machine seems to run when the program starts:
    /// `CLOCK_MONOTONIC`, `CLOCK_BOOTTIME` and `/proc/uptime` count from there
    /// on. Needs a kernel with time namespaces (5.6).
    #[must_use]
    pub const fn uptime(mut self, seconds: u32) -> Self {
        self.uptime = Some(seconds);
        self
    }

    /// An empty writable folder in memory at `target`, with a size in bytes or
    /// a fifth of the memory.
    #[must_use]
    pub fn tmpfs(mut self, target: impl AsRef<Path>, size: Option<u64>) -> Self {
        self.tmpfs.push(Tmpfs {
            target: target.as_ref().to_owned(),
            size,
        });
        self
    }

    /// What the program can reach.
    #[must_use]
    pub fn network(mut self, network: Network) -> Self {
        self.network = network;
        self
    }

    /// The one server in `/etc/resolv.conf`, in place of the host's.
    #[must_use]
    pub fn nameserver(mut self, address: IpAddr) -> Self {
        self.nameserver = Some(address);
        self
    }

    /// The name of the machine that the program sees.
    #[must_use]
    pub fn hostname(mut self, name: impl AsRef<OsStr>) -> Self {
        self.hostname = name.as_ref().to_owned();
        self
    }

    /// A line in `/etc/hosts`.
    #[must_use]
    pub fn add_host(mut self, name: impl AsRef<OsStr>, address: IpAddr) -> Self {
        self.hosts.push((name.as_ref().to_owned(), address));
        self
    }

    /// Limits a resource.
    #[must_use]
    pub fn limit(mut self, resource: Resource, value: u64) -> Self {
        self.limits.retain(|limit| limit.resource != resource);
        self.limits.push(Limit { resource, value });
        self
    }

    /// How the program is connected to the terminal.
    #[must_use]
    pub fn terminal(mut self, terminal: Terminal) -> Self {
        self.terminal = terminal;
        self
    }

    /// Whether Landlock repeats the grants of the mounts; on by default.
    /// Without it, mounts and namespaces still hold.
    #[must_use]
    pub fn landlock(mut self, on: bool) -> Self {
        self.landlock = on;
        self
    }

    /// Whether the program may make namespaces of its own, to run a sandbox
    /// inside. Turns Landlock off, which forbids mounting, and leaves `/proc`
    /// without masks, which the kernel wants for a `/proc` inside.
    #[must_use]
    pub fn nested(mut self, on: bool) -> Self {
        self.nested = on;
        self
    }

    /// Whose ids the program has.
    #[must_use]
    pub fn user_namespace(mut self, namespace: UserNamespace) -> Self {
        self.user_namespace = namespace;
        self
    }

    /// Who the program is inside; which id that is on the host, the
    /// [`UserNamespace`] says.
    #[must_use]
    pub fn user(mut self, user: User) -> Self {
        self.user = Some(user);
        self
    }

    /// A supplementary group, by its id inside. Where root runs the program
    /// and names no map, that is the host's group of this id.
    ///
    /// Without any, the program has none, except that an unprivileged caller
    /// whose own id is the only one cannot take its own away.
    #[must_use]
    pub fn group(mut self, gid: u32) -> Self {
        self.groups.push(gid);
        self
    }

    /// Lets the program have a capability, in its user namespace and over the
    /// network, the host name, the IPC and the ids that are of the sandbox
    /// alone. Over mounts, devices, modules, the clock and anything else of
    /// the host it gives no power.
    #[must_use]
    pub fn capability(mut self, capability: Capability) -> Self {
        self.capabilities.insert(capability);
        self
    }

    /// Restricts the program by a Landlock policy besides; it holds with and
    /// without [`Isolation::landlock`].
    #[must_use]
    pub fn landlock_policy(mut self, policy: LandlockPolicy) -> Self {
        self.landlock_policy = Some(policy);
        self
    }
}

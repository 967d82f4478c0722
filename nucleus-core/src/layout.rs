//! From a description of a sandbox to the steps that make it.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::error::LaunchError;
use crate::host::{self, Host, Node};
use crate::isolation::{Access, Isolation, Network, Terminal};
use crate::landlock::Grants;
use crate::plan::{IdMaps, MAX_TREES, MountAttr, Namespaces, Step};
use crate::strings::c_string;

/// Who the program is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ids {
    /// Inside of its user namespace.
    pub(crate) inside: (u32, u32),
    /// On the host.
    pub(crate) outside: (u32, u32),
}

/// The parts of a plan that make a sandbox.
#[derive(Debug)]
pub(crate) struct Layout {
    /// Steps of init before the program's process is made.
    pub(crate) init: Vec<Step>,
    /// Steps of the program's process before it looks for the program.
    pub(crate) program: Vec<Step>,
    /// Steps of init after.
    pub(crate) settle: Vec<Step>,
    pub(crate) namespaces: Namespaces,
    pub(crate) program_ids: Option<IdMaps>,
    pub(crate) mount_ids: Vec<IdMaps>,
    /// The program's home folder.
    pub(crate) home: PathBuf,
}

/// The name in `/etc/passwd`, and the id inside, of a program that root runs.
const GUEST: (&str, u32) = ("sandbox", 1000);

/// For what the program may read and execute.
const READ_ONLY: MountAttr = MountAttr::RDONLY
    .union(MountAttr::NOSUID)
    .union(MountAttr::NODEV);

impl Ids {
    /// An ordinary user stays who it is. Root becomes an id that owns nothing
    /// on the host.
    pub(crate) fn of(host: &Host) -> Self {
        match host.root_s_guest() {
            Some(guest) => Self {
                inside: (GUEST.1, GUEST.1),
                outside: (guest, guest),
            },
            None => Self {
                inside: (host.uid, host.gid),
                outside: (host.uid, host.gid),
            },
        }
    }
}

/// Plans a sandbox around `program`.
pub(crate) fn plan(
    sandbox: &Isolation,
    host: &Host,
    ids: Ids,
    program: &OsStr,
    current_dir: Option<&Path>,
) -> Result<Layout, LaunchError> {
    let home = home(host);
    let mut build = Builder::new(host, ids, &home);
    build.base()?;
    build.etc(sandbox)?;
    build.devices()?;
    build.proc(sandbox.nested)?;
    build.private_folders()?;
    build.tools(program)?;
    build.volumes(sandbox)?;
    let folder = build.current_dir(current_dir)?;
    build.steps.push(Step::Seal(c_string("path", "/")?));

    let mut namespaces = Namespaces::MOUNT
        | Namespaces::CGROUP
        | Namespaces::UTS
        | Namespaces::IPC
        | Namespaces::PID;
    let mut init = Vec::new();
    let mut program_ids = None;
    let mut privileges = Vec::new();
    let mut settle = vec![Step::DropBoundingSet];
    if host.is_root() {
        // Mounts are made with all privileges, which id-mapped ones need; then
        // the program gets a user namespace that owns none of the others.
        program_ids = Some(IdMaps::single(ids.inside, ids.outside, false));
        let (uid, gid) = ids.inside;
        privileges.extend([Step::AwaitIds, Step::Become { uid, gid }]);
        let (uid, gid) = ids.outside;
        settle.push(Step::Become { uid, gid });
    } else {
        namespaces |= Namespaces::USER;
        init.push(Step::MapIds(IdMaps::single(ids.inside, ids.outside, true)));
    }
    if sandbox.network == Network::None {
        namespaces |= Namespaces::NET;
        init.push(Step::Loopback);
    }
    init.push(Step::Hostname(c_string("host name", &sandbox.hostname)?));
    init.push(Step::PrivateMounts);
    if build.takes.len() > MAX_TREES {
        return Err(LaunchError::TooManyMounts {
            count: build.takes.len(),
            most: MAX_TREES,
        });
    }
    init.append(&mut build.takes);
    init.push(Step::EnterRoot);
    init.append(&mut build.steps);
    settle.extend([Step::DropCapabilities, Step::NoNewPrivs]);

    let mut steps = privileges;
    if sandbox.terminal == Terminal::Detached {
        steps.push(Step::NewSession);
    }
    steps.push(Step::NewKeyring);
    if !sandbox.nested {
        steps.push(Step::ForbidNamespaces);
    }
    steps.extend(sandbox.limits.iter().copied().map(Step::Limit));
    steps.push(Step::Chdir(c_string("path", folder)?));
    steps.extend([
        Step::DropBoundingSet,
        Step::DropCapabilities,
        Step::NoNewPrivs,
    ]);
    if sandbox.landlock && !sandbox.nested {
        steps.push(Step::Landlock(build.grants.ruleset()?));
    }
    Ok(Layout {
        init,
        program: steps,
        settle,
        namespaces,
        program_ids,
        mount_ids: build.mount_ids,
        home,
    })
}

/// Where the private home folder goes: where the user's is, so that paths in
/// configuration files hold, unless that would cover something else.
fn home(host: &Host) -> PathBuf {
    const TAKEN: &[&str] = &["/dev", "/etc", "/proc", "/run", "/sys", "/tmp", "/var"];
    host.home
        .clone()
        .filter(|home| {
            home.is_absolute()
                && home.components().count() > 1
                && home.components().all(|part| part != Component::ParentDir)
                && !host::is_system(home)
                && !TAKEN.iter().any(|taken| home.starts_with(taken))
        })
        .unwrap_or_else(|| PathBuf::from("/home/user"))
}

struct Builder<'a> {
    host: &'a Host,
    ids: Ids,
    home: &'a Path,
    /// What is taken from the host.
    takes: Vec<Step>,
    /// What is made in the new root.
    steps: Vec<Step>,
    grants: Grants,
    mount_ids: Vec<IdMaps>,
    made: BTreeSet<PathBuf>,
    /// What the program can see of the host.
    shown: Vec<PathBuf>,
}

impl<'a> Builder<'a> {
    fn new(host: &'a Host, ids: Ids, home: &'a Path) -> Self {
        Self {
            host,
            ids,
            home,
            takes: Vec::new(),
            steps: Vec::new(),
            grants: Grants::new(host.landlock_abi),
            mount_ids: Vec::new(),
            made: BTreeSet::new(),
            shown: Vec::new(),
        }
    }

    /// Makes a folder and those above it.
    fn folder(&mut self, path: &Path, mode: u32) -> Result<(), LaunchError> {
        if path.parent().is_none() || !self.made.insert(path.to_owned()) {
            return Ok(());
        }
        if let Some(parent) = path.parent() {
            self.folder(parent, 0o755)?;
        }
        self.steps.push(Step::MakeDir {
            path: c_string("path", path)?,
            mode,
        });
        Ok(())
    }

    fn file(
        &mut self,
        path: impl AsRef<Path>,
        content: impl Into<Vec<u8>>,
    ) -> Result<(), LaunchError> {
        let path = path.as_ref();
        self.folder(path.parent().unwrap_or(Path::new("/")), 0o755)?;
        self.steps.push(Step::WriteFile {
            path: c_string("path", path)?,
            content: content.into(),
        });
        Ok(())
    }

    fn link(&mut self, path: &Path, target: &Path) -> Result<(), LaunchError> {
        self.folder(path.parent().unwrap_or(Path::new("/")), 0o755)?;
        self.steps.push(Step::Symlink {
            target: c_string("path", target)?,
            path: c_string("path", path)?,
        });
        Ok(())
    }

    /// Shows `source` at `target`.
    fn bind(
        &mut self,
        source: &Path,
        target: &Path,
        is_folder: bool,
        attr: MountAttr,
        ids: Option<usize>,
    ) -> Result<(), LaunchError> {
        if is_folder {
            self.folder(target, 0o755)?;
        } else {
            self.folder(target.parent().unwrap_or(Path::new("/")), 0o755)?;
            self.steps.push(Step::WriteFile {
                path: c_string("path", target)?,
                content: Vec::new(),
            });
        }
        self.steps.push(Step::Place {
            tree: self.takes.len(),
            path: c_string("path", target)?,
        });
        self.takes.push(Step::Take {
            source: c_string("path", source)?,
            attr,
            recursive: is_folder,
            ids,
        });
        Ok(())
    }

    /// A node of the host at its own path, read-only.
    fn show(&mut self, path: &Path, node: &Node) -> Result<(), LaunchError> {
        match node {
            Node::Link(target) => self.link(path, target),
            Node::Folder => self.bind(path, path, true, READ_ONLY, None),
            Node::File => self.bind(path, path, false, READ_ONLY, None),
        }
    }

    /// Programs and libraries.
    fn base(&mut self) -> Result<(), LaunchError> {
        for (path, node) in &self.host.system {
            self.show(path, node)?;
        }
        self.link(Path::new("/var/run"), Path::new("/run"))?;
        self.link(Path::new("/var/tmp"), Path::new("/tmp"))?;
        self.folder(Path::new("/run"), 0o755)
    }

    /// What the host may show of its `/etc`, and what is made for the sandbox.
    fn etc(&mut self, sandbox: &Isolation) -> Result<(), LaunchError> {
        for (path, node) in &self.host.etc {
            self.show(path, node)?;
        }
        let (uid, gid) = self.ids.inside;
        let name = if self.host.is_root() {
            GUEST.0
        } else {
            &self.host.user
        };
        let home = self.home.to_string_lossy();
        let mut passwd = String::new();
        let mut group = String::new();
        if uid != 0 {
            passwd.push_str("root:x:0:0:root:/root:/usr/sbin/nologin\n");
            group.push_str("root:x:0:\n");
        }
        // A colon would end the field; the shell needs no right home there.
        let home = if home.contains([':', '\n']) {
            "/"
        } else {
            &*home
        };
        let _infallible = writeln!(passwd, "{name}:x:{uid}:{gid}::{home}:/bin/sh");
        let _infallible = writeln!(group, "{name}:x:{gid}:");
        if uid != 65534 {
            passwd.push_str("nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n");
        }
        if gid != 65534 {
            group.push_str("nogroup:x:65534:\n");
        }
        self.file("/etc/passwd", passwd)?;
        self.file("/etc/group", group)?;
        let hostname = sandbox.hostname.as_bytes();
        self.file("/etc/hostname", [hostname, b"\n"].concat())?;
        let mut hosts = b"127.0.0.1 localhost ".to_vec();
        hosts.extend_from_slice(hostname);
        hosts.extend_from_slice(b"\n::1 localhost ip6-localhost ip6-loopback\n");
        for (name, address) in &sandbox.hosts {
            hosts.extend_from_slice(format!("{address} ").as_bytes());
            hosts.extend_from_slice(name.as_bytes());
            hosts.push(b'\n');
        }
        self.file("/etc/hosts", hosts)?;
        self.file(
            "/etc/nsswitch.conf",
            "passwd: files\ngroup: files\nhosts: files dns\nnetworks: files\n\
             protocols: files\nservices: files\n",
        )?;
        self.link(Path::new("/etc/mtab"), Path::new("/proc/self/mounts"))?;
        if sandbox.network == Network::Host {
            let path = Path::new("/etc/resolv.conf");
            let real = path.canonicalize().ok().filter(|real| real.is_file());
            if let Some(real) = real {
                self.bind(&real, path, false, READ_ONLY, None)?;
            }
        }
        Ok(())
    }

    /// The devices that every program may use, and terminals of its own.
    fn devices(&mut self) -> Result<(), LaunchError> {
        for name in ["full", "null", "random", "tty", "urandom", "zero"] {
            let path = Path::new("/dev").join(name);
            let attr = MountAttr::NOSUID | MountAttr::NOEXEC;
            self.bind(&path, &path, false, attr, None)?;
        }
        for (name, target) in [
            ("fd", "/proc/self/fd"),
            ("ptmx", "pts/ptmx"),
            ("stderr", "/proc/self/fd/2"),
            ("stdin", "/proc/self/fd/0"),
            ("stdout", "/proc/self/fd/1"),
        ] {
            self.link(&Path::new("/dev").join(name), Path::new(target))?;
        }
        self.folder(Path::new("/dev/pts"), 0o755)?;
        self.steps.push(Step::Devpts(c_string("path", "/dev/pts")?));
        self.grants.devices("/dev")?;
        self.memory("/dev/shm", "mode=1777", MountAttr::NOEXEC, None)
    }

    fn proc(&mut self, nested: bool) -> Result<(), LaunchError> {
        self.folder(Path::new("/proc"), 0o555)?;
        self.steps.push(Step::Place {
            tree: self.takes.len(),
            path: c_string("path", "/proc")?,
        });
        self.takes.push(Step::TakeProc);
        self.grants.proc("/proc")?;
        if nested {
            return Ok(());
        }
        for (path, node) in &self.host.sensitive_proc {
            let path = c_string("path", path)?;
            self.steps.push(match node {
                Node::Folder => Step::MaskDir(path),
                Node::File | Node::Link(_) => Step::MaskFile(path),
            });
        }
        Ok(())
    }

    /// A writable folder in memory.
    fn memory(
        &mut self,
        path: impl AsRef<Path>,
        options: &str,
        more: MountAttr,
        size: Option<u64>,
    ) -> Result<(), LaunchError> {
        let path = path.as_ref();
        self.folder(path, 0o755)?;
        let mut options = options.to_owned();
        if let Some(size) = size {
            let _infallible = write!(options, ",size={size}");
        }
        self.steps.push(Step::Tmpfs {
            path: c_string("path", path)?,
            options: c_string("path", OsStr::new(&options))?,
            attr: MountAttr::NOSUID | MountAttr::NODEV | more,
        });
        self.grants.write(path, true)
    }

    fn private_folders(&mut self) -> Result<(), LaunchError> {
        self.memory("/tmp", "mode=1777", MountAttr::empty(), None)?;
        let options = self.owned("mode=700");
        let home = self.home;
        self.memory(home, &options, MountAttr::empty(), None)?;
        // Git refuses a repository of another owner, as the host's are when
        // root runs the program; where it looks beside the home folder depends
        // on how it was built.
        self.file(home.join(".gitconfig"), "[safe]\n\tdirectory = *\n")
    }

    /// Options for a tmpfs that is the program's.
    fn owned(&self, options: &str) -> String {
        // As the process that mounts sees the program's ids.
        let (uid, gid) = if self.host.is_root() {
            self.ids.outside
        } else {
            self.ids.inside
        };
        format!("{options},uid={uid},gid={gid}")
    }

    /// Programs outside of the system's folders: those along PATH, and the
    /// one that is to be run.
    fn tools(&mut self, program: &OsStr) -> Result<(), LaunchError> {
        let home = self.host.home.as_deref();
        let mut folders = host::tool_folders(&self.host.path, home);
        let program = Path::new(program);
        let absolute = match &self.host.current_dir {
            _ if program.is_absolute() => Some(program.to_owned()),
            Some(current) if program.components().count() > 1 => Some(current.join(program)),
            _ => None,
        };
        let of_program = absolute
            .filter(|path| path.is_file())
            .and_then(|path| path.parent()?.canonicalize().ok());
        if let Some(folder) = of_program {
            folders.push(host::installation(&folder, home));
        }
        for folder in folders {
            if self.may_show(&folder) {
                let node = if folder.is_dir() {
                    Node::Folder
                } else {
                    Node::File
                };
                self.show(&folder, &node)?;
                self.shown.push(folder);
            }
        }
        Ok(())
    }

    /// Whether a folder of the host that nobody asked for may be shown: not
    /// what is shown already, not what the sandbox has its own of, and not a
    /// folder that the private ones are in.
    fn may_show(&self, folder: &Path) -> bool {
        const OWN: &[&str] = &["/dev", "/etc", "/proc", "/run", "/sys"];
        folder.parent().is_some()
            && !host::is_system(folder)
            && !OWN.iter().any(|own| folder.starts_with(own))
            && !Path::new("/tmp").starts_with(folder)
            && !self.home.starts_with(folder)
            && !self.host.home.iter().any(|home| home.starts_with(folder))
            && !self.shown.iter().any(|shown| folder.starts_with(shown))
    }

    fn volumes(&mut self, sandbox: &Isolation) -> Result<(), LaunchError> {
        for volume in &sandbox.volumes {
            let source = volume
                .source
                .canonicalize()
                .map_err(|source| LaunchError::Volume {
                    path: volume.source.clone(),
                    source,
                })?;
            let target = absolute("volume", &volume.target)?;
            let is_folder = source.is_dir();
            match volume.access {
                Access::ReadOnly => self.bind(&source, target, is_folder, READ_ONLY, None)?,
                Access::ReadWrite => {
                    let attr = MountAttr::NOSUID | MountAttr::NODEV;
                    let ids = self.owner_becomes_program(&source)?;
                    self.bind(&source, target, is_folder, attr, ids)?;
                    self.grants.write(target, is_folder)?;
                }
            }
            self.shown.push(target.to_owned());
        }
        for tmpfs in &sandbox.tmpfs {
            let target = absolute("tmpfs", &tmpfs.target)?;
            let options = self.owned("mode=755");
            self.memory(target, &options, MountAttr::empty(), tmpfs.size)?;
        }
        Ok(())
    }

    /// The id mapping with which the owner of a file is the program's user.
    fn owner_becomes_program(&mut self, source: &Path) -> Result<Option<usize>, LaunchError> {
        if !self.host.is_root() {
            return Ok(None);
        }
        let owner = host::owner(source).map_err(|error| LaunchError::Volume {
            path: source.to_owned(),
            source: error,
        })?;
        let maps = IdMaps::single(owner, self.ids.outside, false);
        let known = self.mount_ids.iter().position(|known| *known == maps);
        Ok(Some(known.unwrap_or_else(|| {
            self.mount_ids.push(maps);
            self.mount_ids.len() - 1
        })))
    }

    /// The program's working directory: as asked for, or this process's, shown
    /// read-only if nothing else shows it and it may be.
    fn current_dir(&mut self, asked: Option<&Path>) -> Result<OsString, LaunchError> {
        if let Some(asked) = asked {
            return Ok(asked.into());
        }
        let Some(current) = self.host.current_dir.clone() else {
            return Ok("/".into());
        };
        if self.may_show(&current) {
            self.show(&current, &Node::Folder)?;
            return Ok(current.into());
        }
        let visible = host::is_system(&current)
            || current == self.home
            || current == Path::new("/tmp")
            || self.shown.iter().any(|shown| current.starts_with(shown));
        Ok(if visible {
            current.into()
        } else {
            OsString::from("/")
        })
    }
}

fn absolute<'p>(what: &'static str, path: &'p Path) -> Result<&'p Path, LaunchError> {
    let plain = path
        .components()
        .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if path.is_absolute() && plain && path.parent().is_some() {
        return Ok(path);
    }
    Err(LaunchError::Target {
        what,
        path: path.to_owned(),
    })
}

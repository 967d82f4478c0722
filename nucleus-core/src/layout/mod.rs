//! From a description of a sandbox to the steps that make it.

mod base;
mod builder;
mod devices;
mod tools;
mod volumes;

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use self::builder::Builder;
use crate::error::LaunchError;
use crate::host::{self, Host};
use crate::isolation::{Isolation, Network, Terminal};
use crate::plan::{IdMaps, MAX_TREES, Namespaces, Step};
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
    /// To be kept open until the child has found the same files.
    pub(crate) sources: Vec<OwnedFd>,
    /// The program's home folder.
    pub(crate) home: PathBuf,
}

/// The name in `/etc/passwd`, and the id inside, of a program that root runs.
const GUEST: (&str, u32) = ("sandbox", 1000);

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
    match sandbox.terminal {
        Terminal::Detached => steps.push(Step::NewSession),
        Terminal::Shared => {}
        Terminal::New(size) => steps.push(Step::NewTerminal(size)),
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
        sources: build.sources,
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

//! What confines a program where no namespace can be had: Landlock in place of
//! mounts.

use std::ffi::{CStr, OsStr};
use std::path::Path;

use crate::capability::Capabilities;
use crate::confine;
use crate::cpath::CPath;
use crate::error::LaunchError;
use crate::host::{self, Host, Node};
use crate::isolation::{Access, Isolation, Network, Terminal, UserNamespace};
use crate::landlock::Grants;
use crate::plan::Step;
use crate::source::Opened;

/// There is none: a home folder that is there could not be read, which many
/// programs take worse than one that is not.
pub(crate) const HOME: &str = "/nonexistent";

/// What programs look up that the sandbox has files of its own for elsewhere.
const LOOKED_UP: &[&CStr] = &[
    c"/etc/group",
    c"/etc/hosts",
    c"/etc/nsswitch.conf",
    c"/etc/passwd",
    c"/etc/resolv.conf",
];

/// The steps of the program's process once it is in its working directory.
pub(crate) fn steps(
    sandbox: &Isolation,
    host: &Host,
    program: &OsStr,
    current_dir: Option<&Path>,
) -> Result<Vec<Step>, LaunchError> {
    if host.is_root() {
        return Err(LaunchError::ReducedRoot);
    }
    refuse(sandbox)?;
    let mut steps = Vec::new();
    if sandbox.terminal == Terminal::Detached {
        steps.push(Step::NewSession);
    }
    steps.push(Step::NewKeyring);
    steps.extend(confine::limits(sandbox, host));
    steps.push(Step::SetCapabilities(Capabilities::NONE));
    steps.push(Step::NoNewPrivs);
    steps.extend(grants(sandbox, host, program, current_dir)?.steps()?);
    if let Some(policy) = &sandbox.landlock_policy {
        steps.extend(policy.steps(host.landlock_abi)?);
    }
    steps.extend(confine::last_limits(sandbox));
    Ok(steps)
}

/// Fails if anything is asked for that takes a namespace. Names every field, so
/// that none is passed over.
fn refuse(sandbox: &Isolation) -> Result<(), LaunchError> {
    let Isolation {
        rootfs,
        rootfs_upper,
        copy_on_write,
        secrets,
        volumes: _,
        tmpfs,
        // There is no private folder that would be a share of it.
        memory: _,
        uptime,
        network: _,
        nameserver,
        hostname,
        hosts,
        limits: _,
        terminal,
        landlock,
        nested,
        user_namespace,
        user,
        groups,
        capabilities,
        landlock_policy: _,
    } = sandbox;
    let another = *user_namespace != UserNamespace::Default || user.is_some();
    let asked = [
        (
            rootfs.is_some() || rootfs_upper.is_some(),
            "a root directory of its own",
        ),
        (copy_on_write.is_some(), "a copy of the workspace"),
        (!secrets.is_empty(), "a secret in memory"),
        (!tmpfs.is_empty(), "a folder in memory"),
        (uptime.is_some(), "clocks of its own"),
        (nameserver.is_some(), "a rule on the network"),
        (!hosts.is_empty(), "a line in /etc/hosts"),
        (
            *hostname != Isolation::new().hostname,
            "a name for the machine",
        ),
        (another || !groups.is_empty(), "another user or group"),
        (!capabilities.is_empty(), "a capability"),
        (*nested, "a sandbox inside"),
        (
            matches!(terminal, Terminal::New(_)),
            "a terminal of its own",
        ),
    ];
    match asked.iter().find(|(is_asked, _what)| *is_asked) {
        Some((_is_asked, what)) => Err(LaunchError::NeedsNamespaces { what }),
        None if !landlock => Err(LaunchError::ReducedToNothing),
        None => Ok(()),
    }
}

/// The host's programs and libraries, and what is granted.
fn grants(
    sandbox: &Isolation,
    host: &Host,
    program: &OsStr,
    current_dir: Option<&Path>,
) -> Result<Grants, LaunchError> {
    let mut grants = Grants::nothing(host.landlock_abi);
    if sandbox.network == Network::None {
        grants.no_ports();
    }
    // A link's target is in another of these folders.
    let system = host.system.iter();
    for (path, _node) in system.filter(|(_path, node)| !matches!(node, Node::Link(_))) {
        grants.execute(path.clone());
    }
    let looked_up = LOOKED_UP.iter().map(|path| CPath::from(*path));
    let etc = host.etc.iter().map(|(path, _node)| path.clone());
    for path in etc.chain(looked_up) {
        if path.as_path().exists() {
            grants.read(path);
        }
    }
    for device in host::DEVICES {
        grants.devices(device);
    }
    grants.read(c"/proc".into());

    let home = host.home.as_ref();
    let mut folders = host::tool_folders(&host.path, home);
    folders.retain(|folder| folder.as_path().exists());
    let here = match (&host.current_dir, current_dir) {
        (Some(current), Some(asked)) => Some(current.as_path().join(asked)),
        (Some(current), None) => Some(current.as_path().to_owned()),
        (None, asked) => asked.map(Path::to_owned),
    };
    let program = Path::new(program);
    if program.components().count() > 1 {
        let path = here.iter().map(|here| here.join(program)).next();
        let folder = path.filter(|path| path.is_file());
        let folder = folder.and_then(|path| path.parent()?.canonicalize().ok());
        if let Some(folder) = folder {
            folders.push(host::installation(CPath::new(&folder)?, home));
        }
    }
    if let Some(here) = here {
        folders.push(CPath::new(&here)?);
    }
    // Neither all homes nor all temporary files because a program is there.
    let holds_more = |folder: &CPath| {
        folder.is_root()
            || home.is_some_and(|home| home.is_in(folder))
            || CPath::from(c"/tmp").is_in(folder)
    };
    for folder in folders.into_iter().filter(|folder| !holds_more(folder)) {
        grants.execute(folder);
    }
    for volume in &sandbox.volumes {
        let opened = Opened::open("volume", &volume.source)?;
        if volume.target != opened.path.as_path() && volume.target != volume.source {
            return Err(LaunchError::NeedsNamespaces {
                what: "a volume at another place than its own",
            });
        }
        match volume.access {
            Access::ReadOnly => grants.execute(opened.path),
            Access::ReadWrite => grants.write(opened.path.clone(), opened.is_folder()),
        }
    }
    Ok(grants)
}

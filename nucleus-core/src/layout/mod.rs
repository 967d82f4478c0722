//! From a description of a sandbox to the steps that make it.

mod base;
mod builder;
mod devices;
mod grants;
mod image;
mod places;
mod secrets;
mod tools;
mod volumes;
mod workspace;

use std::ffi::{CStr, OsStr};
use std::os::fd::OwnedFd;
use std::path::{Component, Path};

use self::builder::Builder;
use crate::confine::{self, Confinement};
use crate::cpath::CPath;
use crate::error::LaunchError;
use crate::host::{self, Host};
use crate::ids::Identity;
use crate::isolation::{Isolation, RootMode};
use crate::overlay::{KeptLayer, Layers};
use crate::plan::{IdMaps, MAX_TREES, Step};

/// The parts of a plan that make a sandbox.
#[derive(Debug)]
pub(crate) struct Layout {
    /// Steps of init before the program's process is made.
    pub(crate) init: Vec<Step>,
    /// Steps of the program's process before it looks for the program.
    pub(crate) program: Vec<Step>,
    /// What confines it besides; its steps are in those above.
    pub(crate) confinement: Confinement,
    pub(crate) mount_ids: Vec<IdMaps>,
    pub(crate) held: Held,
    /// The program's home folder.
    pub(crate) home: CPath,
    /// The programs are not the host's.
    pub(crate) is_image: bool,
}

/// What of the host was opened for a plan, and is held until it has run.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// Open only so that the child can find the same files by their numbers.
    pub(crate) sources: Vec<OwnedFd>,
    /// What the parent reads the program's changes by.
    pub(crate) layers: Option<Layers>,
    /// The layer that is kept over the root directory.
    pub(crate) kept: Option<KeptLayer>,
    /// The files that the child copies without reading them.
    pub(crate) secrets: Vec<OwnedFd>,
}

/// Plans a sandbox around `program`.
pub(crate) fn plan(
    sandbox: &Isolation,
    host: &Host,
    identity: &Identity,
    program: &OsStr,
    current_dir: Option<&Path>,
) -> Result<Layout, LaunchError> {
    let mut build = Builder::new(host, identity, home(host));
    build.memory = build.memory.min(sandbox.memory.unwrap_or(u64::MAX));
    build.is_image = sandbox.rootfs.is_some();
    match &sandbox.rootfs {
        None => {
            build.base();
            build.etc(sandbox)?;
        }
        Some((source, mode)) => {
            build.image(source, *mode, sandbox.rootfs_upper.as_deref())?;
            build.etc_of_image(sandbox)?;
        }
    }
    build.devices()?;
    build.proc(sandbox.nested);
    build.private_folders()?;
    // The host's root is let go late, and yet before a path leads through
    // anything that others than root can write to: until then `..` leads there.
    let own_steps = match sandbox.rootfs {
        None => build.steps.len(),
        Some(_) => 0,
    };
    build.shown.extend(grants::targets(sandbox)?);
    // What is shown without being asked for comes first: it must not cover
    // what is.
    let folder = match sandbox.rootfs {
        None => {
            build.tools(program)?;
            build.current_dir(current_dir)?
        }
        Some(_) => build.current_dir_of_image(current_dir)?,
    };
    build.grants(sandbox)?;
    if build.is_image {
        build.steps.push(Step::Seal(c"/dev".into()));
    }
    if !matches!(sandbox.rootfs, Some((_, RootMode::Overlay))) {
        build.steps.push(Step::Seal(c"/".into()));
    }

    let mut confinement = confine::plan(sandbox, identity, host)?;
    if build.takes.len() > MAX_TREES {
        return Err(LaunchError::TooManyMounts {
            count: build.takes.len(),
            most: MAX_TREES,
        });
    }
    let mut init = Vec::with_capacity(build.takes.len() + build.steps.len() + 16);
    init.append(&mut confinement.init);
    init.append(&mut build.takes);
    init.append(&mut confinement.leave);
    init.push(build.enter_root()?);
    init.extend(build.steps.drain(..own_steps));
    init.append(&mut confinement.ready);
    init.push(Step::LeaveHost);
    init.append(&mut build.steps);

    let mut steps = std::mem::take(&mut confinement.program);
    steps.push(Step::Chdir(folder));
    steps.append(&mut confinement.finish);
    if sandbox.landlock && !sandbox.nested {
        steps.extend(build.grants.steps()?);
    }
    if let Some(policy) = &sandbox.landlock_policy {
        if sandbox.nested {
            return Err(LaunchError::LandlockNested);
        }
        steps.extend(policy.steps(host.landlock_abi)?);
    }
    steps.extend(confine::last_limits(sandbox));
    Ok(Layout {
        init,
        program: steps,
        confinement,
        mount_ids: build.mount_ids,
        held: build.held,
        home: build.home,
        is_image: build.is_image,
    })
}

/// Where the private home folder goes: where the user's is, so that paths in
/// configuration files hold, unless that would cover something else.
fn home(host: &Host) -> CPath {
    const TAKEN: &[&CStr] = &[
        c"/dev", c"/etc", c"/proc", c"/run", c"/sys", c"/tmp", c"/var",
    ];
    host.home
        .clone()
        .filter(|home| {
            let mut parts = home.as_path().components();
            !home.is_root()
                && parts.all(|part| part != Component::ParentDir)
                && !host::is_system(home)
                && !home.is_in_any(TAKEN)
        })
        .unwrap_or_else(|| c"/home/user".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch;
    use crate::{Access, Command, View};

    /// However little memory the program gets.
    #[test]
    fn the_root_has_room_for_all_that_is_made_there() {
        let mut sandbox = Isolation::new().memory(8 << 20);
        for number in 0..100 {
            let target = format!("/{number}/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p");
            sandbox = sandbox.volume("/", target, Access::ReadOnly);
        }
        let mut command = Command::new("true");
        command.view(View::Isolated(sandbox));
        let (plan, _strings) = launch::plan(&command).unwrap();
        let options = plan.init.iter().find_map(|step| match step {
            Step::EnterRoot(options) => options.to_str().ok(),
            _ => None,
        });
        let (_, inodes) = options.unwrap().split_once("nr_inodes=").unwrap();
        let inodes: usize = inodes.parse().unwrap();
        let is_folder = |step: &&Step| matches!(step, Step::MakeDir { .. });
        let folders = plan.init.iter().filter(is_folder).count();
        assert!(folders > 1_600, "{folders}");
        assert!(inodes > folders + 3 * 1_000, "{inodes}");
    }
}

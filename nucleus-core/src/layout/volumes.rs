//! What of the host the user wants the program to see, and folders in memory.

use std::path::{Component, Path};

use super::builder::{Builder, READ_ONLY};
use crate::error::LaunchError;
use crate::host;
use crate::isolation::{Access, Isolation};
use crate::plan::{IdMaps, MountAttr};

impl Builder<'_> {
    pub(super) fn volumes(&mut self, sandbox: &Isolation) -> Result<(), LaunchError> {
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

//! What of the host the user wants the program to see, and folders in memory.

use std::path::{Component, Path};

use super::builder::{Builder, READ_ONLY};
use crate::error::LaunchError;
use crate::isolation::{Access, Isolation};
use crate::plan::{IdMaps, MountAttr};
use crate::source::Opened;

impl Builder<'_> {
    pub(super) fn volumes(&mut self, sandbox: &Isolation) -> Result<(), LaunchError> {
        for volume in &sandbox.volumes {
            let opened = self.open("volume", &volume.source)?;
            let target = absolute("volume", &volume.target)?;
            let (source, is_folder) = (opened.source()?, opened.is_folder());
            match volume.access {
                Access::ReadOnly => self.bind(source, target, is_folder, READ_ONLY, None)?,
                Access::ReadWrite => {
                    let attr = MountAttr::NOSUID | MountAttr::NODEV;
                    let ids = self.owner_becomes_program(&opened);
                    self.bind(source, target, is_folder, attr, ids)?;
                    self.grants.write(target, is_folder)?;
                }
            }
            self.keep(opened);
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
    fn owner_becomes_program(&mut self, source: &Opened) -> Option<usize> {
        if !self.host.is_root() {
            return None;
        }
        let maps = IdMaps::single(source.owner(), self.ids.outside, false);
        let known = self.mount_ids.iter().position(|known| *known == maps);
        Some(known.unwrap_or_else(|| {
            self.mount_ids.push(maps);
            self.mount_ids.len() - 1
        }))
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

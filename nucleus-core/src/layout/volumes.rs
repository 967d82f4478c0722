//! What of the host the user wants the program to see, and folders in memory.

use std::path::Path;

use super::builder::{Builder, READ_ONLY};
use crate::error::LaunchError;
use crate::ids::{Maker, inward};
use crate::isolation::{Access, Tmpfs};
use crate::plan::{IdMaps, MountAttr};
use crate::source::Opened;

impl Builder<'_> {
    pub(super) fn volume(
        &mut self,
        opened: Opened,
        access: Access,
        target: &Path,
    ) -> Result<(), LaunchError> {
        let (source, is_folder) = (opened.source()?, opened.is_folder());
        match access {
            Access::ReadOnly => self.bind(source, target, is_folder, READ_ONLY, None)?,
            Access::ReadWrite => {
                let attr = MountAttr::NOSUID | MountAttr::NODEV;
                let ids = self.owner_becomes_program(&opened)?;
                self.bind(source, target, is_folder, attr, ids)?;
                self.grants.write(target, is_folder)?;
            }
        }
        self.keep(opened);
        Ok(())
    }

    pub(super) fn tmpfs(&mut self, tmpfs: &Tmpfs, target: &Path) -> Result<(), LaunchError> {
        let options = self.owned("mode=755");
        let size = tmpfs.size.unwrap_or_else(|| self.share(20));
        self.memory(target, &options, MountAttr::empty(), size)
    }

    /// The id mapping with which the owner of a file is the program's user,
    /// unless the program knows the owner as itself or as somebody else.
    pub(super) fn owner_becomes_program(
        &mut self,
        source: &Opened,
    ) -> Result<Option<usize>, LaunchError> {
        let owner = source.owner();
        let (users, groups) = (&self.ids.users, &self.ids.group_ranges);
        if self.ids.maker != Maker::Root {
            let program = self.ids.outside.0;
            let known = inward(users, owner.0).is_some();
            if program == self.host.uid || known || source.is_writable_by_all() {
                return Ok(None);
            }
            return Err(LaunchError::GrantOfAnother {
                path: source.path.clone(),
                owner: owner.0,
                program,
            });
        }
        if inward(users, owner.0).is_some() && inward(groups, owner.1).is_some() {
            return Ok(None);
        }
        let maps = IdMaps::single(owner, self.ids.outside);
        let known = self.mount_ids.iter().position(|known| *known == maps);
        Ok(Some(known.unwrap_or_else(|| {
            self.mount_ids.push(maps);
            self.mount_ids.len() - 1
        })))
    }
}

//! Folders of the host under a writable layer in memory.

use std::path::Path;

use super::builder::{Builder, READ_ONLY};
use super::places::Place;
use crate::error::LaunchError;
use crate::ids::inward;
use crate::overlay::{Layers, Overlay, Owner};
use crate::plan::Step;
use crate::source::Opened;
use crate::strings::c_string;

impl Builder<'_> {
    pub(super) fn copy_on_write(
        &mut self,
        opened: Opened,
        target: &Path,
    ) -> Result<(), LaunchError> {
        let ids = self.owner_becomes_program(&opened)?;
        self.folder(target, 0o755)?;
        let overlay = self.lay_over(&opened, target, ids)?;
        self.steps.push(Step::Overlay(overlay));
        let (source, can_add) = (opened.path.clone(), false);
        self.places.put(target, Place::Host { source, can_add });
        self.grants.write(target, true)?;
        let (uid, gid) = opened.owner();
        let as_root = self.ids.maker.mounts_as_root();
        self.held.layers = Some(Layers {
            owner: match ids {
                Some(_mapped) => Owner::One(uid, gid),
                None if as_root => Owner::Same,
                None => Owner::Caller,
            },
            user_xattr: !as_root,
            lower: opened.fd,
        });
        Ok(())
    }

    pub(super) fn open_folder(
        &self,
        what: &'static str,
        path: &Path,
    ) -> Result<Opened, LaunchError> {
        let opened = self.open(what, path)?;
        if opened.is_folder() {
            return Ok(opened);
        }
        Err(LaunchError::NotAFolder {
            what,
            path: path.to_owned(),
        })
    }

    /// Takes a folder as a lower layer, with an upper one that belongs to whom
    /// the folder belongs to, as the sandbox sees it.
    pub(super) fn lay_over(
        &mut self,
        lower: &Opened,
        target: &Path,
        ids: Option<usize>,
    ) -> Result<Overlay, LaunchError> {
        let as_root = self.ids.maker.mounts_as_root();
        let (uid, gid) = lower.owner();
        let owner = match ids {
            Some(_mapped) => Some(self.ids.outside),
            None if as_root => Some((uid, gid)),
            None => inward(&self.ids.users, uid).zip(inward(&self.ids.group_ranges, gid)),
        };
        let number = self.takes.len();
        self.takes.push(Step::Take {
            source: lower.source()?,
            attr: READ_ONLY,
            recursive: false,
            ids,
        });
        Ok(Overlay {
            lower: number,
            target: c_string("path", target)?,
            mode: lower.mode(),
            owner,
            memory: c_string("option", format!("mode=700,size={}", self.share(50)))?,
            user_xattr: !as_root,
        })
    }
}

//! A folder of the host under a writable layer in memory.

use super::builder::{Builder, READ_ONLY};
use super::volumes::absolute;
use crate::error::LaunchError;
use crate::ids::inward;
use crate::isolation::Isolation;
use crate::overlay::{Layers, Overlay, Owner};
use crate::plan::Step;
use crate::strings::c_string;

impl Builder<'_> {
    pub(super) fn copy_on_write(&mut self, sandbox: &Isolation) -> Result<(), LaunchError> {
        const WHAT: &str = "workspace";
        let Some((source, target)) = &sandbox.copy_on_write else {
            return Ok(());
        };
        let opened = self.open(WHAT, source)?;
        let target = absolute(WHAT, target)?;
        if !opened.is_folder() {
            return Err(LaunchError::NotAFolder {
                what: WHAT,
                path: source.clone(),
            });
        }
        let ids = self.owner_becomes_program(&opened)?;
        self.folder(target, 0o755)?;
        let as_root = self.ids.maker.mounts_as_root();
        let owner = opened.owner();
        let shown_owner = match ids {
            Some(_mapped) => Some(self.ids.outside),
            None if as_root => Some(owner),
            None => inward(&self.ids.users, owner.0).zip(inward(&self.ids.group_ranges, owner.1)),
        };
        self.steps.push(Step::Overlay(Overlay {
            lower: self.takes.len(),
            target: c_string("path", target)?,
            mode: opened.mode(),
            owner: shown_owner,
            user_xattr: !as_root,
        }));
        self.takes.push(Step::Take {
            source: opened.source()?,
            attr: READ_ONLY,
            recursive: false,
            ids,
        });
        self.grants.write(target, true)?;
        self.shown.push(target.to_owned());
        self.held.layers = Some(Layers {
            owner: match ids {
                Some(_mapped) => Owner::One(owner.0, owner.1),
                None if as_root => Owner::Same,
                None => Owner::Caller,
            },
            user_xattr: !as_root,
            lower: opened.fd,
        });
        Ok(())
    }
}

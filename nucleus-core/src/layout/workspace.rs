//! Folders of the host under a writable layer in memory.

use std::ffi::CStr;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::builder::{Builder, READ_ONLY};
use super::places::Place;
use crate::cpath::CPath;
use crate::error::LaunchError;
use crate::ids::inward;
use crate::overlay::{
    Attributes, Layers, Mapped, Named, Overlay, Owner, is_user, memory_has_user_attributes,
    options, own, translate,
};
use crate::plan::Step;
use crate::source::Opened;
use crate::strings::c_string;

impl Builder<'_> {
    pub(super) fn copy_on_write(
        &mut self,
        opened: Opened,
        target: CPath,
    ) -> Result<(), LaunchError> {
        let ids = self.owner_and_program_swap(&opened)?;
        self.folder(target.clone(), 0o755);
        let owner = self.owner_of_changes(&opened, ids);
        let as_root = self.ids.maker.mounts_as_root();
        let has_attributes = self.can_mark("workspace", &opened)?;
        let attributes = given_attributes(&opened, as_root, has_attributes);
        let mut overlay = self.lay_over(&opened, &target, ids)?;
        overlay.attributes = as_layered(&attributes, &owner);
        self.steps.push(Step::Overlay(Box::new(overlay)));
        let (source, can_add) = (opened.path.clone(), false);
        self.places
            .put(target.clone(), Place::Host { source, can_add });
        self.grants.write(target, true);
        self.held.layers = Some(Layers {
            owner,
            user_xattr: !as_root,
            lower: opened.fd,
            has_user_attributes: has_attributes,
            attributes,
        });
        Ok(())
    }

    /// Whom what the program writes belongs to on the host.
    fn owner_of_changes(&self, lower: &Opened, ids: Option<usize>) -> Owner {
        match ids {
            Some(_mapped) => Owner::Mapped(Mapped {
                program: self.ids.outside,
                owner: lower.owner(),
                users: self.ids.users.clone(),
                groups: self.ids.group_ranges.clone(),
            }),
            None if self.ids.maker.mounts_as_root() => Owner::Same,
            None => Owner::Caller,
        }
    }

    /// Fails where nothing could be deleted from a layer in memory: without
    /// privilege its marks are attributes that files in memory have only since
    /// Linux 6.6. Returns whether they have them.
    pub(super) fn can_mark(&self, what: &'static str, lower: &Opened) -> Result<bool, LaunchError> {
        let has_attributes = memory_has_user_attributes().map_err(|errno| LaunchError::Parent {
            what: "make a file in memory",
            source: errno.into(),
        })?;
        if has_attributes || self.ids.maker.mounts_as_root() {
            return Ok(has_attributes);
        }
        Err(LaunchError::NoMarks {
            what,
            path: lower.path.as_path().to_owned(),
        })
    }

    pub(super) fn open_folder(
        &self,
        what: &'static str,
        path: &Path,
    ) -> Result<Opened, LaunchError> {
        let opened = Opened::open(what, path)?;
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
        target: &CStr,
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
            source: lower.source(),
            attr: READ_ONLY,
            recursive: false,
            ids,
        });
        Ok(Overlay {
            lower: number,
            target: target.to_owned(),
            mode: lower.mode(),
            owner,
            memory: c_string("option", format!("mode=700,size={}", self.share(50)))?,
            attributes: Vec::new(),
            kept: None,
            options: c_string("option", options(false, !as_root))?,
        })
    }
}

/// The attributes of a folder that a layer over it can begin with. Without
/// privilege an access control list cannot be given to it: it may name anybody.
fn given_attributes(folder: &Opened, as_root: bool, user: bool) -> Attributes {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let attributes = rustix::fs::openat(&folder.fd, c".", flags, Mode::empty())
        .and_then(|folder| own(folder.as_fd()));
    // Of a folder that cannot be read, nobody sees them in the sandbox either.
    let mut attributes = attributes.unwrap_or_default();
    attributes.retain(|(name, _value)| if is_user(name) { user } else { as_root });
    attributes
}

/// The same as the process that mounts names ids: the owner of the folder is
/// the program.
fn as_layered(attributes: &Attributes, owner: &Owner) -> Attributes {
    let Owner::Mapped(mapped) = owner else {
        return attributes.clone();
    };
    let inward = |kind, id| {
        let (of_owner, program) = match kind {
            Named::User => (mapped.owner.0, mapped.program.0),
            Named::Group => (mapped.owner.1, mapped.program.1),
        };
        Some(if id == of_owner { program } else { id })
    };
    let layered = attributes.iter().map(|(name, value)| {
        let translated = translate(value.clone(), inward);
        (name.clone(), translated.unwrap_or_else(|| value.clone()))
    });
    layered.collect()
}

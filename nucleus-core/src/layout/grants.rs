//! What the user wants the program to see beside the rest, each in its place.

use std::os::fd::OwnedFd;
use std::path::Path;

use super::builder::Builder;
use super::places;
use crate::cpath::CPath;
use crate::error::{LaunchError, TargetError};
use crate::isolation::{Access, Isolation, Tmpfs};
use crate::source::Opened;

/// Something that the user wants the program to see.
enum Grant<'a> {
    CopyOnWrite(Opened),
    Volume(Opened, Access),
    Tmpfs(&'a Tmpfs),
    Secret(OwnedFd),
}

impl Grant<'_> {
    const fn name(&self) -> &'static str {
        match self {
            Self::CopyOnWrite(_) => "workspace",
            Self::Volume(..) => "volume",
            Self::Tmpfs(_) => "tmpfs",
            Self::Secret(_) => "secret",
        }
    }

    fn is_folder(&self) -> bool {
        match self {
            Self::CopyOnWrite(_) | Self::Tmpfs(_) => true,
            Self::Volume(opened, _access) => opened.is_folder(),
            Self::Secret(_) => false,
        }
    }
}

impl Builder<'_> {
    /// Opens all that is granted, and puts each in its place: what is further
    /// up first, so that nothing covers what is below it.
    pub(super) fn grants(&mut self, sandbox: &Isolation) -> Result<(), LaunchError> {
        let mut grants = self.open_all(sandbox)?;
        grants.sort_by_key(|(target, _grant)| target.components().count());
        let mut granted: Vec<CPath> = Vec::new();
        for (asked, grant) in grants {
            let target = self.places.target(grant.name(), asked, grant.is_folder())?;
            let target = CPath::new(&target)?;
            // One further down than its path says, by a link.
            if let Some(covered) = granted.iter().find(|known| known.is_in(&target)) {
                return Err(TargetError::Covers {
                    path: asked.to_owned(),
                    covered: covered.as_path().to_owned(),
                }
                .into());
            }
            granted.push(target.clone());
            match grant {
                Grant::CopyOnWrite(opened) => self.copy_on_write(opened, target)?,
                Grant::Volume(opened, access) => self.volume(opened, access, target)?,
                Grant::Tmpfs(tmpfs) => self.tmpfs(tmpfs, target)?,
                Grant::Secret(secret) => self.secret(secret, target),
            }
        }
        Ok(())
    }

    fn open_all<'s>(
        &self,
        sandbox: &'s Isolation,
    ) -> Result<Vec<(&'s Path, Grant<'s>)>, LaunchError> {
        let mut grants: Vec<(&Path, Grant<'_>)> = Vec::new();
        if let Some((source, target)) = &sandbox.copy_on_write {
            let opened = self.open_folder("workspace", source)?;
            grants.push((target, Grant::CopyOnWrite(opened)));
        }
        for volume in &sandbox.volumes {
            let opened = Opened::open("volume", &volume.source)?;
            if opened.is_device() {
                return Err(TargetError::Device {
                    path: volume.source.clone(),
                }
                .into());
            }
            grants.push((&volume.target, Grant::Volume(opened, volume.access)));
        }
        for tmpfs in &sandbox.tmpfs {
            grants.push((&tmpfs.target, Grant::Tmpfs(tmpfs)));
        }
        for (source, target) in &sandbox.secrets {
            grants.push((target, Grant::Secret(self.open_secret(source)?)));
        }
        Ok(grants)
    }
}

/// The places of folders that may be where a program starts.
pub(super) fn targets(sandbox: &Isolation) -> Result<Vec<CPath>, LaunchError> {
    let workspace = sandbox.copy_on_write.iter();
    let workspace = workspace.map(|(_source, target)| ("workspace", target));
    let volumes = sandbox.volumes.iter();
    let volumes = volumes.map(|volume| ("volume", &volume.target));
    workspace
        .chain(volumes)
        .map(|(what, target)| CPath::new(places::absolute(what, target)?))
        .collect()
}

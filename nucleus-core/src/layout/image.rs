//! A root directory of the user's own, such as an unpacked container image, in
//! place of the host's programs.
//!
//! It is the lower layer of an overlay either way: what a sandbox needs (places
//! to mount on, a few files of `/etc`) is added above it, and where the program
//! may not write, the whole is made read-only in the end.

use std::ffi::{CStr, CString};
use std::ops::Deref;
use std::path::Path;

use super::builder::{Builder, READ_ONLY};
use super::places::Place;
use crate::cpath::CPath;
use crate::error::{LaunchError, SourceError};
use crate::isolation::{Isolation, Network, RootMode};
use crate::overlay::{KeptLayer, Overlay, options};
use crate::plan::{MountAttr, Step};
use crate::source::{Opened, Source};
use crate::strings::c_string;

/// Where it is until it is the root.
const IMAGE: &CStr = c"/.image";

impl Builder<'_> {
    pub(super) fn image(
        &mut self,
        source: &Path,
        mode: RootMode,
        upper: Option<&Path>,
    ) -> Result<(), LaunchError> {
        let opened = self.open_folder("root directory", source)?;
        let ids = match (mode, upper) {
            (RootMode::ReadOnly, _) => None,
            (RootMode::Overlay, Some(_)) => self.owner_and_program_swap(&opened)?,
            (RootMode::Overlay, None) => {
                self.can_mark("root directory", &opened)?;
                self.owner_and_program_swap(&opened)?
            }
        };
        self.folder(IMAGE, 0o700);
        let mut overlay = self.lay_over(&opened, IMAGE, ids)?;
        if let (RootMode::Overlay, Some(upper)) = (mode, upper) {
            self.keep_upper(&mut overlay, upper, &opened, ids.is_some())?;
        }
        self.steps.push(Step::EnterImage(Box::new(overlay)));
        let source = opened.path.clone();
        let can_add = true;
        self.places
            .put(c"/".into(), Place::Host { source, can_add });
        self.keep(opened);
        if mode == RootMode::Overlay {
            self.grants.write(c"/".into(), true);
        }
        // Its own device nodes are dead, and none of the sandbox's business.
        self.folder(c"/dev", 0o755);
        self.steps.push(Step::Tmpfs {
            path: c"/dev".into(),
            options: c"mode=755,size=64k".into(),
            attr: MountAttr::NOSUID | MountAttr::NODEV | MountAttr::NOEXEC,
        });
        self.places.put(c"/dev".into(), Place::Memory);
        self.folder(c"/run", 0o755);
        Ok(())
    }

    /// Puts the layer in a folder of the host. On the disk the program is an id
    /// that no program ever gets, so that the next one can take its place.
    fn keep_upper(
        &mut self,
        overlay: &mut Overlay,
        folder: &Path,
        image: &Opened,
        mapped: bool,
    ) -> Result<(), LaunchError> {
        let opened = self.open_folder("folder for the kept layer", folder)?;
        let user_xattr = !self.ids.maker.mounts_as_root();
        let program = self.ids.outside;
        let keeper = self.host.keeper.filter(|_id| mapped);
        let kept = KeptLayer {
            path: opened.path.as_path().to_owned(),
            over: image.path.as_path().to_owned(),
            mode: image.mode(),
            owner: match keeper {
                Some(id) => Some((id, id)),
                None => overlay.owner.filter(|_owner| !user_xattr),
            },
            user_xattr,
            folder: opened.fd.try_clone().map_err(|source| SourceError::Open {
                what: "folder for the kept layer",
                path: folder.to_owned(),
                source,
            })?,
        };
        kept.check()?;
        overlay.kept = Some(self.takes.len());
        overlay.options = c_string("option", options(true, user_xattr))?;
        let ids = keeper.map(|id| self.swap_ids((id, id), program));
        self.takes.push(Step::Take {
            source: opened.source(),
            attr: MountAttr::NOSUID | MountAttr::NODEV,
            recursive: false,
            ids,
        });
        self.keep(opened);
        self.held.kept = Some(kept);
        Ok(())
    }

    /// What a program expects in `/etc`, where the image has not got it. What
    /// the user asks for goes above what it has.
    pub(super) fn etc_of_image(&mut self, sandbox: &Isolation) -> Result<(), LaunchError> {
        let (passwd, group) = self.accounts();
        self.provide(c"/etc/passwd", passwd, false);
        self.provide(c"/etc/group", group, false);
        let asked = !sandbox.hosts.is_empty();
        self.provide(c"/etc/hosts", super::base::hosts(sandbox), asked);
        if let Some(nameserver) = sandbox.nameserver {
            self.provide(
                c"/etc/resolv.conf",
                format!("nameserver {nameserver}\n"),
                true,
            );
            return Ok(());
        }
        // Whatever the image has there names servers of another network.
        let path = CPath::from(c"/etc/resolv.conf");
        let real = path.as_path().canonicalize().ok();
        let real = real.filter(|real| real.is_file());
        if let (Network::Host, Some(real)) = (sandbox.network, real) {
            self.provide(c"/etc/resolv.conf", "", true);
            let source = Source::Path(CPath::new(&real)?);
            self.bind(source, path, false, READ_ONLY, None);
        }
        Ok(())
    }

    fn provide(&mut self, path: &'static CStr, content: impl Into<Vec<u8>>, replace: bool) {
        self.folder(c"/etc", 0o755);
        self.steps.push(Step::Provide {
            path: path.into(),
            content: content.into(),
            replace,
        });
    }

    /// Where a program in an image starts: nothing of the host is shown that
    /// was not asked for.
    pub(super) fn current_dir_of_image(
        &self,
        asked: Option<&Path>,
    ) -> Result<CString, LaunchError> {
        if let Some(asked) = asked {
            return c_string("path", asked);
        }
        let current = self.host.current_dir.as_ref();
        let shown = current.filter(|current| current.is_in_any(&self.shown));
        Ok(shown.map_or(c"/", Deref::deref).to_owned())
    }
}

//! Files that only the program reads.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use super::builder::Builder;
use crate::cpath::CPath;
use crate::error::{LaunchError, SourceError};
use crate::plan::Step;
use crate::secret::{MAX_SIZE, Secret};
use crate::stdio::above_streams;

impl Builder<'_> {
    /// Opens what the user wants to keep secret.
    pub(super) fn open_secret(&self, source: &Path) -> Result<OwnedFd, LaunchError> {
        let failed = |error| SourceError::Open {
            what: "secret",
            path: source.to_owned(),
            source: error,
        };
        // By any way to it, links of /proc too: shells pass the output of
        // a program as one.
        let file = File::open(source).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        let kind = metadata.file_type();
        if !(kind.is_file() || kind.is_fifo()) || metadata.len() > MAX_SIZE {
            return Err(LaunchError::NoSecret {
                path: source.to_owned(),
            });
        }
        Ok(above_streams(OwnedFd::from(file)).map_err(|errno| failed(errno.into()))?)
    }

    pub(super) fn secret(&mut self, secret: OwnedFd, target: CPath) {
        self.file(target.clone(), "");
        self.steps.push(Step::Secret(Secret {
            number: self.held.secrets.len(),
            target,
            owner: self.ids.of_mounts(),
        }));
        self.held.secrets.push(secret);
    }
}

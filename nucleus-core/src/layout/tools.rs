//! Programs outside of the system's folders, and the working directory: what
//! is shown without being asked for.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::builder::Builder;
use crate::error::LaunchError;
use crate::host;

impl Builder<'_> {
    /// Programs outside of the system's folders: those along PATH, and the
    /// one that is to be run.
    pub(super) fn tools(&mut self, program: &OsStr) -> Result<(), LaunchError> {
        let home = self.host.home.as_deref();
        let mut folders = host::tool_folders(&self.host.path, home);
        let program = Path::new(program);
        let absolute = match &self.host.current_dir {
            _ if program.is_absolute() => Some(program.to_owned()),
            Some(current) if program.components().count() > 1 => Some(current.join(program)),
            _ => None,
        };
        let of_program = absolute
            .filter(|path| path.is_file())
            .and_then(|path| path.parent()?.canonicalize().ok());
        if let Some(folder) = of_program {
            folders.push(host::installation(&folder, home));
        }
        for folder in folders {
            if self.may_show(&folder) {
                self.show_opened(&folder)?;
                self.shown.push(folder);
            }
        }
        Ok(())
    }

    /// Whether a folder of the host that nobody asked for may be shown: not
    /// what is shown already, not what the sandbox has its own of, and not a
    /// folder that the private ones are in.
    pub(super) fn may_show(&self, folder: &Path) -> bool {
        const OWN: &[&str] = &["/dev", "/etc", "/proc", "/run", "/sys"];
        folder.parent().is_some()
            && !host::is_system(folder)
            && !host::is_in(folder, OWN)
            && !Path::new("/tmp").starts_with(folder)
            && !self.home.starts_with(folder)
            && !self.host.home.iter().any(|home| home.starts_with(folder))
            && !self.shown.iter().any(|shown| folder.starts_with(shown))
    }

    /// The program's working directory: as asked for, or this process's, shown
    /// read-only if nothing else shows it and it may be.
    pub(super) fn current_dir(&mut self, asked: Option<&Path>) -> Result<OsString, LaunchError> {
        if let Some(asked) = asked {
            return Ok(asked.into());
        }
        let Some(current) = self.host.current_dir.clone() else {
            return Ok("/".into());
        };
        if self.may_show(&current) {
            self.show_opened(&current)?;
            return Ok(current.into());
        }
        let visible = host::is_system(&current)
            || current == self.home
            || current == Path::new("/tmp")
            || self.shown.iter().any(|shown| current.starts_with(shown));
        Ok(if visible {
            current.into()
        } else {
            OsString::from("/")
        })
    }
}

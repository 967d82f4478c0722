//! Programs outside of the system's folders, and the working directory: what
//! is shown without being asked for.

use std::ffi::{CStr, CString, OsStr};
use std::path::Path;

use super::builder::Builder;
use crate::cpath::CPath;
use crate::error::LaunchError;
use crate::host;
use crate::source::Opened;
use crate::strings::c_string;

impl Builder<'_> {
    /// Programs outside of the system's folders: those along PATH, and the
    /// one that is to be run.
    pub(super) fn tools(&mut self, program: &OsStr) -> Result<(), LaunchError> {
        let home = self.host.home.as_ref();
        let mut folders = host::tool_folders(&self.host.path, home);
        let program = Path::new(program);
        let absolute = match &self.host.current_dir {
            _ if program.is_absolute() => Some(program.to_owned()),
            Some(current) if program.components().count() > 1 => {
                Some(current.as_path().join(program))
            }
            _ => None,
        };
        if let Some(path) = absolute
            && let Some(folder) = path.parent()
            && let Ok(folder) = folder.canonicalize()
        {
            let folder = CPath::new(&folder)?;
            if !host::is_system(&folder) && path.is_file() {
                folders.push(host::installation(folder, home));
            }
        }
        for folder in folders {
            if self.may_show(&folder)
                && let Some(opened) = Opened::find("folder", folder.as_path())?
            {
                self.show_opened(opened, folder.clone());
                self.shown.push(folder);
            }
        }
        Ok(())
    }

    /// Whether a folder of the host that nobody asked for may be shown: not
    /// what is shown already, not what the sandbox has its own of, and not a
    /// folder that the private ones are in.
    pub(super) fn may_show(&self, folder: &CPath) -> bool {
        const OWN: &[&CStr] = &[c"/dev", c"/etc", c"/proc", c"/run", c"/sys"];
        !folder.is_root()
            && !host::is_system(folder)
            && !folder.is_in_any(OWN)
            && !CPath::from(c"/tmp").is_in(folder)
            && !self.home.is_in(folder)
            && !self.host.home.iter().any(|home| home.is_in(folder))
            && !folder.is_in_any(&self.shown)
    }

    /// The program's working directory: as asked for, or this process's, shown
    /// read-only if nothing else shows it and it may be.
    pub(super) fn current_dir(&mut self, asked: Option<&Path>) -> Result<CString, LaunchError> {
        if let Some(asked) = asked {
            return c_string("path", asked);
        }
        let Some(current) = self.host.current_dir.clone() else {
            return Ok(c"/".to_owned());
        };
        let is_visible = if self.may_show(&current) {
            let opened = Opened::open("folder", current.as_path())?;
            self.show_opened(opened, current.clone());
            true
        } else {
            host::is_system(&current)
                || current == self.home
                || current == CPath::from(c"/tmp")
                || current.is_in_any(&self.shown)
        };
        Ok(if is_visible { &*current } else { c"/" }.to_owned())
    }
}

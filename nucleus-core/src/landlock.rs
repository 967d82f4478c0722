//! The grants of the mounts again, as a Landlock ruleset: a second wall that
//! also stands where a mount is missed.

use std::path::Path;

use landlock::{ABI, Access as _, AccessFs, BitFlags, Scope};

use crate::error::LaunchError;
use crate::plan::Ruleset;
use crate::strings::c_string;

/// What the program may do beneath which path.
#[derive(Debug)]
pub(crate) struct Grants {
    abi: ABI,
    rules: Vec<(std::ffi::CString, BitFlags<AccessFs>)>,
}

/// Nobody makes devices.
const NEVER: [AccessFs; 2] = [AccessFs::MakeChar, AccessFs::MakeBlock];

impl Grants {
    /// Reading and executing everywhere: what is there was put there.
    pub(crate) fn new(abi: u32) -> Self {
        let abi = match abi {
            0 => ABI::Unsupported,
            1 => ABI::V1,
            2 => ABI::V2,
            3 => ABI::V3,
            4 => ABI::V4,
            5 => ABI::V5,
            6 => ABI::V6,
            _ => ABI::V7,
        };
        let root = (c"/".to_owned(), AccessFs::from_read(abi));
        Self {
            abi,
            rules: vec![root],
        }
    }

    /// Every access to a file or folder.
    pub(crate) fn write(&mut self, path: &Path, is_folder: bool) -> Result<(), LaunchError> {
        let mut access = AccessFs::from_all(self.abi);
        for never in NEVER {
            access.remove(never);
        }
        if !is_folder {
            access &= AccessFs::from_file(self.abi);
        }
        self.rules.push((c_string("path", path)?, access));
        Ok(())
    }

    /// Devices are written to, and controlled.
    pub(crate) fn devices(&mut self, path: &str) -> Result<(), LaunchError> {
        let access = AccessFs::from_read(self.abi)
            | AccessFs::WriteFile
            | (AccessFs::from_all(self.abi) & (AccessFs::Truncate | AccessFs::IoctlDev));
        self.rules.push((c_string("path", path)?, access));
        Ok(())
    }

    /// A process writes to its own files in /proc.
    pub(crate) fn proc(&mut self, path: &str) -> Result<(), LaunchError> {
        let access = AccessFs::from_read(self.abi)
            | AccessFs::WriteFile
            | (AccessFs::from_all(self.abi) & AccessFs::Truncate);
        self.rules.push((c_string("path", path)?, access));
        Ok(())
    }

    /// The ruleset.
    pub(crate) fn ruleset(&self) -> Result<Ruleset, LaunchError> {
        if self.abi == ABI::Unsupported {
            return Err(LaunchError::NoLandlock);
        }
        let scoped = if self.abi >= ABI::V6 {
            (Scope::AbstractUnixSocket | Scope::Signal).bits()
        } else {
            0
        };
        Ok(Ruleset {
            handled: AccessFs::from_all(self.abi).bits(),
            scoped,
            rules: self
                .rules
                .iter()
                .map(|(path, access)| (path.clone(), access.bits()))
                .collect(),
        })
    }
}

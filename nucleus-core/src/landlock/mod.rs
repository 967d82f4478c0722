//! Landlock: the grants of the mounts again, as a second wall that also stands
//! where a mount is missed, and policies of the user.

mod policy;
mod rights;

use std::path::Path;

pub use self::policy::{Enforcement, LandlockPolicy};
pub(crate) use self::rights::Rights;
use landlock::{ABI, Access as _, AccessFs, AccessNet, BitFlags, Scope};

use crate::error::LaunchError;
use crate::plan::{Ruleset, Step};
use crate::strings::c_string;

/// What the program may do beneath which path.
#[derive(Debug)]
pub(crate) struct Grants {
    abi: ABI,
    /// The accesses to TCP ports that are denied.
    ports: u64,
    rules: Vec<(std::ffi::CString, BitFlags<AccessFs>)>,
}

/// Nobody makes devices.
const NEVER: [AccessFs; 2] = [AccessFs::MakeChar, AccessFs::MakeBlock];

impl Grants {
    /// Reading and executing everywhere: what is there was put there.
    pub(crate) fn new(abi: u32) -> Self {
        let mut grants = Self::nothing(abi);
        let root = (c"/".to_owned(), AccessFs::from_read(grants.abi));
        grants.rules.push(root);
        grants
    }

    pub(crate) fn nothing(abi: u32) -> Self {
        Self {
            abi: match abi {
                0 => ABI::Unsupported,
                1 => ABI::V1,
                2 => ABI::V2,
                3 => ABI::V3,
                4 => ABI::V4,
                5 => ABI::V5,
                6 => ABI::V6,
                _ => ABI::V7,
            },
            ports: 0,
            rules: Vec::new(),
        }
    }

    /// No TCP port, where the kernel can say so.
    pub(crate) fn no_ports(&mut self) {
        self.ports = AccessNet::from_all(self.abi).bits();
    }

    /// Reading.
    pub(crate) fn read(&mut self, path: &Path) -> Result<(), LaunchError> {
        let access = AccessFs::ReadFile | AccessFs::ReadDir;
        self.rules.push((c_string("path", path)?, access));
        Ok(())
    }

    /// Reading and executing.
    pub(crate) fn execute(&mut self, path: &Path) -> Result<(), LaunchError> {
        let access = AccessFs::from_read(self.abi);
        self.rules.push((c_string("path", path)?, access));
        Ok(())
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

    /// The steps that enforce them.
    pub(crate) fn steps(&self) -> Result<Vec<Step>, LaunchError> {
        if self.abi == ABI::Unsupported {
            return Err(LaunchError::NoLandlock);
        }
        let mut steps = vec![Step::Landlock(Ruleset {
            files: Rights::from_bits(AccessFs::from_all(self.abi).bits()),
            ports: self.ports,
            scopes: if self.abi >= ABI::V6 {
                (Scope::AbstractUnixSocket | Scope::Signal).bits()
            } else {
                0
            },
        })];
        steps.extend(self.rules.iter().map(|(path, access)| Step::LandlockPath {
            path: path.clone(),
            rights: Rights::from_bits(access.bits()),
        }));
        steps.push(Step::LandlockRestrict);
        Ok(steps)
    }
}

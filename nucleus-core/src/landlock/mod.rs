//! Landlock: the grants of the mounts again, as a second wall that also stands
//! where a mount is missed, and policies of the user.

mod policy;
mod rights;

pub use self::policy::{Enforcement, LandlockPolicy};
pub(crate) use self::rights::Rights;
use landlock::{ABI, Access as _, AccessFs, AccessNet, BitFlags, Scope};

use self::policy::Kinds;
use crate::cpath::CPath;
use crate::error::LaunchError;
use crate::isolation::Isolation;
use crate::plan::{Ruleset, Step};

impl Isolation {
    /// What a kernel with this ABI, 0 for none, enforces of the wall that
    /// [`Isolation::landlock`] is, in [`View::Isolated`](crate::View::Isolated).
    /// Ports are none of its business: the network is of its own. In
    /// [`View::Reduced`](crate::View::Reduced) they are, where there is to be
    /// none: `ports`.
    #[must_use]
    pub fn landlock_enforcement(&self, abi: u32, ports: bool) -> Enforcement {
        if !self.landlock {
            return Enforcement::Off("it was not wanted".to_owned());
        }
        if self.nested {
            return Enforcement::Off("it would forbid the mounts of a sandbox inside".to_owned());
        }
        Enforcement::of(
            abi,
            Kinds {
                files: true,
                ports,
                scopes: true,
            },
        )
    }
}

/// What the program may do beneath which path.
#[derive(Debug)]
pub(crate) struct Grants {
    abi: ABI,
    /// The accesses to TCP ports that are denied.
    ports: u64,
    rules: Vec<(CPath, BitFlags<AccessFs>)>,
}

/// Nobody makes devices.
const NEVER: [AccessFs; 2] = [AccessFs::MakeChar, AccessFs::MakeBlock];

impl Grants {
    /// Reading and executing everywhere: what is there was put there.
    pub(crate) fn new(abi: u32) -> Self {
        let mut grants = Self::nothing(abi);
        grants.execute(c"/".into());
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
    pub(crate) fn read(&mut self, path: CPath) {
        let access = AccessFs::ReadFile | AccessFs::ReadDir;
        self.rules.push((path, access));
    }

    /// Reading and executing.
    pub(crate) fn execute(&mut self, path: CPath) {
        self.rules.push((path, AccessFs::from_read(self.abi)));
    }

    /// Every access to a file or folder.
    pub(crate) fn write(&mut self, path: CPath, is_folder: bool) {
        let mut access = AccessFs::from_all(self.abi);
        for never in NEVER {
            access.remove(never);
        }
        if !is_folder {
            access &= AccessFs::from_file(self.abi);
        }
        self.rules.push((path, access));
    }

    /// Devices are written to, and controlled.
    pub(crate) fn devices(&mut self, path: impl Into<CPath>) {
        let access = AccessFs::from_read(self.abi)
            | AccessFs::WriteFile
            | (AccessFs::from_all(self.abi) & (AccessFs::Truncate | AccessFs::IoctlDev));
        self.rules.push((path.into(), access));
    }

    /// A process writes to its own files in /proc.
    pub(crate) fn proc(&mut self, path: impl Into<CPath>) {
        let access = AccessFs::from_read(self.abi)
            | AccessFs::WriteFile
            | (AccessFs::from_all(self.abi) & AccessFs::Truncate);
        self.rules.push((path.into(), access));
    }

    /// The steps that enforce them.
    pub(crate) fn steps(self) -> Result<Vec<Step>, LaunchError> {
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
        steps.extend(
            self.rules
                .into_iter()
                .map(|(path, access)| Step::LandlockPath {
                    path,
                    rights: Rights::from_bits(access.bits()),
                }),
        );
        steps.push(Step::LandlockRestrict);
        Ok(steps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `Documentation/userspace-api/landlock.rst` says what came with which ABI.
    #[test]
    fn what_a_kernel_cannot_restrict_is_said() {
        let check = |abi, ports, expected: &str| {
            let enforcement = Isolation::new().landlock_enforcement(abi, ports);
            assert_eq!(enforcement.to_string(), expected, "{abi}");
        };
        check(7, false, "in full");
        check(6, true, "in full");
        check(
            4,
            true,
            "in part: this kernel's Landlock, ABI 4, cannot restrict the right ioctl_dev, \
             signals and abstract sockets, its scopes (ABI 6)",
        );
        check(
            2,
            true,
            "in part: this kernel's Landlock, ABI 2, cannot restrict the right truncate, \
             the right ioctl_dev, TCP ports (ABI 4), \
             signals and abstract sockets, its scopes (ABI 6)",
        );
        check(0, true, "not at all: this kernel has no Landlock");
        let off = |sandbox: Isolation| sandbox.landlock_enforcement(7, false);
        assert!(matches!(
            off(Isolation::new().landlock(false)),
            Enforcement::Off(_)
        ));
        assert!(matches!(
            off(Isolation::new().nested(true)),
            Enforcement::Off(_)
        ));
    }
}

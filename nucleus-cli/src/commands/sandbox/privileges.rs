//! What the program may do beyond a user without privilege, and what less.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use anyhow::Context;
use nucleus_core::{Capability, Enforcement, Isolation, LandlockPolicy};

use crate::report;

/// Capabilities and Landlock.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Privileges")]
pub(crate) struct PrivilegeArgs {
    /// Let the program have a capability over what is the sandbox's own, such
    /// as net_bind_service; repeat for more
    #[arg(long = "cap-add", value_name = "NAME")]
    capabilities: Vec<Capability>,

    /// The same by a file, with a line such as: add = ["net_bind_service"]
    #[arg(long = "caps-policy", value_name = "FILE.toml")]
    capabilities_policy: Option<PathBuf>,

    /// Restrict the program by a Landlock policy besides
    ///
    /// A [[path]] with `beneath` and `allow` (read, write, execute, or the
    /// kernel's names of rights), [tcp] with `bind` and `connect`, `scopes`.
    #[arg(long, value_name = "FILE.toml", conflicts_with = "allow_nested")]
    landlock_policy: Option<PathBuf>,

    #[arg(skip)]
    read: OnceCell<Privileges>,
}

/// What the options and the files say.
#[derive(Debug, Clone)]
pub(crate) struct Privileges {
    pub(crate) capabilities: Vec<Capability>,
    landlock: Option<LandlockPolicy>,
}

impl PrivilegeArgs {
    pub(crate) const fn has_landlock_policy(&self) -> bool {
        self.landlock_policy.is_some()
    }

    /// Reads the files, the first time.
    pub(crate) fn read(&self) -> anyhow::Result<Privileges> {
        if let Some(read) = self.read.get() {
            return Ok(read.clone());
        }
        let mut capabilities = self.capabilities.clone();
        if let Some(path) = &self.capabilities_policy {
            capabilities.extend(parse(path, Capability::from_policy)?);
        }
        let landlock = match &self.landlock_policy {
            Some(path) => Some(parse(path, LandlockPolicy::from_toml)?),
            None => None,
        };
        let read = Privileges {
            capabilities,
            landlock,
        };
        Ok(self.read.get_or_init(|| read).clone())
    }
}

impl Privileges {
    /// The sandbox with these privileges. Says where a policy that allows it is
    /// not enforced in full.
    pub(crate) fn apply(self, sandbox: Isolation) -> Isolation {
        let sandbox = self
            .capabilities
            .into_iter()
            .fold(sandbox, Isolation::capability);
        let Some(policy) = self.landlock else {
            return sandbox;
        };
        let enforcement = policy.enforcement(nucleus_core::landlock_abi());
        if enforcement != Enforcement::Full {
            report::note(format_args!(
                "the Landlock policy is enforced {enforcement}"
            ));
        }
        sandbox.landlock_policy(policy)
    }
}

fn parse<T, E>(path: &Path, read: impl FnOnce(&str) -> Result<T, E>) -> anyhow::Result<T>
where
    E: std::error::Error + Send + Sync + 'static,
{
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the policy {}", path.display()))?;
    read(&text).with_context(|| format!("cannot use the policy {}", path.display()))
}

//! Which paths the program may use.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use nucleus_supervisor::PathRules;

/// Rules on paths, enforced by a supervisor.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Paths that it may use")]
pub(crate) struct PathArgs {
    /// Deny a path of the sandbox and all below it, whatever leads there;
    /// repeat for more
    ///
    /// The nearest rule counts: --path-deny /data --path-grant /data/public.
    /// Attributes can be looked at still.
    #[arg(long, value_name = "PATH")]
    path_deny: Vec<PathBuf>,

    /// Deny a path and all below it as if it were not there; repeat for more
    #[arg(long, value_name = "PATH")]
    path_hide: Vec<PathBuf>,

    /// Except a path below one that is denied or hidden; repeat for more
    #[arg(long, value_name = "PATH")]
    path_grant: Vec<PathBuf>,
}

impl PathArgs {
    /// The rules, if there are any.
    pub(crate) fn rules(&self) -> anyhow::Result<Option<PathRules>> {
        if self.path_deny.is_empty() && self.path_hide.is_empty() {
            ensure!(
                self.path_grant.is_empty(),
                "--path-grant makes an exception of --path-deny or --path-hide; to show the program \
                 more of the host use --volume"
            );
            return Ok(None);
        }
        let rules = PathRules::new();
        let failed = "a rule on paths is about the sandbox's files";
        for path in &self.path_deny {
            rules.deny(path).context(failed)?;
        }
        for path in &self.path_hide {
            rules.hide(path).context(failed)?;
        }
        for path in &self.path_grant {
            rules.grant(path).context(failed)?;
        }
        Ok(Some(rules))
    }
}

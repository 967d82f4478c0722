//! Which paths the program may use.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use nucleus_supervisor::PathRules;

use crate::policy_file;

/// Rules on paths, enforced by a supervisor.
#[derive(Debug, Default, clap::Args)]
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
    /// The rules, if there are any, with those of a policy file; none are rules,
    /// too, where each use of a path is asked about.
    pub(crate) fn rules(
        &self,
        by_file: &policy_file::Paths,
        asks: bool,
    ) -> anyhow::Result<Option<PathRules>> {
        let denied = || self.path_deny.iter().chain(&by_file.deny);
        let hidden = || self.path_hide.iter().chain(&by_file.hide);
        let granted = || self.path_grant.iter().chain(&by_file.grant);
        if denied().chain(hidden()).next().is_none() {
            ensure!(
                granted().next().is_none(),
                "--path-grant makes an exception of --path-deny or --path-hide; to show the program \
                 more of the host use --volume"
            );
            if !asks {
                return Ok(None);
            }
        }
        let rules = PathRules::new();
        let failed = "a rule on paths is about the sandbox's files";
        // Of two rules on the same path the last one counts, which is to be a
        // denial.
        for path in granted() {
            rules.grant(path).context(failed)?;
        }
        for path in denied() {
            rules.deny(path).context(failed)?;
        }
        for path in hidden() {
            rules.hide(path).context(failed)?;
        }
        Ok(Some(rules))
    }
}

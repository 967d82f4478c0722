//! What the program may execute.

use nucleus_supervisor::callback::{Arbiter, Context};
use nucleus_supervisor::{ExecPolicy, ExecRule, Guard, PathRules};

use crate::policy_file::PolicyFile;

/// Rules on executing programs, enforced by a supervisor.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Programs that it may execute")]
pub(crate) struct ExecArgs {
    /// Allow PATH [ARG...], such as git, '/usr/lib/git-core/**' or 'npm run
    /// ...', and nothing that no rule allows; repeat for more
    ///
    /// PATH is a file, whatever links lead to it; a name alone is one of the
    /// usual folders' (/usr/bin and its kin); * matches within one folder, **
    /// any. Each ARG is one argument, ... any number of them. A script needs
    /// its interpreter allowed, too. The program itself need not be named.
    #[arg(long, value_name = "RULE")]
    exec_allow: Vec<ExecRule>,

    /// Deny PATH [ARG...], such as curl or 'git ... push ...', before all that
    /// is allowed; repeat for more
    #[arg(long, value_name = "RULE")]
    exec_deny: Vec<ExecRule>,
}

impl ExecArgs {
    /// What enforces the rules, if there are any.
    /// Those of the policy add up with the options'. Rules on paths are about
    /// executing, too.
    pub(crate) fn guard(
        &self,
        policy: &PolicyFile,
        arbiter: Option<&Arbiter>,
        tightened: Option<&Context>,
        paths: Option<&PathRules>,
    ) -> Option<Box<dyn Guard>> {
        let mut allowed = policy.exec.as_ref().and_then(|exec| exec.allow.clone());
        if !self.exec_allow.is_empty() {
            let allowed = allowed.get_or_insert_default();
            allowed.extend_from_slice(&self.exec_allow);
        }
        let mut denied = self.exec_deny.clone();
        denied.extend(policy.exec.iter().flat_map(|exec| exec.deny.clone()));
        if allowed.is_none() && denied.is_empty() && arbiter.is_none() && paths.is_none() {
            return None;
        }
        let mut guard = ExecPolicy::new(allowed, denied);
        if let Some(context) = tightened {
            guard = guard.tightened_by(context);
        }
        if let Some(arbiter) = arbiter {
            guard = guard.ask(arbiter.clone());
        }
        if let Some(paths) = paths {
            guard = guard.with_paths(paths.clone());
        }
        Some(Box::new(guard))
    }
}

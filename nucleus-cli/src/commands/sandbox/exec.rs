//! What the program may execute.

use nucleus_supervisor::{ExecPolicy, ExecRule, Guard};

/// Rules on executing programs, enforced by a supervisor.
#[derive(Debug, clap::Args)]
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
    pub(crate) fn guard(&self) -> Option<Box<dyn Guard>> {
        if self.exec_allow.is_empty() && self.exec_deny.is_empty() {
            return None;
        }
        let allowed = (!self.exec_allow.is_empty()).then(|| self.exec_allow.clone());
        Some(Box::new(ExecPolicy::new(allowed, self.exec_deny.clone())))
    }
}

//! A run whose policies need a supervisor: the filter traps what they must
//! judge, and this process answers.

use anyhow::Context;
use nucleus_seccomp::InstallFlags;
use nucleus_supervisor::{Enforced, Listener, Policy, Registry, Supervisor};

use crate::exit::Ended;
use crate::session::Job;
use crate::{filter, session};

/// Policies, ready to be enforced on one run.
#[derive(Debug)]
pub(crate) struct Supervision {
    registry: Registry,
    enforced: Vec<Enforced>,
}

impl Supervision {
    /// Prepares what the policies need; `None` when there is none.
    pub(crate) fn new(policies: Vec<Box<dyn Policy>>) -> anyhow::Result<Option<Self>> {
        if policies.is_empty() {
            return Ok(None);
        }
        let mut registry = Registry::new();
        let mut enforced = Vec::new();
        for policy in policies {
            enforced.extend(policy.enforced());
            policy.register(&mut registry)?;
        }
        Ok(Some(Self { registry, enforced }))
    }

    /// Each rule, and who enforces it.
    pub(crate) fn enforced(&self) -> &[Enforced] {
        &self.enforced
    }

    /// Puts the profile and what must be trapped into one filter: a denial of
    /// the profile stays one, and is not asked about.
    pub(crate) fn filter(
        &self,
        command: &mut nucleus_core::Command,
        policy: &nucleus_seccomp::Policy,
    ) -> anyhow::Result<()> {
        let filter = self
            .registry
            .traps()
            .join(&filter::enforcing(policy)?)
            .context("cannot join the policies with the profile")?;
        command.filter(filter);
        command.filter_flags(policy.install_flags() | InstallFlags::WAIT_KILLABLE_RECV);
        command.listen(true);
        Ok(())
    }

    /// Runs `job`, with the filter of [`filter`](Self::filter), to its end.
    pub(crate) fn run(self, job: &mut Job) -> anyhow::Result<Ended> {
        let (ended, ()) = session::serve(job, |listener, _program| {
            let listener = Listener::new(listener).context("cannot listen to the filter")?;
            Supervisor::start(listener, self.registry)
                .and_then(Supervisor::wait)
                .context("cannot supervise the program")?;
            Ok(())
        })?;
        Ok(ended)
    }
}

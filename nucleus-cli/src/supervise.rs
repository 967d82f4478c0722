//! A run whose policies need a supervisor: the filter traps what they must
//! judge, and this process answers.

use std::fmt;
use std::os::fd::OwnedFd;

use anyhow::{Context, ensure};
use nucleus_seccomp::InstallFlags;
use nucleus_supervisor::callback::Arbiter;
use nucleus_supervisor::{Enforced, Guard, Guards, Listener, Policy, Registry, Supervisor, Traps};

use crate::exit::Ended;
use crate::session::Job;
use crate::{filter, report, session};

/// What a supervisor enforces on a run: some of it as the listener of the
/// filter, some as the tracer of the program.
#[derive(Default)]
pub(crate) struct Rules {
    pub(crate) policies: Vec<Box<dyn Policy>>,
    pub(crate) guards: Vec<Box<dyn Guard>>,
    /// Whoever is asked about what the rules let pass.
    pub(crate) arbiter: Option<Arbiter>,
    /// The bytes that a guard counts, where it is not the kernel that does.
    pub(crate) memory: Option<u64>,
}

impl Rules {
    pub(crate) fn is_empty(&self) -> bool {
        self.policies.is_empty() && self.guards.is_empty()
    }
}

/// Rules, ready to be enforced on one run.
pub(crate) struct Supervision {
    /// The listener's handlers, if it has any.
    registry: Option<Registry>,
    guards: Vec<Box<dyn Guard>>,
    arbiter: Option<Arbiter>,
    enforced: Vec<Enforced>,
}

impl fmt::Debug for Supervision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervision")
            .field("registry", &self.registry)
            .field("enforced", &self.enforced)
            .finish_non_exhaustive()
    }
}

impl Supervision {
    /// Prepares what the rules need; `None` when there is none.
    pub(crate) fn new(rules: Rules) -> anyhow::Result<Option<Self>> {
        if rules.is_empty() {
            return Ok(None);
        }
        let Rules {
            policies,
            guards,
            arbiter,
            ..
        } = rules;
        let mut registry = (!policies.is_empty()).then(Registry::new);
        let mut enforced = Vec::new();
        for policy in policies {
            enforced.extend(policy.enforced());
            if let Some(registry) = &mut registry {
                policy.register(registry)?;
            }
        }
        enforced.extend(guards.iter().flat_map(|guard| guard.enforced()));
        Ok(Some(Self {
            registry,
            guards,
            arbiter,
            enforced,
        }))
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
        let cannot_join = "cannot join the policies with the profile";
        let mut filter = filter::enforcing(policy)?;
        let mut flags = policy.install_flags();
        let mut traced = Traps::for_tracer();
        for guard in &self.guards {
            guard.trap(&mut traced)?;
        }
        if let Some(registry) = &self.registry {
            let both = registry.traps().in_common(&traced);
            ensure!(
                both.is_none(),
                "{} would be left to the listener of the filter and to the tracer; \
                 leave out one of the rules that need it",
                both.map_or_else(String::new, |call| call.to_string())
            );
            filter = registry.traps().join(&filter).context(cannot_join)?;
            flags |= InstallFlags::WAIT_KILLABLE_RECV;
        }
        if !self.guards.is_empty() {
            filter = traced.join(&filter).context(cannot_join)?;
        }
        command.filter(filter);
        command.filter_flags(flags);
        command.listen(self.registry.is_some());
        Ok(())
    }

    /// Runs `job`, with the filter of [`filter`](Self::filter), to its end.
    pub(crate) fn run(mut self, job: &mut Job) -> anyhow::Result<Ended> {
        let Some(arbiter) = self.arbiter.take() else {
            return self.enforce(job);
        };
        arbiter.begin()?;
        let ended = self.enforce(job);
        arbiter.end();
        for sentence in arbiter.report() {
            report::note(sentence);
        }
        ended
    }

    fn enforce(self, job: &mut Job) -> anyhow::Result<Ended> {
        let answer = self.registry.map(|registry| {
            move |listener: OwnedFd, _program: u32| {
                let listener = Listener::new(listener).context("cannot listen to the filter")?;
                Supervisor::start(listener, registry)
                    .and_then(Supervisor::wait)
                    .context("cannot supervise the program")?;
                Ok(())
            }
        });
        if self.guards.is_empty() {
            return match answer {
                Some(answer) => Ok(session::serve(job, answer)?.0),
                None => session::run(job),
            };
        }
        session::guard(job, Guards::new(self.guards), answer)
    }
}

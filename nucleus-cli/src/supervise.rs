//! A run whose rules need a supervisor: the filter leaves to this process what
//! they must judge, to it as the listener of the filter or as the tracer.

use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use anyhow::{Context, ensure};
use nucleus_audit::PtraceMode;
use nucleus_seccomp::{InstallFlags, Program, SeccompData};
use nucleus_supervisor::callback::Arbiter;
use nucleus_supervisor::{
    Denied, Enforced, Guard, Guards, Listener, Policy, Registry, Reply, Request, Supervisor, Traps,
};

use crate::exit::Ended;
use crate::session::{self, Answer, Attendants, Job, Logging, Observe, Tracing, Verdict};
use crate::{filter, report};

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

/// Rules, ready to be enforced on one run; there may be none.
#[derive(Default)]
pub(crate) struct Supervision {
    /// The listener's handlers, if it has any.
    registry: Option<Registry>,
    guards: Guards,
    arbiter: Option<Arbiter>,
    enforced: Vec<Enforced>,
    /// What the guards leave to the tracer, if there are any: a plain run
    /// should not even look calls up by their names.
    traced: Option<Traps>,
}

impl fmt::Debug for Supervision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervision")
            .field("registry", &self.registry)
            .field("enforced", &self.enforced)
            .finish_non_exhaustive()
    }
}

/// A profile's filter, and how it is installed.
#[derive(Debug)]
pub(crate) struct Filter {
    pub(crate) program: Program,
    pub(crate) flags: InstallFlags,
}

/// Who watches a run beside the rules.
#[derive(Default)]
pub(crate) struct Watch<'a> {
    /// A tracer, which tells of calls.
    pub(crate) tracer: Option<Watcher<'a>>,
    /// What the filter leaves to the listener of a profile's denials.
    pub(crate) asks: Option<Asks>,
    /// The kernel's records.
    pub(crate) log: Option<Logging<'a>>,
    /// Hears of what the rules deny.
    pub(crate) denied: Option<Hears>,
}

/// A tracer that tells.
pub(crate) struct Watcher<'a> {
    pub(crate) mode: PtraceMode,
    pub(crate) observe: Observe<'a>,
    /// The run goes on where the program cannot be traced, with less said.
    pub(crate) is_optional: bool,
}

/// Hears of what rules deny, on the threads that deny it.
pub(crate) type Hears = Arc<dyn Fn(&Denied<'_>) + Send + Sync>;

/// The profile's own answer to calls that it denies.
pub(crate) struct Asks {
    /// Whether a call is one of them.
    pub(crate) concerns: Box<dyn Fn(&SeccompData) -> bool + Send + Sync>,
    pub(crate) answer: ProfileAnswer,
}

/// Answers a request; is told the program's process id.
pub(crate) type ProfileAnswer = Box<dyn Fn(&Request, u32) -> Reply + Send + Sync>;

impl Supervision {
    /// Prepares what the rules need.
    pub(crate) fn new(rules: Rules) -> anyhow::Result<Self> {
        let Rules {
            mut policies,
            guards,
            arbiter,
            ..
        } = rules;
        let mut guards = Guards::new(guards);
        // Where there can be none, the tracer judges all.
        if guards.may_leave() && (!policies.is_empty() || Listener::can_be_had()) {
            policies.extend(guards.leave_to_listener()?);
        }
        let mut registry = (!policies.is_empty()).then(Registry::new);
        let mut enforced = Vec::new();
        for policy in policies {
            enforced.extend(policy.enforced());
            if let Some(registry) = &mut registry {
                policy.register(registry)?;
            }
        }
        enforced.extend(guards.enforced());
        let traced = (!guards.is_empty()).then(|| guards.traps()).transpose()?;
        if let Some(call) = registry
            .as_ref()
            .zip(traced.as_ref())
            .and_then(|(it, traced)| it.traps().in_common(traced))
        {
            anyhow::bail!(
                "{call} would be left to the listener of the filter and to the tracer, and only \
                 one can have it; leave out one of the rules that need it (--verbose tells who \
                 enforces which)"
            );
        }
        Ok(Self {
            registry,
            guards,
            arbiter,
            enforced,
            traced,
        })
    }

    /// Whether nothing is left to this process.
    pub(crate) fn is_empty(&self) -> bool {
        self.registry.is_none() && self.guards.is_empty()
    }

    /// Whether the rules need the program's tracer.
    pub(crate) fn traces(&self) -> bool {
        !self.guards.is_empty()
    }

    /// The filter of a policy that the kernel enforces.
    pub(crate) fn enforcing(&self, policy: &nucleus_seccomp::Policy) -> anyhow::Result<Program> {
        if self.traces() {
            filter::enforcing_beside_tracer(policy)
        } else {
            filter::enforcing(policy)
        }
    }

    /// Each rule, and who enforces it.
    pub(crate) fn enforced(&self) -> &[Enforced] {
        &self.enforced
    }

    /// Puts the profile's filter and what must be trapped into one: what the
    /// profile does not let pass is not asked about.
    pub(crate) fn filter(
        &self,
        job: &mut Job,
        filter: Filter,
        mode: Option<PtraceMode>,
    ) -> anyhow::Result<()> {
        let cannot_join = "cannot join the rules with the profile";
        let Filter { mut program, flags } = filter;
        if let Some(registry) = &self.registry {
            program = registry.traps().join(&program).context(cannot_join)?;
        }
        // A recorder takes care of that itself.
        let is_told = matches!(mode, Some(PtraceMode::Deny | PtraceMode::Rehearse));
        if self.traces() || is_told {
            let mut traced = self.traced.clone().unwrap_or_else(Traps::for_tracer);
            traced.keep_traced()?;
            program = traced.join(&program).context(cannot_join)?;
        }
        job.command.filter(program);
        job.command.filter_flags(flags);
        Ok(())
    }

    /// Runs the job, with the profile's filter and what the rules need, to its
    /// end.
    pub(crate) fn run(
        mut self,
        job: &mut Job,
        mut filter: Filter,
        watch: Watch<'_>,
    ) -> anyhow::Result<(Ended, Verdict)> {
        let mode = watch.tracer.as_ref().map(|watcher| watcher.mode);
        ensure!(
            self.is_empty() || mode != Some(PtraceMode::Record),
            "a recorder that only the filter stops for would miss what rules answer"
        );
        if self.registry.is_some() || watch.asks.is_some() {
            filter.flags |= InstallFlags::WAIT_KILLABLE_RECV;
        }
        self.filter(job, filter, mode)?;
        let arbiter = self.arbiter.take();
        let trapped = self
            .registry
            .as_ref()
            .map(|registry| registry.traps().clone());
        let attendants = Attendants {
            log: watch.log,
            listener: listener(self.registry.take(), watch.asks, watch.denied.as_ref()),
            tracer: self.tracer(watch.tracer, watch.denied, trapped),
        };
        let Some(arbiter) = arbiter else {
            return session::attend(job, attendants);
        };
        arbiter.begin()?;
        let ended = session::attend(job, attendants);
        arbiter.end();
        for sentence in arbiter.report() {
            report::note(sentence);
        }
        ended
    }

    fn tracer<'a>(
        self,
        watcher: Option<Watcher<'a>>,
        denied: Option<Hears>,
        listened: Option<Traps>,
    ) -> Option<Tracing<'a>> {
        let must_trace = self.traces();
        let mut guards = self.guards;
        if let Some(denied) = denied {
            guards.on_denial(move |it| denied(it));
        }
        let watcher = match watcher {
            Some(watcher) => watcher,
            None if must_trace => Watcher {
                mode: PtraceMode::Judge,
                observe: Box::new(|_event, _program| {}),
                is_optional: false,
            },
            None => return None,
        };
        let traced = self.traced.unwrap_or_else(Traps::for_tracer);
        // Nobody would be asked about what goes on after its denial.
        let is_judged = move |call: &SeccompData| {
            let mut traps = listened.iter().chain([&traced]);
            traps.any(|traps| traps.decide(call) != nucleus_seccomp::Action::Allow)
        };
        Some(Tracing {
            mode: watcher.mode,
            guards,
            observe: watcher.observe,
            keep_denied: Some(Box::new(is_judged)),
            is_optional: watcher.is_optional && !must_trace,
        })
    }
}

/// Answers the calls that handlers judge, and before them those that the
/// profile denies.
fn listener<'a>(
    registry: Option<Registry>,
    asks: Option<Asks>,
    denied: Option<&Hears>,
) -> Option<Answer<'a>> {
    if registry.is_none() && asks.is_none() {
        return None;
    }
    let mut registry = registry.unwrap_or_default();
    if let Some(denied) = denied.map(Arc::clone) {
        registry.on_denial(move |it| denied(it));
    }
    Some(Box::new(move |listener: OwnedFd, program| {
        if let Some(Asks { concerns, answer }) = asks {
            registry.ahead(concerns, move |request| answer(request, program));
        }
        let listener = Listener::new(listener).context("cannot listen to the filter")?;
        Supervisor::start(listener, registry)
            .and_then(Supervisor::wait)
            .context("cannot supervise the program")?;
        Ok(())
    }))
}

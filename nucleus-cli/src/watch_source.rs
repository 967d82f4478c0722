//! What sees the calls of a watched run.

use nucleus_audit::LogKind;

use crate::report;
use crate::supervise::Supervision;

/// The sources by the names of `--source`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum WatchSource {
    /// The first of the others that works here; says which
    Auto,
    /// A tracer: exact, with arguments, without privilege; the program itself cannot trace
    #[default]
    Ptrace,
    /// Audit records, for programs that a tracer disturbs; needs CAP_AUDIT_READ
    Audit,
    /// The kernel's log: loses records under load, and says so
    Kmsg,
}

/// One way to see calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Means {
    Tracer,
    Log(LogKind),
}

impl WatchSource {
    /// The source for a run with these rules, which are enforced once: the first
    /// attempt must do.
    pub(crate) fn with_rules(self, supervision: &Supervision) -> Self {
        match self {
            Self::Auto if !supervision.is_empty() => Self::Ptrace,
            source => source,
        }
    }

    /// Makes `attempt` with this source. For `auto`: with one after the other,
    /// best first, until one can be had. An attempt that fails because it cannot
    /// be had must not have started the program yet.
    pub(crate) fn attempt<T>(
        self,
        mut attempt: impl FnMut(Means) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let best_first = match self {
            Self::Ptrace => return attempt(Means::Tracer),
            Self::Audit => return attempt(Means::Log(LogKind::Audit)),
            Self::Kmsg => return attempt(Means::Log(LogKind::Kmsg)),
            Self::Auto => [
                ("ptrace", Means::Tracer),
                ("audit", Means::Log(LogKind::Audit)),
            ],
        };
        for (name, means) in best_first {
            match attempt(means) {
                Err(error) if is_unavailable(&error) => {
                    report::note(format_args!("source {name} cannot be used: {error:#}"));
                }
                done => {
                    report::note(format_args!("source: {name}"));
                    return done;
                }
            }
        }
        report::note("source: kmsg, which may lose records");
        attempt(Means::Log(LogKind::Kmsg))
    }
}

fn is_unavailable(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<nucleus_audit::Error>()
        .is_some_and(nucleus_audit::Error::is_unavailable)
}

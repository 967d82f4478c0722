//! Policies: each a set of handlers that enforce one kind of rule.

mod net;
mod path;

use std::fmt;

pub(crate) use self::net::Judge;
pub use self::net::{NamedSockets, NetPolicy, NetRule, NetRules, Ports, Protocol, RuleError};
pub use self::path::{PathMark, PathPolicy, PathRuleError, PathRules};
use crate::{Registry, TrapError};

/// Rules of one kind, as handlers of a [`Registry`].
///
/// ```
/// use nucleus_seccomp::{Arch, Syscall};
/// use nucleus_supervisor::{
///     Enforced, Enforcer, Errno, Policy, PolicyError, Refusal, Registry, When,
/// };
///
/// struct NoNetwork;
///
/// impl Policy for NoNetwork {
///     fn enforced(&self) -> Vec<Enforced> {
///         vec![Enforced {
///             rule: "no sockets".to_owned(),
///             by: Enforcer::Filter,
///         }]
///     }
///
///     fn register(self: Box<Self>, registry: &mut Registry) -> Result<(), PolicyError> {
///         for arch in Arch::ALL {
///             if let Some(socket) = Syscall::by_name(arch, "socket") {
///                 registry.refuse(socket, Refusal::Of(When::Always, Errno::ACCESS))?;
///             }
///         }
///         Ok(())
///     }
/// }
///
/// let mut registry = Registry::new();
/// Box::new(NoNetwork).register(&mut registry)?;
/// # Ok::<(), PolicyError>(())
/// ```
pub trait Policy: Send {
    /// Each rule, and who enforces it.
    fn enforced(&self) -> Vec<Enforced>;

    /// Adds the handlers. What they need of threads and descriptors is made
    /// here, before the program starts.
    ///
    /// # Errors
    ///
    /// Something that the policy needs is not to be had.
    fn register(self: Box<Self>, registry: &mut Registry) -> Result<(), PolicyError>;
}

/// A rule as it is enforced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enforced {
    /// The rule, in words.
    pub rule: String,
    /// By whom.
    pub by: Enforcer,
}

/// Who enforces a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enforcer {
    /// The kernel, by a namespace, a mount or a limit.
    Kernel,
    /// The kernel, by the seccomp filter and from registers alone.
    Filter,
    /// The supervisor as the listener of the filter: it makes the call itself or
    /// denies it.
    Listener,
    /// The supervisor as the tracer of the program: the caller stands still
    /// while it decides.
    Tracer,
}

impl fmt::Display for Enforced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: enforced by the {}", self.rule, self.by)
    }
}

impl fmt::Display for Enforcer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kernel => "kernel",
            Self::Filter => "kernel, by the filter",
            Self::Listener => "supervisor, as the listener of the filter",
            Self::Tracer => "supervisor, as the tracer",
        })
    }
}

/// A policy that cannot be enforced.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// Its calls cannot be trapped.
    #[error("cannot trap the calls of a policy")]
    Trap(#[from] TrapError),
    /// There is no table of this machine's calls.
    #[error(
        "no system call table for this machine's architecture, so that no policy can be enforced"
    )]
    Architecture,
    /// The supervisor lacks something.
    #[error(transparent)]
    Supervisor(#[from] crate::Error),
}

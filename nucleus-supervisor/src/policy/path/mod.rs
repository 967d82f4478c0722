//! The path policy: which files a program may use, decided while it runs.
//!
//! Every call that takes a path is trapped and done in the program's place: its
//! path is copied once, walked name by name in folders that are held open, and
//! the call is then done on the object that this led to. Nothing is looked up
//! a second time.

mod attributes;
mod ids;
mod look;
mod names;
mod open;
mod proc;
mod rules;
mod scene;
mod sockets;
mod subject;
mod traps;
mod walk;
mod xattr;

use std::fmt;

use self::rules::Rule;
pub use self::rules::{PathMark, PathRuleError, PathRules};
use crate::callback::{Arbiter, Context, Power};
use crate::{Enforced, Enforcer, Policy, PolicyError, Registry};

/// Rules on paths, enforced as the listener of the filter.
///
/// For a program that sees its files by mounts of its own and may not change
/// them; other rules on its files (Landlock) do not hold for what is opened in
/// its place.
///
/// ```
/// use nucleus_supervisor::{PathPolicy, PathRules, Policy, Registry};
///
/// let rules = PathRules::new();
/// rules.deny("/home/me/.ssh")?;
/// let mut registry = Registry::new();
/// Box::new(PathPolicy::new(rules.clone())).register(&mut registry)?;
/// // ... and at any time while the program runs:
/// rules.deny("/home/me/.gnupg")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct PathPolicy {
    judge: Judge,
}

/// What the handlers judge by.
struct Judge {
    rules: PathRules,
    arbiter: Option<Arbiter>,
    tightened: Option<Context>,
    /// Calls that only look are trapped, too.
    hiding: bool,
    /// And those that lead unix sockets to paths.
    sockets: bool,
}

impl fmt::Debug for PathPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PathPolicy")
            .field("rules", &self.judge.rules)
            .field("hiding", &self.judge.hiding)
            .finish_non_exhaustive()
    }
}

impl PathPolicy {
    /// By these rules, which can be changed later.
    #[must_use]
    pub fn new(rules: PathRules) -> Self {
        Self {
            judge: Judge {
                rules,
                arbiter: None,
                tightened: None,
                hiding: false,
                sockets: true,
            },
        }
    }

    /// Asks about each use of a path that the rules allow. Calls that only look
    /// are among it where they are trapped: [`hiding`](Self::hiding).
    #[must_use]
    pub fn ask(mut self, arbiter: Arbiter) -> Self {
        self = self.tightened_by(arbiter.context());
        self.judge.arbiter = Some(arbiter);
        self
    }

    /// Denies what a callback has taken away, without asking it.
    #[must_use]
    pub fn tightened_by(mut self, context: &Context) -> Self {
        context.enforces(Power::Paths);
        self.judge.tightened = Some(context.clone());
        self
    }

    /// The rules, to change them or to judge by them elsewhere, as
    /// [`ExecPolicy::with_paths`](crate::ExecPolicy::with_paths) does.
    #[must_use]
    pub const fn rules(&self) -> &PathRules {
        &self.judge.rules
    }

    /// Leaves named sockets to a policy on the network that judges them by the
    /// same rules: [`NetPolicy::with_paths`](crate::NetPolicy::with_paths).
    /// Without it unix sockets are streams or sequences of packets alone.
    #[must_use]
    pub const fn beside_network_policy(mut self) -> Self {
        self.judge.sockets = false;
        self
    }

    /// Traps calls that only look as well, so that paths can be hidden later.
    /// It goes without saying where one is hidden from the start.
    #[must_use]
    pub const fn hiding(mut self) -> Self {
        self.judge.hiding = true;
        self
    }
}

impl Policy for PathPolicy {
    fn enforced(&self) -> Vec<Enforced> {
        let told = self.judge.rules.told();
        let rule = |rule: Rule| Enforced {
            rule: rule.to_string(),
            by: Enforcer::Listener,
        };
        let mut rules: Vec<_> = told.into_iter().map(rule).collect();
        rules.push(Enforced {
            rule: "no mounts, file handles and rings of requests".to_owned(),
            by: Enforcer::Filter,
        });
        rules
    }

    fn register(self: Box<Self>, registry: &mut Registry) -> Result<(), PolicyError> {
        let mut judge = self.judge;
        let hides = judge.hiding || judge.rules.hides();
        judge.hiding = judge.rules.fix_hiding(hides);
        traps::register(judge, registry)
    }
}

//! What a rule has denied, for people.

use std::fmt;
use std::sync::Arc;

use nucleus_seccomp::SeccompData;
use rustix::io::Errno;

/// Why a rule has denied something.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Denial {
    /// What was asked for: `connect to 192.0.2.1:443`.
    pub what: String,
    /// The rule that denies it, or that none allows it.
    pub why: String,
    /// What would allow it, as an option, where there is such a one:
    /// `--net-allow 192.0.2.1:443`.
    pub remedy: Option<String>,
}

/// A call that was denied, while its thread stands still.
#[derive(Debug)]
pub struct Denied<'a> {
    /// Who made it.
    pub thread: u32,
    /// The call; `None` where a process is killed for what it has become.
    pub call: Option<SeccompData>,
    /// What it fails with; `None` where the process is killed for it.
    pub errno: Option<Errno>,
    /// Why.
    pub denial: &'a Denial,
}

/// Hears of what is denied, on the thread that denies it.
#[derive(Clone)]
pub(crate) struct Hears(Arc<dyn Fn(&Denied<'_>) + Send + Sync>);

impl Hears {
    pub(crate) fn new(hears: impl Fn(&Denied<'_>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(hears))
    }

    pub(crate) fn of(&self, denied: &Denied<'_>) {
        (self.0)(denied);
    }
}

impl fmt::Debug for Hears {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hears")
    }
}

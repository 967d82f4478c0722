//! What a rule has denied, for people.

use std::fmt;
use std::sync::{Arc, OnceLock};

use nucleus_seccomp::SeccompData;
use rustix::io::Errno;

/// Why a rule has denied something.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Denial {
    /// What was asked for: `connect to 192.0.2.1:443`.
    pub what: String,
    /// The rule that denies it, or that none allows it.
    pub why: String,
    /// What would allow it: `add --net-allow 192.0.2.1:443`.
    pub remedy: Option<String>,
}

/// Something that was denied, while the thread that asked stands still.
#[derive(Debug)]
pub struct Denied<'a> {
    /// Who asked; `None` where that is not known, as with names to look up.
    pub thread: Option<u32>,
    /// The call; `None` where it was none, or a process is killed for what it
    /// has become.
    pub call: Option<SeccompData>,
    /// What a call fails with; `None` where the process is killed for it.
    pub errno: Option<Errno>,
    /// Why.
    pub denial: &'a Denial,
}

/// What somebody does who hears of denials, on the thread that denies.
type Hears = Box<dyn Fn(&Denied<'_>) + Send + Sync>;

/// Somebody who may come to hear of denials.
#[derive(Clone, Default)]
pub(crate) struct Ear(Arc<OnceLock<Hears>>);

impl Ear {
    /// The first one who does stays.
    pub(crate) fn lend(&self, hears: impl Fn(&Denied<'_>) + Send + Sync + 'static) {
        // A second one is one too many.
        let _first: Result<(), Hears> = self.0.set(Box::new(hears));
    }

    /// Whether somebody hears.
    pub(crate) fn hears(&self) -> bool {
        self.0.get().is_some()
    }

    /// Tells of a denial, which is put into words only where somebody hears.
    pub(crate) fn hear(
        &self,
        thread: Option<u32>,
        call: Option<SeccompData>,
        errno: Option<Errno>,
        denial: impl FnOnce() -> Denial,
    ) {
        if let Some(hears) = self.0.get() {
            hears(&Denied {
                thread,
                call,
                errno,
                denial: &denial(),
            });
        }
    }
}

impl fmt::Debug for Ear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ear").field(&self.hears()).finish()
    }
}

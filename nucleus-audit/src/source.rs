//! What every source of events can do.

use nucleus_seccomp::Completeness;

use crate::{Error, Event};

/// A stream of events that ends with a verdict on what it may have missed.
pub trait Source {
    /// The short name that traces and `--source` use: `ptrace`, `audit`, `kmsg`.
    fn name(&self) -> &'static str;

    /// Waits for the next event; `None` is the end.
    ///
    /// # Errors
    ///
    /// When the source itself fails. A source that merely lost events goes on
    /// and tells so in its [verdict](Self::completeness).
    fn next(&mut self) -> Result<Option<Event>, Error>;

    /// The verdict on everything up to now; final after the end.
    fn completeness(&self) -> Completeness;
}

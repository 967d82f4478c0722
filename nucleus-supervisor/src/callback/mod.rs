//! Somebody who is asked about what the rules have let pass.

mod event;

pub use self::event::{Category, Event, Verdict};

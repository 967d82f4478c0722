//! Somebody who is asked about what the rules have let pass: a function of the
//! library's user, or a program.
//!
//! The rules come first, and what they deny is denied. An [`Arbiter`] is asked
//! about the rest where it is given to a policy:
//! [`NetPolicy::ask`](crate::NetPolicy::ask),
//! [`ExecPolicy::ask`](crate::ExecPolicy::ask), [`Inquiry`]. A caller that waits
//! for its verdict stands still; all others go on.

mod arbiter;
mod change;
mod context;
mod desk;
mod event;
mod inquiry;
mod program;
mod protocol;
mod record;

pub use self::arbiter::Arbiter;
pub use self::context::{ChangeError, Context, Power, Whom};
pub use self::event::{Category, Event, Verdict};
pub use self::inquiry::Inquiry;
pub use self::protocol::PROTOCOL;

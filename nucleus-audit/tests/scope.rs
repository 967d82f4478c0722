//! Whose event it was, by made processes and a made clock.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod scope {
    mod births;
    mod made;
    mod targets;
}

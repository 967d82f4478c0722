//! Helpers of the end-to-end tests.

#![deny(unsafe_code)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what the helpers cannot do fails the test that asked for it"
)]

pub mod asked;
pub mod elf32;
pub mod elf64;
pub mod kernel;
pub mod net;
pub mod nucleus;
pub mod place;
pub mod require;
pub mod scratch;
pub mod strace;
mod sys;
pub mod terminal;
pub mod vm;

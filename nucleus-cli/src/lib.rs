//! The `nucleus` command: parse, resolve, compose, print.
//!
//! - `start`: what comes before all else
//! - `cli`: the command line, and the way from arguments to an exit code
//! - `commands`: one module a subcommand
//! - `exit`: what exit codes mean
//! - `report`: how errors and notes are worded on standard error

#![deny(unsafe_code)]

mod cli;
mod commands;
mod denials;
mod event_json;
mod exit;
mod explained;
mod filter;
mod opening;
mod policy_file;
mod profile_file;
mod recording;
mod report;
mod running;
mod session;
mod signals;
mod start;
mod supervise;
mod sys;
mod terminal;
mod told;
mod watch_source;
mod workspace;

pub use cli::{command, main};

//! One module a subcommand.

pub(crate) mod audit;
pub(crate) mod doctor;
pub(crate) mod explain;
mod filter_args;
pub(crate) mod learn;
pub(crate) mod limits;
mod program;
pub(crate) mod run;
mod sandbox_args;
pub(crate) mod seccomp;
pub(crate) mod trace;

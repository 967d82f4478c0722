//! One module a subcommand.

pub(crate) mod audit;
pub(crate) mod doctor;
pub(crate) mod explain;
mod filter_args;
pub(crate) mod learn;
pub(crate) mod policy;
mod program;
pub(crate) mod run;
pub(crate) mod sandbox;
pub(crate) mod seccomp;
pub(crate) mod trace;
pub(crate) mod workspace;

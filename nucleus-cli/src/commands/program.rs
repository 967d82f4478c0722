//! The program to run, as the last words of a command line.

use std::ffi::OsString;

/// `-- CMD ARG...`
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Program {
    /// Program to run, with its arguments
    #[arg(
        required = true,
        trailing_var_arg = true,
        value_name = "CMD",
        help_heading = "Arguments"
    )]
    pub(crate) command: Vec<OsString>,
}

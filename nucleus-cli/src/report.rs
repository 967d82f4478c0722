//! What nucleus says on standard error: `nucleus: ` and one line.

use std::fmt::Display;
use std::io::Write;

/// Prints a note. A standard error that is closed must not end the program
/// that runs, so a failed write is let go.
pub(crate) fn note(message: impl Display) {
    drop(writeln!(std::io::stderr(), "nucleus: {message}"));
}

/// Prints an error with its causes on one line, outermost first.
pub(crate) fn error(error: &anyhow::Error) {
    note(format_args!("{error:#}"));
}

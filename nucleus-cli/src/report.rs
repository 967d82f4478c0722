//! What nucleus says on standard error: `nucleus: ` and one line.

use std::fmt::Display;
use std::io::Write;

use nucleus_seccomp::Completeness;

use crate::terminal;

/// Prints a note. A standard error that is closed must not end the program
/// that runs, so a failed write is let go.
pub(crate) fn note(message: impl Display) {
    let end = if terminal::is_raw() { "\r\n" } else { "\n" };
    // In one piece: several runs may share it.
    let line = format!("nucleus: {message}{end}");
    drop(std::io::stderr().write_all(line.as_bytes()));
}

/// Prints an error with its causes on one line, outermost first.
pub(crate) fn error(error: &anyhow::Error) {
    note(format_args!("{error:#}"));
}

/// Says that `what` misses something, if it does.
pub(crate) fn incomplete(what: &str, completeness: &Completeness) {
    if !completeness.is_complete() {
        note(format_args!("{what} is {}", verdict(completeness)));
    }
}

/// `complete`, or `incomplete` with what was lost and why.
pub(crate) fn verdict(completeness: &Completeness) -> String {
    match completeness {
        Completeness::Complete => "complete".to_owned(),
        Completeness::Incomplete { lost, why } => {
            let lost = match lost {
                Some(lost) => format!("{lost} lost"),
                None => "an unknown number lost".to_owned(),
            };
            format!("incomplete, {lost}: {}", why.join("; "))
        }
    }
}

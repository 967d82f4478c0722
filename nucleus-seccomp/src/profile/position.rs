//! Where in a JSON text something is.

use std::fmt;

/// A place in a text, counted from 1; columns are bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The byte within the line.
    pub column: usize,
}

impl Position {
    /// Where the string `literal` first stands in `json`, as a string of its
    /// own, or `None`. Meant for names of calls, which have no escapes.
    #[must_use]
    pub fn of_string(json: &[u8], literal: &str) -> Option<Self> {
        let quoted = format!("\"{literal}\"");
        let at = json
            .windows(quoted.len())
            .position(|window| window == quoted.as_bytes())?;
        Some(Self::of_byte(json, at))
    }

    /// The place of a byte, by its index.
    pub(super) fn of_byte(text: &[u8], at: usize) -> Self {
        let before = text.get(..at).unwrap_or(text);
        let line = before.iter().filter(|&&b| b == b'\n').count() + 1;
        let start = before
            .iter()
            .rposition(|&b| b == b'\n')
            .map_or(0, |n| n + 1);
        Self {
            line,
            column: before.len() - start + 1,
        }
    }

    /// The place of what is `within` a part of the text that begins here.
    pub(super) fn then(self, within: Self) -> Self {
        if within.line <= 1 {
            Self {
                line: self.line,
                column: (self.column + within.column).saturating_sub(1),
            }
        } else {
            Self {
                line: self.line + within.line - 1,
                column: within.column,
            }
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_whole_strings() {
        let json = b"{\n  \"names\": [\"openat2\",\n \"openat\"]}";
        let found = Position::of_string(json, "openat");
        assert_eq!(found, Some(Position { line: 3, column: 2 }));
        assert_eq!(Position::of_string(json, "open"), None);
        assert_eq!(Position::of_string(b"", "open"), None);
    }
}

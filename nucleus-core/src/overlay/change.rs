//! What differs between the layers.

use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A file or folder that the program has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Relative to the folder that is written to.
    pub(crate) path: PathBuf,
    pub(crate) kind: Kind,
    pub(crate) is_folder: bool,
    pub(crate) withheld: Option<Withheld>,
}

/// How something was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It was not there before.
    Added,
    /// Its content, type, mode, time or attributes are other ones.
    Modified,
    /// It is gone, with everything below it.
    Deleted,
}

/// What a commit does not carry over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Withheld {
    /// The whole entry: a device, a FIFO or a socket.
    #[error("neither file, folder nor link: not committed")]
    Special,
    /// The set-user-ID and set-group-ID bits of a file.
    #[error("without its set-user-ID and set-group-ID bits")]
    SetId,
    /// A name that only commits may use: the whole entry.
    #[error("a name that commits use themselves: not committed")]
    Reserved,
    /// Capabilities of a file that the host's has not, or that only root gives.
    #[error("without its capabilities")]
    Capabilities,
    /// An access control list that names ids of the sandbox; the mode's bits
    /// for the group, which it has bounded, go with it.
    #[error("without its access control list")]
    Acl,
}

impl Change {
    /// Where, relative to the folder that is written to.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was done to it.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// What of it a commit leaves out.
    #[must_use]
    pub const fn withheld(&self) -> Option<Withheld> {
        self.withheld
    }
}

impl fmt::Display for Change {
    /// `A path`, `M path` or `D path`; folders end with a slash. A path that
    /// could confuse a terminal is quoted.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::Added => "A ",
            Kind::Modified => "M ",
            Kind::Deleted => "D ",
        })?;
        let plain = std::str::from_utf8(self.path.as_os_str().as_bytes())
            .ok()
            .filter(|path| path.chars().all(|c| !c.is_control() && c != '"'));
        match plain {
            Some("") => f.write_str(".")?,
            Some(path) => f.write_str(path)?,
            None => write!(f, "{:?}", self.path)?,
        }
        f.write_str(if self.is_folder { "/" } else { "" })?;
        match self.withheld {
            Some(withheld) => write!(f, " ({withheld})"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_write_to_the_terminal() {
        let check = |path: &str, expected: &str| {
            let change = Change {
                path: path.into(),
                kind: Kind::Added,
                is_folder: false,
                withheld: None,
            };
            assert_eq!(change.to_string(), expected);
        };
        check("a b/ü", "A a b/ü");
        check("a\u{1b}[2J\nD b", r#"A "a\u{1b}[2J\nD b""#);
        check("", "A .");
        check("a\"", r#"A "a\"""#);
    }
}

//! What is left to do of a commit, as bytes on the disk: whoever finds them
//! can finish it.
//!
//! Each action can be done again after it was done: it can be seen from the
//! stage whether it was.

use std::ffi::CString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use super::attributes::Attributes;

/// What a commit does once everything new is on the stage.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Journal {
    pub(super) actions: Vec<Action>,
    /// Innermost first.
    pub(super) folders: Vec<FolderEnd>,
}

/// One change of a name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Action {
    /// The number on the stage of what is new, or of where the old one goes.
    pub(super) number: u64,
    /// Relative to the folder that is written to.
    pub(super) path: PathBuf,
    pub(super) deed: Deed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    /// Take it away.
    Delete,
    /// Put the new one in its place, where a file or link or nothing is.
    Put,
    /// Exchange the two, which are of different kinds; the new one is a folder
    /// or not.
    Exchange { is_folder: bool },
}

/// What a folder gets when nothing in it changes any more.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FolderEnd {
    pub(super) path: PathBuf,
    /// Its new permission bits.
    pub(super) mode: Option<u32>,
    /// Its own attributes, in place of those that it has.
    pub(super) attributes: Option<Attributes>,
    /// Seconds and nanoseconds of its times of access and modification.
    pub(super) times: [(i64, i64); 2],
}

/// What is not a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a journal of a commit that this nucleus can read")]
pub(super) struct Malformed;

/// The first bytes, with a number for the form.
const MAGIC: &[u8] = b"nucleus commit 1\n";

impl Journal {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer(MAGIC.to_vec());
        out.length(self.actions.len());
        for action in &self.actions {
            out.number(match action.deed {
                Deed::Delete => 0,
                Deed::Put => 1,
                Deed::Exchange { is_folder: false } => 2,
                Deed::Exchange { is_folder: true } => 3,
            });
            out.number(action.number);
            out.bytes(action.path.as_os_str().as_bytes());
        }
        out.length(self.folders.len());
        for folder in &self.folders {
            out.bytes(folder.path.as_os_str().as_bytes());
            out.length(usize::from(folder.mode.is_some()));
            out.number(folder.mode.unwrap_or_default().into());
            let attributes = folder.attributes.as_deref();
            out.length(usize::from(attributes.is_some()));
            out.length(attributes.unwrap_or_default().len());
            for (name, value) in attributes.unwrap_or_default() {
                out.bytes(name.to_bytes());
                out.bytes(value);
            }
            for (seconds, nanoseconds) in folder.times {
                out.number(seconds.cast_unsigned());
                out.number(nanoseconds.cast_unsigned());
            }
        }
        out.0
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut input = Reader(bytes.strip_prefix(MAGIC).ok_or(Malformed)?);
        let mut journal = Self::default();
        for _ in 0..input.number()? {
            let deed = match input.number()? {
                0 => Deed::Delete,
                1 => Deed::Put,
                2 => Deed::Exchange { is_folder: false },
                3 => Deed::Exchange { is_folder: true },
                _ => return Err(Malformed),
            };
            journal.actions.push(Action {
                deed,
                number: input.number()?,
                path: input.path()?,
            });
        }
        for _ in 0..input.number()? {
            let path = input.path()?;
            let (has_mode, mode) = (input.flag()?, input.number()?);
            let mode = u32::try_from(mode).map_err(|_too_large| Malformed)?;
            let (has_attributes, count) = (input.flag()?, input.number()?);
            let mut attributes = Vec::new();
            for _ in 0..count {
                let name = CString::new(input.bytes()?).map_err(|_has_nul| Malformed)?;
                attributes.push((name, input.bytes()?.to_vec()));
            }
            let mut time = || Ok((input.signed()?, input.signed()?));
            journal.folders.push(FolderEnd {
                path,
                mode: has_mode.then_some(mode),
                attributes: has_attributes.then_some(attributes),
                times: [time()?, time()?],
            });
        }
        match input.0 {
            [] => Ok(journal),
            _ => Err(Malformed),
        }
    }
}

/// Numbers of eight bytes, little-endian, and bytes behind their count.
struct Writer(Vec<u8>);

impl Writer {
    fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn length(&mut self, length: usize) {
        // No platform has larger ones.
        self.number(u64::try_from(length).unwrap_or(u64::MAX));
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.0.extend_from_slice(bytes);
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn number(&mut self) -> Result<u64, Malformed> {
        let (number, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(u64::from_le_bytes(*number))
    }

    fn signed(&mut self) -> Result<i64, Malformed> {
        Ok(self.number()?.cast_signed())
    }

    fn flag(&mut self) -> Result<bool, Malformed> {
        match self.number()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed),
        }
    }

    fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(self.number()?).map_err(|_too_large| Malformed)?;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn path(&mut self) -> Result<PathBuf, Malformed> {
        let bytes = self.bytes()?.to_vec();
        Ok(std::ffi::OsString::from_vec(bytes).into())
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    fn journal() -> Journal {
        let name = PathBuf::from(OsStr::from_bytes(b"a\xff\n/b"));
        let action = |number, deed| Action {
            number,
            path: name.clone(),
            deed,
        };
        Journal {
            actions: vec![
                action(0, Deed::Delete),
                action(2, Deed::Put),
                action(3, Deed::Exchange { is_folder: false }),
                action(u64::MAX, Deed::Exchange { is_folder: true }),
            ],
            folders: vec![
                FolderEnd {
                    path: name.clone(),
                    mode: Some(0o1755),
                    attributes: Some(vec![(c"user.a".to_owned(), b"\0b".to_vec())]),
                    times: [(-1, 2), (3, 999_999_999)],
                },
                FolderEnd {
                    path: PathBuf::new(),
                    mode: None,
                    attributes: None,
                    times: [(0, 0); 2],
                },
            ],
        }
    }

    #[test]
    fn a_journal_is_read_as_it_was_written() {
        let bytes = journal().to_bytes();
        assert_eq!(Journal::from_bytes(&bytes), Ok(journal()));
    }

    #[test]
    fn what_is_cut_off_or_longer_is_none() {
        let mut bytes = journal().to_bytes();
        for length in 0..bytes.len() {
            assert_eq!(Journal::from_bytes(&bytes[..length]), Err(Malformed));
        }
        bytes.push(0);
        assert_eq!(Journal::from_bytes(&bytes), Err(Malformed));
    }
}

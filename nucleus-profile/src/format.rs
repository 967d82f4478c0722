//! The words of a trace file, for the reader and the writer.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use serde::{Deserialize, Serialize};

/// The version that the verdict of a written trace names.
pub(crate) const FORMAT: u64 = 1;

/// Longer lines are refused; the writer keeps below it by far.
pub(crate) const MOST_LINE_BYTES: usize = 1 << 20;

/// So much of a command is kept; its longest escape is six times as long.
pub(crate) const MOST_COMMAND_BYTES: usize = 64 << 10;

/// What any line of a trace may hold: a call or the verdict.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Line {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) syscall: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) verdict: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lost: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) why: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) calls: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kernel: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) arch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) args: Option<Args>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) command: Option<Vec<Word>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) format: Option<u64>,
}

/// Combinations of arguments: `{"index":[0,1],"values":[[1,2],[16,3]]}`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Args {
    pub(crate) index: Vec<u8>,
    pub(crate) values: Vec<Vec<u64>>,
    /// There were more than are kept.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) more: bool,
}

/// One word of a command: text where it is text, the bytes otherwise.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Word {
    Text(String),
    Bytes(Vec<u8>),
}

impl From<&OsStr> for Word {
    fn from(word: &OsStr) -> Self {
        word.to_str().map_or_else(
            || Self::Bytes(word.as_bytes().to_vec()),
            |text| Self::Text(text.to_owned()),
        )
    }
}

impl From<Word> for OsString {
    fn from(word: Word) -> Self {
        match word {
            Word::Text(text) => text.into(),
            Word::Bytes(bytes) => Self::from_vec(bytes),
        }
    }
}

//! What has no effect in a profile and may be a mistake.

use std::collections::BTreeSet;

use super::{CallName, Position, Profile, Target};
use crate::{suggest, table};

/// Something that has no effect on a target and may be a mistake.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[non_exhaustive]
pub enum Note {
    /// No architecture of Linux has such a call.
    #[error("unknown system call {name:?}{}", match .nearest {
        Some(nearest) => format!("; did you mean {nearest:?}?"),
        None => String::new(),
    })]
    UnknownCall {
        /// As the profile has it.
        name: String,
        /// A known name that is near.
        nearest: Option<&'static str>,
    },
    /// The kernel has no such capability, so the condition never holds.
    #[error("unknown capability {name:?}; capabilities(7) lists them")]
    UnknownCapability {
        /// As the profile has it.
        name: String,
    },
    /// The profile names an architecture without a table; its calls are
    /// treated as those of any foreign one.
    #[error("no system call table for {name}: its calls will be killed")]
    NoTable {
        /// The OCI name.
        name: &'static str,
    },
}

impl Note {
    /// Where the text that the profile was read from has it.
    #[must_use]
    pub fn position(&self, json: &[u8]) -> Option<Position> {
        let literal = match self {
            Self::UnknownCall { name, .. } | Self::UnknownCapability { name } => name,
            Self::NoTable { name } => *name,
        };
        Position::of_string(json, literal)
    }
}

impl Profile {
    /// What has no effect on a target and may be a mistake, sorted. Rules that
    /// are not in force there are looked at all the same.
    #[must_use]
    pub fn notes(&self, target: &Target) -> Vec<Note> {
        let mut notes = BTreeSet::new();
        for oci in self.other_architectures(target) {
            if oci.arch().is_none() {
                notes.insert(Note::NoTable { name: oci.name() });
            }
        }
        for rule in &self.rules {
            for call in &rule.calls {
                if let CallName::Name(name) = call
                    && !table::is_known(name)
                {
                    notes.insert(Note::UnknownCall {
                        name: name.clone(),
                        nearest: suggest::nearest(name, table::all_names()),
                    });
                }
            }
            for name in rule.includes.caps.iter().chain(&rule.excludes.caps) {
                if name.parse::<caps::Capability>().is_err() {
                    notes.insert(Note::UnknownCapability { name: name.clone() });
                }
            }
        }
        notes.into_iter().collect()
    }
}

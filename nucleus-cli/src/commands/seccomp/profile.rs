//! Profiles that users name.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use nucleus_seccomp::{Note, Policy, Profile};

use super::input;
use super::target::TargetArgs;
use crate::report;

/// A profile with the text that it was read from.
#[derive(Debug)]
pub(crate) struct Loaded {
    path: PathBuf,
    json: Vec<u8>,
    pub(crate) profile: Profile,
}

impl Loaded {
    /// Reads a profile: a file, `-` for standard input, or one of those that
    /// come with nucleus: `@default` and `@nested`.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        match builtin(path) {
            Some(profile) => Ok(Self {
                path: path.to_owned(),
                json: Vec::new(),
                profile: profile(),
            }),
            None => Self::parse(path, input::read(path)?),
        }
    }

    /// Whether a name is that of a profile that comes with nucleus.
    pub(crate) fn is_builtin(path: &Path) -> bool {
        builtin(path).is_some()
    }

    /// The profile that a file holds.
    pub(crate) fn parse(path: &Path, json: Vec<u8>) -> anyhow::Result<Self> {
        let profile = Profile::from_json(&json).with_context(|| path.display().to_string())?;
        Ok(Self {
            path: path.to_owned(),
            json,
            profile,
        })
    }

    /// What the profile means for a target. What means nothing is said on
    /// standard error, or is an error with `--strict`.
    pub(crate) fn policy(&self, args: &TargetArgs) -> anyhow::Result<Policy> {
        let target = args.resolve()?;
        let notes = self.profile.notes(&target);
        if args.is_strict() {
            // An architecture without a table is a limit of nucleus, no mistake.
            let mistakes: Vec<String> = notes
                .iter()
                .filter(|note| !matches!(note, Note::NoTable { .. }))
                .map(|note| self.describe(note))
                .collect();
            if !mistakes.is_empty() {
                bail!("{} (--strict)", mistakes.join("; "));
            }
        }
        for note in &notes {
            report::note(format_args!("note: {}", self.describe(note)));
        }
        self.profile
            .resolve(&target)
            .with_context(|| self.path.display().to_string())
    }

    fn describe(&self, note: &Note) -> String {
        let path = self.path.display();
        match note.position(&self.json) {
            Some(position) => format!("{path}: {position}: {note}"),
            None => format!("{path}: {note}"),
        }
    }
}

fn builtin(path: &Path) -> Option<fn() -> Profile> {
    match path.to_str()? {
        "@default" => Some(Profile::sandbox_default),
        "@nested" => Some(Profile::sandbox_nested),
        _ => None,
    }
}

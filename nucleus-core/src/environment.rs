//! The program's environment.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;

/// Changes to the environment that the program would get by itself.
#[derive(Debug, Default)]
pub(crate) struct Environment {
    cleared: bool,
    /// `None` removes a variable.
    changes: BTreeMap<OsString, Option<OsString>>,
}

/// What a sandbox takes from the caller's environment: the language, the
/// terminal, the time zone and where programs are.
const KEPT: &[&str] = &[
    "COLORTERM",
    "COLUMNS",
    "LANG",
    "LANGUAGE",
    "LINES",
    "LOGNAME",
    "NO_COLOR",
    "PATH",
    "TERM",
    "TZ",
    "USER",
];

impl Environment {
    pub(crate) fn set(&mut self, name: &OsStr, value: &OsStr) {
        self.changes.insert(name.to_owned(), Some(value.to_owned()));
    }

    pub(crate) fn remove(&mut self, name: &OsStr) {
        self.changes.insert(name.to_owned(), None);
    }

    pub(crate) fn clear(&mut self) {
        self.cleared = true;
        self.changes.clear();
    }

    /// The variables, sorted by name, given those to start from.
    pub(crate) fn resolve(
        &self,
        base: impl Iterator<Item = (OsString, OsString)>,
    ) -> BTreeMap<OsString, OsString> {
        let mut variables = BTreeMap::new();
        if !self.cleared {
            variables.extend(base);
        }
        for (name, value) in &self.changes {
            match value {
                Some(value) => variables.insert(name.clone(), value.clone()),
                None => variables.remove(name),
            };
        }
        variables
    }
}

/// Where images have their programs.
const IMAGE_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The environment of a sandbox with this home folder, out of the caller's;
/// whose PATH means nothing in an image.
pub(crate) fn sandboxed(
    caller: impl Iterator<Item = (OsString, OsString)>,
    home: &Path,
    image: bool,
) -> impl Iterator<Item = (OsString, OsString)> {
    let kept = |name: &OsStr| {
        KEPT.iter().any(|kept| name == *kept) || name.as_encoded_bytes().starts_with(b"LC_")
    };
    caller
        .filter(move |(name, _value)| kept(name))
        .chain([("HOME".into(), home.into())])
        .chain(image.then(|| ("PATH".into(), IMAGE_PATH.into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> BTreeMap<OsString, OsString> {
        pairs
            .iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect()
    }

    #[test]
    fn a_sandbox_keeps_only_what_is_harmless() {
        let caller = variables(&[
            ("AWS_SECRET_ACCESS_KEY", "x"),
            ("HOME", "/home/me"),
            ("LC_ALL", "C"),
            ("LD_PRELOAD", "/x.so"),
            ("PATH", "/bin"),
            ("SSH_AUTH_SOCK", "/run/x"),
        ]);
        let inside: BTreeMap<_, _> =
            sandboxed(caller.into_iter(), Path::new("/h"), false).collect();
        let expected = variables(&[("HOME", "/h"), ("LC_ALL", "C"), ("PATH", "/bin")]);
        assert_eq!(inside, expected);
    }

    #[test]
    fn changes_apply_in_any_order() {
        let mut environment = Environment::default();
        environment.set(OsStr::new("A"), OsStr::new("1"));
        environment.remove(OsStr::new("B"));
        let base = variables(&[("B", "2"), ("C", "3")]);
        let resolved = environment.resolve(base.clone().into_iter());
        assert_eq!(resolved, variables(&[("A", "1"), ("C", "3")]));
        environment.clear();
        assert_eq!(environment.resolve(base.into_iter()), variables(&[]));
    }
}

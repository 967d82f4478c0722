//! Capabilities by name, and files that list them.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use toml::Spanned;

use crate::error::{PolicyError, UnknownCapability};

/// A capability (capabilities(7)), which a program can have in its user
/// namespace.
///
/// It is written as the kernel does, in any case, with or without `CAP_`:
///
/// ```
/// use nucleus_core::Capability;
///
/// let capability: Capability = "net_bind_service".parse()?;
/// assert_eq!(capability.to_string(), "CAP_NET_BIND_SERVICE");
/// # Ok::<(), nucleus_core::UnknownCapability>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Capability(caps::Capability);

/// A set as the kernel has it, bit N for capability N.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Capabilities(u64);

impl Capability {
    /// Reads a file of capabilities:
    ///
    /// ```
    /// let text = r#"add = ["net_bind_service", "CAP_CHOWN"]"#;
    /// let capabilities = nucleus_core::Capability::from_policy(text)?;
    /// assert_eq!(capabilities.len(), 2);
    /// # Ok::<(), nucleus_core::PolicyError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// What is wrong in which line and column; a key that is not known, too.
    pub fn from_policy(toml: &str) -> Result<Vec<Self>, PolicyError> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Policy {
            add: Vec<Spanned<String>>,
        }
        let policy: Policy =
            toml::from_str(toml).map_err(|error| PolicyError::new(toml, &error))?;
        let parse = |name: &Spanned<String>| {
            let wrong = |error: UnknownCapability| {
                PolicyError::at(toml, name.span().start, error.to_string())
            };
            name.get_ref().parse().map_err(wrong)
        };
        policy.add.iter().map(parse).collect()
    }
}

impl FromStr for Capability {
    type Err = UnknownCapability;

    fn from_str(name: &str) -> Result<Self, UnknownCapability> {
        let upper = name.to_ascii_uppercase();
        let short = upper.strip_prefix("CAP_").unwrap_or(&upper);
        if let Ok(capability) = format!("CAP_{short}").parse() {
            return Ok(Self(capability));
        }
        // A third of the letters may differ; more is another word.
        let limit = short.len() / 3 + 1;
        let near = caps::all()
            .into_iter()
            .map(|capability| {
                let known = capability.to_string();
                let known = known.trim_start_matches("CAP_");
                let distance = strsim::damerau_levenshtein(short, known);
                (distance, known.to_ascii_lowercase())
            })
            .filter(|(distance, _known)| *distance <= limit)
            .min();
        Err(UnknownCapability {
            name: name.to_owned(),
            near: near.map(|(_distance, known)| known),
        })
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Capabilities {
    pub(crate) const NONE: Self = Self(0);

    pub(crate) fn insert(&mut self, capability: Capability) {
        self.0 |= capability.0.bitmask();
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) const fn bits(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut all: Vec<_> = caps::all().into_iter().collect();
        all.sort_by_key(caps::Capability::index);
        let mut before = "";
        for capability in all {
            if self.0 & capability.bitmask() != 0 {
                write!(f, "{before}{capability}")?;
                before = ", ";
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_kernel_s_and_near_ones_are_suggested() {
        let check = |name: &str, expected: &str| {
            let found = name.parse::<Capability>();
            let found = found.map_or_else(|error| error.to_string(), |known| known.to_string());
            assert!(found.contains(expected), "{name}: {found}");
        };
        check("CAP_SYS_ADMIN", "CAP_SYS_ADMIN");
        check("sys_admin", "CAP_SYS_ADMIN");
        check("cap_net_raw", "CAP_NET_RAW");
        check("sys_admni", "did you mean \"sys_admin\"");
        check("cap_net_row", "did you mean \"net_raw\"");
        check("everything", "capabilities(7)");
        check("", "capabilities(7)");
    }

    #[test]
    fn policies_are_read_strictly_and_mistakes_have_a_place() {
        let check = |text: &str, expected: &str| {
            let error = Capability::from_policy(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        };
        assert_eq!(Capability::from_policy("add = []").unwrap(), []);
        check("add = [\"chown\",\n  \"chwon\"]", "line 2, column 3");
        check("add = [\"chown\",\n  \"chwon\"]", "did you mean \"chown\"");
        check("add = []\ndrop = []", "line 2, column 1");
        check("add = \"chown\"", "line 1, column 7");
        check("add = [", "line 1, column");
        check("", "add");
    }
}

//! A Landlock ruleset that the user writes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::rights::Rights;
use crate::cpath::CPath;
use crate::error::{LaunchError, PolicyError};
use crate::plan::{Port, Ruleset, Step};

/// What a program may do beyond all other walls: a ruleset of its own, which
/// can only take away.
///
/// ```
/// use nucleus_core::LandlockPolicy;
///
/// let policy = LandlockPolicy::from_toml(r#"
///     scopes = ["signal", "abstract_unix_socket"]
///
///     [[path]]
///     beneath = ["/usr", "/lib", "/lib64"]
///     allow = ["read", "execute"]
///
///     [[path]]
///     beneath = ["/tmp"]
///     allow = ["read", "write"]
///
///     [tcp]
///     connect = [443]
/// "#)?;
/// println!("{}", policy.enforcement(nucleus_core::landlock_abi()));
/// # Ok::<(), nucleus_core::PolicyError>(())
/// ```
///
/// Each part restricts its own kind of thing, if it is there: with a `[[path]]`
/// a file can be used only beneath one, and only as that allows; with `connect`
/// or `bind` in `[tcp]` only those ports; with a scope nothing of that kind
/// outside of the sandbox. Paths are the sandbox's. Rights are `read`, `write`
/// and `execute`, none of which implies another, and the kernel's own names
/// such as `read_dir` and `make_sock`. With `best_effort = true` a kernel that
/// cannot restrict one of these does without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LandlockPolicy {
    paths: BTreeMap<PathBuf, Rights>,
    bind: Option<BTreeSet<u16>>,
    connect: Option<BTreeSet<u16>>,
    scopes: u64,
    best_effort: bool,
}

/// What of a policy a kernel can enforce.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Enforcement {
    /// All of it.
    #[error("in full")]
    Full,
    /// Not all of it, because of this.
    #[error("in part: {0}")]
    Partial(String),
    /// Nothing, because of this.
    #[error("not at all: {0}")]
    Off(String),
}

/// The kinds of things that a ruleset restricts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kinds {
    pub(super) files: bool,
    pub(super) ports: bool,
    pub(super) scopes: bool,
}

impl Enforcement {
    /// What a kernel with this ABI can restrict of them, 0 for none.
    pub(super) fn of(abi: u32, kinds: Kinds) -> Self {
        let mut lacks = Vec::new();
        if abi == 0 {
            return Self::Off("this kernel has no Landlock".to_owned());
        }
        if kinds.files {
            lacks.extend(Rights::beyond(abi).map(|name| format!("the right {name}")));
        }
        if kinds.ports && abi < PORTS_SINCE {
            lacks.push(format!("TCP ports (ABI {PORTS_SINCE})"));
        }
        if kinds.scopes && abi < SCOPES_SINCE {
            lacks.push(format!(
                "signals and abstract sockets, its scopes (ABI {SCOPES_SINCE})"
            ));
        }
        if lacks.is_empty() {
            return Self::Full;
        }
        let lacks = lacks.join(", ");
        Self::Partial(format!(
            "this kernel's Landlock, ABI {abi}, cannot restrict {lacks}"
        ))
    }
}

/// The file. What stands in a list is looked at by [`each`], which knows its
/// place; for serde a list is one thing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    best_effort: bool,
    #[serde(default)]
    scopes: Vec<Spanned<String>>,
    #[serde(default)]
    path: Vec<Beneath>,
    #[serde(default)]
    tcp: Tcp,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Beneath {
    beneath: Vec<Spanned<String>>,
    allow: Vec<Spanned<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Tcp {
    bind: Option<Vec<Spanned<i64>>>,
    connect: Option<Vec<Spanned<i64>>>,
}

/// Looks at each entry of a list.
fn each<'a, T, U>(
    text: &str,
    list: &'a [Spanned<T>],
    look: impl Fn(&'a T) -> Result<U, String>,
) -> Result<Vec<U>, PolicyError> {
    let entries = list.iter().map(|entry| {
        let wrong = |message| PolicyError::at(text, entry.span().start, message);
        look(entry.get_ref()).map_err(wrong)
    });
    entries.collect()
}

fn absolute(path: &String) -> Result<PathBuf, String> {
    let path = PathBuf::from(path);
    let plain = |part| matches!(part, Component::RootDir | Component::Normal(_));
    if path.is_absolute() && path.components().all(plain) {
        return Ok(path);
    }
    Err(format!("{path:?} is no absolute path without .. parts"))
}

fn right(name: &String) -> Result<Rights, String> {
    Rights::named(name).ok_or_else(|| {
        let names: Vec<_> = Rights::names().collect();
        format!(
            "no right is called {name:?}; there are {}",
            names.join(", ")
        )
    })
}

/// `LANDLOCK_SCOPE_*`, since ABI 6.
fn scope(name: &String) -> Result<u64, String> {
    match name.as_str() {
        "abstract_unix_socket" => Ok(1),
        "signal" => Ok(2),
        _ => Err(format!(
            "no scope is called {name:?}; there are abstract_unix_socket, signal"
        )),
    }
}

fn port(number: &i64) -> Result<u16, String> {
    u16::try_from(*number).map_err(|_too_large| format!("{number} is no port; the last is 65535"))
}

/// `LANDLOCK_ACCESS_NET_BIND_TCP` and `_CONNECT_TCP`, since ABI 4.
const BIND: u64 = 1;
const CONNECT: u64 = 2;
/// Since which ABI ports and scopes can be restricted.
const PORTS_SINCE: u32 = 4;
const SCOPES_SINCE: u32 = 6;

impl LandlockPolicy {
    /// Reads a policy.
    ///
    /// # Errors
    ///
    /// What is wrong in which line and column; a key that is not known, too,
    /// and a policy that restricts nothing.
    pub fn from_toml(text: &str) -> Result<Self, PolicyError> {
        let file: File = toml::from_str(text).map_err(|error| PolicyError::new(text, &error))?;
        let mut paths = BTreeMap::new();
        for Beneath { beneath, allow } in &file.path {
            let allowed = each(text, allow, right)?;
            for path in each(text, beneath, absolute)? {
                let rights: &mut Rights = paths.entry(path).or_default();
                *rights = allowed.iter().copied().fold(*rights, Rights::union);
            }
        }
        let ports = |list: &Option<Vec<_>>| -> Result<Option<BTreeSet<_>>, PolicyError> {
            let list = list.as_ref().map(|list| each(text, list, port));
            Ok(list.transpose()?.map(BTreeSet::from_iter))
        };
        let scopes = each(text, &file.scopes, scope)?;
        let policy = Self {
            paths,
            bind: ports(&file.tcp.bind)?,
            connect: ports(&file.tcp.connect)?,
            scopes: scopes.into_iter().fold(0, |all, scope| all | scope),
            best_effort: file.best_effort,
        };
        if policy.paths.is_empty() && policy.ports() == 0 && policy.scopes == 0 {
            return Err(PolicyError::nothing());
        }
        Ok(policy)
    }

    /// What a kernel with this ABI enforces of it, 0 for none.
    #[must_use]
    pub fn enforcement(&self, abi: u32) -> Enforcement {
        Enforcement::of(
            abi,
            Kinds {
                files: !self.paths.is_empty(),
                ports: self.ports() != 0,
                scopes: self.scopes != 0,
            },
        )
    }

    /// The accesses to ports that are restricted.
    fn ports(&self) -> u64 {
        let bind = if self.bind.is_some() { BIND } else { 0 };
        let connect = if self.connect.is_some() { CONNECT } else { 0 };
        bind | connect
    }

    /// The steps that enforce it.
    pub(crate) fn steps(&self, abi: u32) -> Result<Vec<Step>, LaunchError> {
        match self.enforcement(abi) {
            Enforcement::Off(_) => return Err(LaunchError::NoLandlock),
            Enforcement::Partial(why) if !self.best_effort => {
                return Err(LaunchError::LandlockLacks { why });
            }
            Enforcement::Partial(_) | Enforcement::Full => {}
        }
        let known = Rights::of_abi(abi);
        let handled = Ruleset {
            files: if self.paths.is_empty() {
                Rights::default()
            } else {
                known
            },
            ports: if abi < PORTS_SINCE { 0 } else { self.ports() },
            scopes: if abi < SCOPES_SINCE { 0 } else { self.scopes },
        };
        if handled == Ruleset::default() {
            return Ok(Vec::new());
        }
        let mut steps = vec![Step::Landlock(handled)];
        for (path, rights) in &self.paths {
            steps.push(Step::LandlockPath {
                path: CPath::new(path)?,
                rights: rights.intersection(known),
            });
        }
        if handled.ports != 0 {
            for (ports, access) in [(&self.bind, BIND), (&self.connect, CONNECT)] {
                let ports = ports.iter().flatten();
                let rules = ports.map(|&port| Step::LandlockPort(Port { port, access }));
                steps.extend(rules);
            }
        }
        steps.push(Step::LandlockRestrict);
        Ok(steps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = r#"
scopes = ["signal"]
[[path]]
beneath = ["/usr", "/lib"]
allow = ["read"]
[[path]]
beneath = ["/usr"]
allow = ["execute"]
[tcp]
connect = [443, 80]
"#;

    fn steps(text: &str, abi: u32) -> Result<Vec<String>, String> {
        let policy = LandlockPolicy::from_toml(text).unwrap();
        let steps = policy.steps(abi).map_err(|error| error.to_string())?;
        Ok(steps.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_policy_becomes_steps() {
        let expected = [
            "begin a Landlock ruleset: files, TCP connect, signals",
            "allow read beneath \"/lib\"",
            "allow read, execute beneath \"/usr\"",
            "allow to connect to TCP port 80",
            "allow to connect to TCP port 443",
            "restrict with Landlock",
        ];
        assert_eq!(steps(POLICY, 6).unwrap(), expected);
    }

    #[test]
    fn what_the_kernel_lacks_is_an_error_unless_that_is_allowed() {
        let error = steps(POLICY, 3).unwrap_err();
        for lack in [
            "ioctl_dev",
            "TCP ports (ABI 4)",
            "scopes (ABI 6)",
            "best_effort",
        ] {
            assert!(error.contains(lack), "{error}");
        }
        let loose = format!("best_effort = true\n{POLICY}");
        assert_eq!(steps(&loose, 3).unwrap().len(), 4);
        assert!(steps(&loose, 0).is_err());
        let only_ports = "best_effort = true\ntcp.bind = []";
        assert_eq!(steps(only_ports, 1).unwrap(), [""; 0]);
        assert_eq!(steps("tcp.bind = []", 4).unwrap().len(), 2);
    }

    #[test]
    fn mistakes_have_a_place() {
        let check = |text: &str, expected: &str| {
            let error = LandlockPolicy::from_toml(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        };
        check("", "restricts nothing");
        check("best_effort = true", "restricts nothing");
        check("paths = []", "line 1, column 1");
        check(
            "[[path]]\nbeneath = [\"usr\"]\nallow = []",
            "line 2, column 12",
        );
        check(
            "[[path]]\nbeneath = [\"/a\"]\nallow = [\"exec\"]",
            "line 3, column 10",
        );
        check(
            "[[path]]\nbeneath = [\"/a\"]\nallow = [\"exec\"]",
            "execute",
        );
        check("[[path]]\nbeneath = [\"/a\"]", "allow");
        check("[tcp]\nbind = [70000]", "line 2, column 9");
        check("scopes = [\"sockets\"]", "line 1, column 11");
    }
}

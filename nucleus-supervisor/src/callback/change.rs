//! What a policy program changes, by the words of its verdicts.

use std::ffi::OsString;
use std::num::NonZeroU32;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::context::{ChangeError, Power};
use super::{Context, Whom};
use crate::NetRule;

/// One change of a [`Context`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "change", rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Change {
    RestrictNetwork {
        only: Vec<Peer>,
        #[serde(default, rename = "pid", deserialize_with = "process")]
        whom: Option<NonZeroU32>,
    },
    GrantNetwork {
        peers: Vec<Peer>,
        #[serde(default, rename = "pid", deserialize_with = "process")]
        whom: Option<NonZeroU32>,
    },
    DenyPath {
        path: Name,
        #[serde(default, rename = "pid", deserialize_with = "process")]
        whom: Option<NonZeroU32>,
    },
    AllowPath {
        path: Name,
        #[serde(default, rename = "pid", deserialize_with = "process")]
        whom: Option<NonZeroU32>,
    },
    LimitProcesses {
        most: u64,
    },
    LimitMemory {
        most: u64,
    },
}

/// A rule on a peer, as the options have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Peer(NetRule);

impl<'de> Deserialize<'de> for Peer {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        NetRule::from_str(&text).map(Self).map_err(D::Error::custom)
    }
}

/// A path as events have it: text, or bytes in hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name(PathBuf);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, deny_unknown_fields)]
        enum Form {
            Text(String),
            Bytes { hex: String },
        }
        let bytes = match Form::deserialize(from)? {
            Form::Text(text) => text.into_bytes(),
            Form::Bytes { hex } => bytes(&hex)
                .ok_or_else(|| D::Error::custom(format!("{hex:?} is no bytes in hex")))?,
        };
        if bytes.contains(&0) {
            return Err(D::Error::custom("a path has no NUL"));
        }
        Ok(Self(OsString::from_vec(bytes).into()))
    }
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digit = |&byte: &u8| char::from(byte).to_digit(16);
    let pairs = hex.as_bytes().chunks(2);
    let byte = |pair: &[u8]| match pair {
        [high, low] => u8::try_from(digit(high)? * 16 + digit(low)?).ok(),
        _ => None,
    };
    pairs.map(byte).collect()
}

/// A process that is named must be one: nothing does not stand for all.
fn process<'de, D: Deserializer<'de>>(from: D) -> Result<Option<NonZeroU32>, D::Error> {
    NonZeroU32::deserialize(from).map(Some)
}

fn whom(process: Option<NonZeroU32>) -> Whom {
    process.map_or(Whom::All, |process| Whom::Process(process.get()))
}

fn rules(peers: Vec<Peer>) -> Vec<NetRule> {
    peers.into_iter().map(|Peer(rule)| rule).collect()
}

impl Change {
    fn check(&self, context: &Context) -> Result<(), ChangeError> {
        match self {
            Self::RestrictNetwork { whom: who, .. } | Self::GrantNetwork { whom: who, .. } => {
                context.check(Power::Network, whom(*who))
            }
            Self::DenyPath { path, whom: who } | Self::AllowPath { path, whom: who } => {
                if path.0.is_relative() {
                    let path = path.0.clone();
                    return Err(ChangeError::Relative { path });
                }
                context.check(Power::Paths, whom(*who))
            }
            Self::LimitProcesses { .. } => context.check(Power::Processes, Whom::All),
            Self::LimitMemory { .. } => context.check(Power::Memory, Whom::All),
        }
    }

    fn make(self, context: &Context) -> Result<(), ChangeError> {
        match self {
            Self::RestrictNetwork { only, whom: who } => {
                context.restrict_network(whom(who), rules(only));
            }
            Self::GrantNetwork { peers, whom: who } => {
                context.grant_network(whom(who), rules(peers));
            }
            Self::DenyPath { path, whom: who } => context.deny_path(whom(who), path.0),
            Self::AllowPath { path, whom: who } => context.allow_path(whom(who), &path.0),
            Self::LimitProcesses { most } => context.limit_processes(most)?,
            Self::LimitMemory { most } => context.limit_memory(most)?,
        }
        Ok(())
    }
}

/// Makes all changes, in their order, or none where one of them cannot be meant.
pub(super) fn make(changes: Vec<Change>, context: &Context) -> Result<(), ChangeError> {
    changes
        .iter()
        .try_for_each(|change| change.check(context))?;
    changes
        .into_iter()
        .try_for_each(|change| change.make(context))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn changes(json: &str) -> serde_json::Result<Vec<Change>> {
        serde_json::from_str(json)
    }

    fn made(json: &str, context: &Context) -> Result<(), String> {
        let changes = changes(json).expect(json);
        make(changes, context).map_err(|error| error.to_string())
    }

    #[test]
    fn changes_are_those_of_the_context() {
        let context = Context::default();
        for power in [
            Power::Network,
            Power::Paths,
            Power::Processes,
            Power::Memory,
            Power::Descent,
        ] {
            context.enforces(power);
        }
        context.born(7, None);
        let json = r#"[
            {"change":"restrict-network","only":[]},
            {"change":"restrict-network","only":["example.org:443"],"pid":7},
            {"change":"deny-path","path":"/a"},
            {"change":"deny-path","path":{"hex":"2fff"},"pid":7},
            {"change":"limit-processes","most":3},
            {"change":"limit-memory","most":4096}
        ]"#;
        assert_eq!(made(json, &context), Ok(()));
        assert!(!context.allows_peers(1, |only| !only.is_empty()));
        let odd = OsString::from_vec(b"/\xff".to_vec());
        assert!(!context.allows_path(7, Path::new(&odd)));
        assert!(context.allows_path(8, Path::new(&odd)));
        assert!(!context.allows_path(8, Path::new("/a/b")));
        assert_eq!((context.processes(), context.memory()), (3, 4096));
        let json = r#"[
            {"change":"grant-network","peers":["192.0.2.1"]},
            {"change":"allow-path","path":"/a"}
        ]"#;
        assert_eq!(made(json, &context), Ok(()));
        assert!(context.allows_peers(1, |only| !only.is_empty()));
        assert!(context.allows_path(8, Path::new("/a/b")));
    }

    #[test]
    fn what_is_not_meant_is_no_change() {
        for wrong in [
            r#"[{"change":"restrict-network"}]"#,
            r#"[{"change":"restrict-network","only":null}]"#,
            r#"[{"change":"restrict-network","only":["a b"]}]"#,
            r#"[{"change":"restrict-network","only":[],"pid":null}]"#,
            r#"[{"change":"restrict-network","only":[],"pid":0}]"#,
            r#"[{"change":"restrict-network","only":[],"only":["*"]}]"#,
            r#"[{"change":"restrict-network","peers":[]}]"#,
            r#"[{"change":"deny-path","path":{"hex":"2ff"}}]"#,
            r#"[{"change":"deny-path","path":{"hex":"zz"}}]"#,
            r#"[{"change":"deny-path","path":"/a\u0000b"}]"#,
            r#"[{"change":"limit-processes","most":-1}]"#,
            r#"[{"change":"limit-memory","most":"1G"}]"#,
            r#"[{"change":"open-everything"}]"#,
            r#"[{"only":[]}]"#,
            "{}",
        ] {
            assert!(changes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_nobody_would_enforce_changes_nothing() {
        let context = Context::default();
        context.enforces(Power::Network);
        let check = |json: &str, why: &str| {
            let error = made(json, &context).expect_err(json);
            assert!(error.contains(why), "{error}");
            assert!(context.allows_peers(1, |only| !only.is_empty()), "{json}");
        };
        let first = r#"{"change":"restrict-network","only":[]}"#;
        check(
            &format!(r#"[{first},{{"change":"deny-path","path":"/a"}}]"#),
            "--path-deny or --policy-asks path",
        );
        check(
            &format!(r#"[{first},{{"change":"limit-memory","most":1}}]"#),
            "--memory",
        );
        context.enforces(Power::Paths);
        check(
            &format!(r#"[{first},{{"change":"deny-path","path":"a"}}]"#),
            "not absolute",
        );
        let of_one = r#"[{"change":"restrict-network","only":[],"pid":9}]"#;
        check(of_one, "one process alone");
        context.enforces(Power::Descent);
        check(of_one, "process 9 is none of this run");
    }
}

//! The words and numbers of the JSON form: operators, flags, names, versions.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{ArgIndex, CallName, Flag};
use crate::{KernelVersion, suggest};

/// One of the seven operators.
pub(super) struct Operator(pub(super) &'static str);

const OPERATORS: [&str; 7] = [
    "SCMP_CMP_NE",
    "SCMP_CMP_LT",
    "SCMP_CMP_LE",
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_MASKED_EQ",
];

impl Serialize for Operator {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0)
    }
}

impl<'de> Deserialize<'de> for Operator {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        one_of(deserializer, "operator", &OPERATORS).map(|index| Self(OPERATORS[index]))
    }
}

const FLAGS: [(&str, Flag); 4] = [
    ("SECCOMP_FILTER_FLAG_TSYNC", Flag::Tsync),
    ("SECCOMP_FILTER_FLAG_LOG", Flag::Log),
    ("SECCOMP_FILTER_FLAG_SPEC_ALLOW", Flag::SpecAllow),
    (
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
        Flag::WaitKillableRecv,
    ),
];

impl Flag {
    /// Such as `SECCOMP_FILTER_FLAG_LOG`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tsync => FLAGS[0].0,
            Self::Log => FLAGS[1].0,
            Self::SpecAllow => FLAGS[2].0,
            Self::WaitKillableRecv => FLAGS[3].0,
        }
    }
}

impl Serialize for Flag {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        one_of(deserializer, "flag", &FLAGS.map(|(name, _)| name)).map(|index| FLAGS[index].1)
    }
}

/// Reads one of a few words; its index.
fn one_of<'de, D: Deserializer<'de>>(
    deserializer: D,
    what: &str,
    words: &[&str],
) -> Result<usize, D::Error> {
    let word = String::deserialize(deserializer)?;
    let found = words.iter().position(|&known| known == word);
    found.ok_or_else(|| de::Error::custom(suggest::unknown(what, &word, words.iter().copied())))
}

impl Serialize for ArgIndex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(self.get())
    }
}

impl<'de> Deserialize<'de> for ArgIndex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let index = u64::deserialize(deserializer)?;
        let known = u8::try_from(index).ok().and_then(Self::new);
        known.ok_or_else(|| {
            de::Error::custom(format!("argument {index}; a call has arguments 0 to 5"))
        })
    }
}

impl Serialize for KernelVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KernelVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

impl Serialize for CallName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CallName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = CallName;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("the name or the number of a system call")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<CallName, E> {
                if name.is_empty() {
                    return Err(E::invalid_value(de::Unexpected::Str(name), &self));
                }
                Ok(CallName::from(name))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<CallName, E> {
                u32::try_from(number)
                    .map(CallName::Number)
                    .map_err(|_too_large| E::invalid_value(de::Unexpected::Unsigned(number), &self))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

//! The JSON shapes, and the way between them and the model.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::action_name::{ActionName, errno_ret};
use super::words::Operator;
use super::{
    ArchMapping, Architectures, ArgIndex, ArgTest, CallName, Comparison, Condition, Flag, OciArch,
    When,
};
use crate::KernelVersion;

/// A profile with its rules as `R`: read as pieces of the text, so that an
/// error in one has a place, and written as [`Rule`]s.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Profile<R> {
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
    default_action: ActionName,
    #[serde(skip_serializing_if = "Option::is_none")]
    default_errno_ret: Option<u32>,
    #[serde(skip_serializing)]
    default_errno: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    architectures: Option<Vec<OciArch>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arch_map: Option<Vec<Object<WireMapping>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flags: Option<Vec<Flag>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    listener_path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    listener_metadata: Option<String>,
    syscalls: Option<Vec<R>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WireMapping {
    architecture: OciArch,
    sub_architectures: Option<Vec<OciArch>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Rule {
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
    #[serde(skip_serializing)]
    name: Option<CallName>,
    names: Option<Vec<CallName>>,
    action: ActionName,
    #[serde(skip_serializing_if = "Option::is_none")]
    errno_ret: Option<u32>,
    #[serde(skip_serializing)]
    errno: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    args: Option<Vec<Object<Arg>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    includes: Option<Object<WireCondition>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    excludes: Option<Object<WireCondition>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Arg {
    index: ArgIndex,
    value: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_two: Option<u64>,
    op: Operator,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WireCondition {
    #[serde(skip_serializing_if = "Option::is_none")]
    caps: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arches: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_kernel: Option<KernelVersion>,
}

/// A JSON object. What serde derives would take an array as well, by position.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Object)
    }
}

/// Keys of a profile that do not go together.
pub(super) struct Misfit {
    /// The key to point at, where it is there.
    pub(super) key: &'static str,
    pub(super) problem: String,
}

impl<R> Profile<R> {
    /// The rules, taken out.
    pub(super) fn take_rules(&mut self) -> Vec<R> {
        self.syscalls.take().unwrap_or_default()
    }

    /// The model, with these rules.
    pub(super) fn into_model(self, rules: Vec<super::Rule>) -> Result<super::Profile, Misfit> {
        let architectures = match (self.architectures, self.arch_map) {
            (Some(list), Some(map)) if !list.is_empty() && !map.is_empty() => {
                return Err(Misfit {
                    key: "archMap",
                    problem: "archMap beside architectures; a profile has one of them".to_owned(),
                });
            }
            (_, Some(map)) if !map.is_empty() => {
                let map = map.into_iter().map(|Object(mapping)| mapping.into());
                Architectures::Mapped(map.collect())
            }
            (Some(list), _) if !list.is_empty() => Architectures::Listed(list),
            _ => Architectures::Native,
        };
        let default_action = self
            .default_action
            .with(self.default_errno_ret, self.default_errno.as_deref())
            .map_err(|misfit| Misfit {
                key: match misfit.key {
                    "errno" => "defaultErrno",
                    _ => "defaultErrnoRet",
                },
                ..misfit
            })?;
        Ok(super::Profile {
            default_action,
            architectures,
            flags: self.flags.unwrap_or_default(),
            listener_path: self.listener_path,
            listener_metadata: self.listener_metadata,
            rules,
            comment: self.comment,
        })
    }
}

impl Rule {
    pub(super) fn into_model(self) -> Result<super::Rule, Misfit> {
        let misfit = |key, problem: &str| {
            Err(Misfit {
                key,
                problem: problem.to_owned(),
            })
        };
        let calls = match (self.name, self.names) {
            (Some(name), names) if names.as_ref().is_none_or(Vec::is_empty) => vec![name],
            (None, Some(names)) if !names.is_empty() => names,
            (Some(_), _) => return misfit("name", "name beside names; a rule has one of them"),
            (None, Some(_)) => {
                return misfit("names", "names is empty; list the calls of the rule");
            }
            (None, None) => return misfit("action", "a rule without names; list its calls"),
        };
        let tests: Vec<ArgTest> = self
            .args
            .into_iter()
            .flatten()
            .map(|Object(arg)| arg.into())
            .collect();
        let condition = |wire: Option<Object<WireCondition>>| {
            wire.map(|Object(wire)| wire.into()).unwrap_or_default()
        };
        Ok(super::Rule {
            calls,
            action: self.action.with(self.errno_ret, self.errno.as_deref())?,
            when: When::from(tests),
            comment: self.comment,
            includes: condition(self.includes),
            excludes: condition(self.excludes),
        })
    }
}

impl From<&super::Profile> for Profile<Rule> {
    fn from(profile: &super::Profile) -> Self {
        let (architectures, arch_map) = match &profile.architectures {
            Architectures::Native => (None, None),
            Architectures::Listed(list) => (Some(list.clone()), None),
            Architectures::Mapped(map) => (
                None,
                Some(map.iter().map(|mapping| Object(mapping.into())).collect()),
            ),
        };
        Self {
            comment: profile.comment.clone(),
            default_action: ActionName::of(profile.default_action),
            default_errno_ret: errno_ret(profile.default_action),
            default_errno: None,
            architectures,
            arch_map,
            flags: Some(profile.flags.clone()).filter(|flags| !flags.is_empty()),
            listener_path: profile.listener_path.clone(),
            listener_metadata: profile.listener_metadata.clone(),
            syscalls: Some(profile.rules.iter().map(Rule::from).collect()),
        }
    }
}

impl From<&super::Rule> for Rule {
    fn from(rule: &super::Rule) -> Self {
        let args = match &rule.when {
            When::Always => None,
            When::Args(tests) => Some(tests.iter().map(|test| Object(test.into())).collect()),
        };
        let condition =
            |condition: &Condition| (!condition.is_empty()).then(|| Object(condition.into()));
        Self {
            comment: rule.comment.clone(),
            name: None,
            names: Some(rule.calls.clone()),
            action: ActionName::of(rule.action),
            errno_ret: errno_ret(rule.action),
            errno: None,
            args,
            includes: condition(&rule.includes),
            excludes: condition(&rule.excludes),
        }
    }
}

impl From<WireMapping> for ArchMapping {
    fn from(mapping: WireMapping) -> Self {
        Self {
            architecture: mapping.architecture,
            sub_architectures: mapping.sub_architectures.unwrap_or_default(),
        }
    }
}

impl From<&ArchMapping> for WireMapping {
    fn from(mapping: &ArchMapping) -> Self {
        Self {
            architecture: mapping.architecture,
            sub_architectures: Some(mapping.sub_architectures.clone()),
        }
    }
}

impl From<WireCondition> for Condition {
    fn from(condition: WireCondition) -> Self {
        Self {
            caps: condition.caps.unwrap_or_default(),
            arches: condition.arches.unwrap_or_default(),
            min_kernel: condition.min_kernel,
        }
    }
}

impl From<&Condition> for WireCondition {
    fn from(condition: &Condition) -> Self {
        let list = |list: &Vec<String>| Some(list.clone()).filter(|list| !list.is_empty());
        Self {
            caps: list(&condition.caps),
            arches: list(&condition.arches),
            min_kernel: condition.min_kernel,
        }
    }
}

impl From<Arg> for ArgTest {
    fn from(arg: Arg) -> Self {
        let value = arg.value;
        let comparison = match arg.op.0 {
            "SCMP_CMP_NE" => Comparison::NotEqual(value),
            "SCMP_CMP_LT" => Comparison::Less(value),
            "SCMP_CMP_LE" => Comparison::LessOrEqual(value),
            "SCMP_CMP_EQ" => Comparison::Equal(value),
            "SCMP_CMP_GE" => Comparison::GreaterOrEqual(value),
            "SCMP_CMP_GT" => Comparison::Greater(value),
            _ => Comparison::MaskedEqual {
                mask: value,
                value: arg.value_two.unwrap_or(0),
            },
        };
        Self {
            index: arg.index,
            comparison,
        }
    }
}

impl From<&ArgTest> for Arg {
    fn from(test: &ArgTest) -> Self {
        let (op, value, value_two) = match test.comparison {
            Comparison::NotEqual(value) => ("SCMP_CMP_NE", value, None),
            Comparison::Less(value) => ("SCMP_CMP_LT", value, None),
            Comparison::LessOrEqual(value) => ("SCMP_CMP_LE", value, None),
            Comparison::Equal(value) => ("SCMP_CMP_EQ", value, None),
            Comparison::GreaterOrEqual(value) => ("SCMP_CMP_GE", value, None),
            Comparison::Greater(value) => ("SCMP_CMP_GT", value, None),
            Comparison::MaskedEqual { mask, value } => ("SCMP_CMP_MASKED_EQ", mask, Some(value)),
        };
        Self {
            index: test.index,
            value,
            value_two,
            op: Operator(op),
        }
    }
}

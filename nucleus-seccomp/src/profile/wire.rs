//! The JSON shapes, and the way between them and the model.

use serde::{Deserialize, Serialize, Serializer};

use super::action_name::{ActionName, errno_ret};
use super::words::Operator;
use super::{
    ArchMapping, Architectures, ArgIndex, ArgTest, CallName, Comparison, Condition, Flag, OciArch,
    When,
};
use crate::KernelVersion;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[serde(expecting = "a seccomp profile, which is a JSON object")]
pub(super) struct Profile {
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
    arch_map: Option<Vec<WireMapping>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flags: Option<Vec<Flag>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    listener_path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    listener_metadata: Option<String>,
    syscalls: Option<Vec<Checked>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WireMapping {
    architecture: OciArch,
    sub_architectures: Option<Vec<OciArch>>,
}

/// A rule whose parts go together, so that serde_json knows the place of one
/// where they do not.
#[derive(Deserialize)]
#[serde(try_from = "Rule")]
struct Checked(super::Rule);

impl Serialize for Checked {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Rule::from(&self.0).serialize(serializer)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
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
    args: Option<Vec<Arg>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    includes: Option<WireCondition>,
    #[serde(skip_serializing_if = "Option::is_none")]
    excludes: Option<WireCondition>,
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

/// Keys of a profile that do not go together.
pub(super) struct Misfit {
    /// The key to point at.
    pub(super) key: &'static str,
    pub(super) problem: String,
}

impl TryFrom<Profile> for super::Profile {
    type Error = Misfit;

    fn try_from(profile: Profile) -> Result<Self, Misfit> {
        let architectures = match (profile.architectures, profile.arch_map) {
            (Some(list), Some(map)) if !list.is_empty() && !map.is_empty() => {
                return Err(Misfit {
                    key: "archMap",
                    problem: "archMap beside architectures; a profile has one of them".to_owned(),
                });
            }
            (_, Some(map)) if !map.is_empty() => {
                Architectures::Mapped(map.into_iter().map(ArchMapping::from).collect())
            }
            (Some(list), _) if !list.is_empty() => Architectures::Listed(list),
            _ => Architectures::Native,
        };
        let default_action = profile
            .default_action
            .with(profile.default_errno_ret, profile.default_errno.as_deref())
            .map_err(|problem| Misfit {
                key: "defaultAction",
                problem,
            })?;
        let rules = profile.syscalls.into_iter().flatten();
        Ok(Self {
            default_action,
            architectures,
            flags: profile.flags.unwrap_or_default(),
            listener_path: profile.listener_path,
            listener_metadata: profile.listener_metadata,
            rules: rules.map(|Checked(rule)| rule).collect(),
            comment: profile.comment,
        })
    }
}

impl TryFrom<Rule> for Checked {
    type Error = String;

    fn try_from(rule: Rule) -> Result<Self, String> {
        // serde_json is past the rule when it hears of this.
        rule.into_model()
            .map(Self)
            .map_err(|problem| format!("in the rule that ends before this: {problem}"))
    }
}

impl Rule {
    fn into_model(self) -> Result<super::Rule, String> {
        let calls = match (self.name, self.names) {
            (Some(name), names) if names.as_ref().is_none_or(Vec::is_empty) => vec![name],
            (None, Some(names)) if !names.is_empty() => names,
            (Some(_), _) => return Err("both name and names; a rule has one of them".to_owned()),
            (None, _) => return Err("no names".to_owned()),
        };
        let tests: Vec<ArgTest> = self.args.into_iter().flatten().map(ArgTest::from).collect();
        Ok(super::Rule {
            calls,
            action: self.action.with(self.errno_ret, self.errno.as_deref())?,
            when: When::from(tests),
            comment: self.comment,
            includes: self.includes.map(Condition::from).unwrap_or_default(),
            excludes: self.excludes.map(Condition::from).unwrap_or_default(),
        })
    }
}

impl From<&super::Profile> for Profile {
    fn from(profile: &super::Profile) -> Self {
        let (architectures, arch_map) = match &profile.architectures {
            Architectures::Native => (None, None),
            Architectures::Listed(list) => (Some(list.clone()), None),
            Architectures::Mapped(map) => (None, Some(map.iter().map(WireMapping::from).collect())),
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
            syscalls: Some(profile.rules.iter().cloned().map(Checked).collect()),
        }
    }
}

impl From<&super::Rule> for Rule {
    fn from(rule: &super::Rule) -> Self {
        let args = match &rule.when {
            When::Always => None,
            When::Args(tests) => Some(tests.iter().map(Arg::from).collect()),
        };
        let condition =
            |condition: &Condition| (!condition.is_empty()).then(|| WireCondition::from(condition));
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

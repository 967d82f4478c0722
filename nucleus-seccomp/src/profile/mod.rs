//! The model of an OCI seccomp profile (`linux.seccomp` of the runtime
//! specification), with Docker's and podman's extensions.

mod action_name;
mod argument;
mod builtin;
mod condition;
mod errno;
mod json;
mod note;
mod oci_arch;
mod position;
mod wire;
mod words;

pub use argument::{ArgIndex, ArgTest, Comparison};
pub use condition::{Condition, NewCalls, Target, UnknownCapability};
pub use errno::{errno_by_name, errno_name};
pub use note::Note;
pub use oci_arch::OciArch;
pub use position::Position;

use std::fmt;

use crate::{Action, ProfileError};

/// A seccomp profile: what happens to which calls, not yet tied to a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// What happens to calls without a rule.
    pub default_action: Action,
    /// Which architectures besides the machine's own may make calls.
    pub architectures: Architectures,
    /// How the filter is to be installed.
    pub flags: Vec<Flag>,
    /// The socket that a notification listener is sent to.
    pub listener_path: Option<String>,
    /// What is sent along with it.
    pub listener_metadata: Option<String>,
    /// The rules; their order matters only where two unconditional ones name
    /// the same call.
    pub rules: Vec<Rule>,
    /// A note for people.
    pub comment: Option<String>,
}

/// The architectures of a profile. The machine's own is always one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Architectures {
    /// No other.
    Native,
    /// These (`architectures`).
    Listed(Vec<OciArch>),
    /// Those of the entry for the machine's own (Docker's `archMap`).
    Mapped(Vec<ArchMapping>),
}

/// One entry of `archMap`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchMapping {
    /// The machine's architecture.
    pub architecture: OciArch,
    /// Others that it runs.
    pub sub_architectures: Vec<OciArch>,
}

/// A flag of seccomp(2) that a profile asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Flag {
    /// `SECCOMP_FILTER_FLAG_TSYNC`
    Tsync,
    /// `SECCOMP_FILTER_FLAG_LOG`
    Log,
    /// `SECCOMP_FILTER_FLAG_SPEC_ALLOW`
    SpecAllow,
    /// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`
    WaitKillableRecv,
}

/// What happens to some calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The calls; a rule without any does nothing and is no valid JSON.
    pub calls: Vec<CallName>,
    /// What happens to them.
    pub action: Action,
    /// With which arguments.
    pub when: When,
    /// A note for people.
    pub comment: Option<String>,
    /// The rule is in force only where this holds.
    pub includes: Condition,
    /// The rule is not in force where this holds.
    pub excludes: Condition,
}

/// The arguments that a rule is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum When {
    /// Any.
    Always,
    /// Those that pass the tests. As in runc, a test of each argument at most
    /// means that all must pass; if two tests look at the same argument, one
    /// test of the whole list is enough.
    Args(Vec<ArgTest>),
}

/// How a profile names a call.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CallName {
    /// By the kernel's name, in every architecture that has it.
    Name(String),
    /// By number, in the machine's own architecture (for x32 with bit 30).
    Number(u32),
}

impl Profile {
    /// A profile without rules, for the machine's own architecture alone.
    #[must_use]
    pub const fn new(default_action: Action) -> Self {
        Self {
            default_action,
            architectures: Architectures::Native,
            flags: Vec::new(),
            listener_path: None,
            listener_metadata: None,
            rules: Vec::new(),
            comment: None,
        }
    }

    /// Reads OCI JSON strictly: an unknown key, action, operator or
    /// architecture is an error. (Unknown calls are not: what a call is
    /// depends on the kernel; see [`Profile::notes`].)
    ///
    /// Besides the runtime specification this takes Docker's `archMap`,
    /// `includes`, `excludes`, `comment` and the old `name`, podman's `errno`
    /// and `defaultErrno`, and numbers among the names.
    ///
    /// # Errors
    /// [`ProfileError`], with the line and column.
    pub fn from_json(json: &[u8]) -> Result<Self, ProfileError> {
        json::read(json)
    }

    /// The profile as OCI JSON, indented, with a line feed at the end. The
    /// same profile always gives the same bytes.
    #[must_use]
    pub fn to_json(&self) -> String {
        json::write(self)
    }
}

impl Profile {
    /// The architectures besides the target's own.
    pub(crate) fn other_architectures(&self, target: &Target) -> &[OciArch] {
        match &self.architectures {
            Architectures::Native => &[],
            Architectures::Listed(list) => list,
            Architectures::Mapped(map) => {
                let own = OciArch::from(target.arch);
                let mapping = map.iter().find(|mapping| mapping.architecture == own);
                mapping.map_or(&[], |mapping| &mapping.sub_architectures)
            }
        }
    }
}

impl Rule {
    /// A rule for every argument, in force everywhere.
    #[must_use]
    pub const fn new(calls: Vec<CallName>, action: Action) -> Self {
        Self {
            calls,
            action,
            when: When::Always,
            comment: None,
            includes: Condition {
                caps: Vec::new(),
                arches: Vec::new(),
                min_kernel: None,
            },
            excludes: Condition {
                caps: Vec::new(),
                arches: Vec::new(),
                min_kernel: None,
            },
        }
    }

    /// The same rule for some arguments only.
    #[must_use]
    pub fn when(mut self, tests: Vec<ArgTest>) -> Self {
        self.when = When::from(tests);
        self
    }

    /// Whether the rule is in force for a target.
    #[must_use]
    pub fn applies_to(&self, target: &Target) -> bool {
        self.includes.includes(target) && !self.excludes.excludes(target)
    }
}

impl From<Vec<ArgTest>> for When {
    fn from(tests: Vec<ArgTest>) -> Self {
        if tests.is_empty() {
            Self::Always
        } else {
            Self::Args(tests)
        }
    }
}

impl fmt::Display for CallName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}

impl From<&str> for CallName {
    /// Digits are a number, as in JSON.
    fn from(name: &str) -> Self {
        match name.parse() {
            Ok(number) if name.bytes().all(|b| b.is_ascii_digit()) => Self::Number(number),
            _ => Self::Name(name.to_owned()),
        }
    }
}

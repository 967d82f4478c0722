//! The nine actions of the runtime specification, by name.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::errno::errno_by_name;
use super::wire::Misfit;
use crate::{Action, suggest};

/// An action without its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ActionName(&'static str);

const NAMES: [&str; 9] = [
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_TRAP",
];

/// runc's and Docker's errno where none is given.
const EPERM: u16 = 1;

/// The largest errno that the kernel returns (`MAX_ERRNO`); it caps others.
const MAX_ERRNO: u32 = 4095;

impl ActionName {
    pub(super) fn of(action: Action) -> Self {
        Self(action.oci_name())
    }

    /// The action with its data: an errno by number, or by podman's name,
    /// which wins as it does there.
    pub(super) fn with(self, number: Option<u32>, name: Option<&str>) -> Result<Action, Misfit> {
        let misfit = |key, problem| Err(Misfit { key, problem });
        let (limit, make): (u32, fn(u16) -> Action) = match self.0 {
            "SCMP_ACT_ERRNO" => (MAX_ERRNO, Action::Errno),
            "SCMP_ACT_TRACE" => (u32::from(u16::MAX), Action::Trace),
            other if number.is_some() || name.is_some() => {
                return misfit(
                    if number.is_some() {
                        "errnoRet"
                    } else {
                        "errno"
                    },
                    format!("{other} takes no errno; only SCMP_ACT_ERRNO and SCMP_ACT_TRACE do"),
                );
            }
            "SCMP_ACT_ALLOW" => return Ok(Action::Allow),
            "SCMP_ACT_LOG" => return Ok(Action::Log),
            "SCMP_ACT_NOTIFY" => return Ok(Action::Notify),
            "SCMP_ACT_TRAP" => return Ok(Action::Trap(0)),
            "SCMP_ACT_KILL_PROCESS" => return Ok(Action::KillProcess),
            _ => return Ok(Action::KillThread),
        };
        let named = match name.filter(|name| !name.is_empty()) {
            Some(name) => match errno_by_name(name) {
                None => {
                    let problem = format!("unknown errno {name:?}; write one such as \"EPERM\"");
                    return misfit("errno", problem);
                }
                known => known,
            },
            None => None,
        };
        let numbered = match number {
            Some(number) if number > limit => {
                return misfit("errnoRet", format!("errno {number} is above {limit}"));
            }
            number => number.and_then(|number| u16::try_from(number).ok()),
        };
        Ok(make(named.or(numbered).unwrap_or(EPERM)))
    }
}

/// The data of an action as `errnoRet` says it.
pub(super) fn errno_ret(action: Action) -> Option<u32> {
    match action {
        Action::Errno(data) | Action::Trace(data) => Some(u32::from(data)),
        _ => None,
    }
}

impl Serialize for ActionName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0)
    }
}

impl<'de> Deserialize<'de> for ActionName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let known = NAMES.into_iter().find(|&known| known == name);
        known
            .map(Self)
            .ok_or_else(|| de::Error::custom(suggest::unknown("action", &name, NAMES.into_iter())))
    }
}

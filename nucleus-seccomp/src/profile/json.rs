//! Reading and writing JSON.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::wire::{Misfit, Object};
use super::{Position, Profile, wire};
use crate::ProfileError;

pub(super) fn read(json: &[u8]) -> Result<Profile, ProfileError> {
    let whole = Piece { json, at: 0 };
    let mut profile: wire::Profile<&RawValue> = whole.parse(json)?;
    let rules = profile.take_rules().into_iter().map(|rule| {
        let text = rule.get().as_bytes();
        let piece = Piece {
            json,
            at: text.as_ptr().addr() - json.as_ptr().addr(),
        };
        let rule: wire::Rule = piece.parse(text)?;
        rule.into_model().map_err(|misfit| piece.misfit(misfit))
    });
    let rules = rules.collect::<Result<_, _>>()?;
    profile
        .into_model(rules)
        .map_err(|misfit| whole.misfit(misfit))
}

/// A value within a profile, for the places of what is wrong in it.
struct Piece<'a> {
    /// The whole profile.
    json: &'a [u8],
    /// Where the value begins.
    at: usize,
}

impl<'a> Piece<'a> {
    /// Reads the piece, which is `text`.
    fn parse<T: Deserialize<'a>>(&self, text: &'a [u8]) -> Result<T, ProfileError> {
        let parsed: Result<Object<T>, _> = serde_json::from_slice(text);
        parsed.map(|Object(value)| value).map_err(|error| {
            let within = Position {
                line: error.line(),
                column: error.column(),
            };
            // The position is in the variant; serde_json repeats it at the end.
            let text = error.to_string();
            let place = format!(" at line {} column {}", within.line, within.column);
            let problem = text.strip_suffix(&place).unwrap_or(&text).to_owned();
            ProfileError::Json {
                at: Position::of_byte(self.json, self.at).then(within),
                problem,
            }
        })
    }

    fn misfit(&self, misfit: Misfit) -> ProfileError {
        let rest = self.json.get(self.at..).unwrap_or_default();
        let start = Position::of_byte(self.json, self.at);
        ProfileError::Json {
            at: match Position::of_string(rest, misfit.key) {
                Some(within) => start.then(within),
                None => start,
            },
            problem: misfit.problem,
        }
    }
}

pub(super) fn write(profile: &Profile) -> String {
    format!(
        "{}\n",
        never_fails(serde_json::to_string_pretty(&wire::Profile::from(profile)))
    )
}

impl Profile {
    /// The profile as a JSON value.
    pub(crate) fn to_value(&self) -> serde_json::Value {
        never_fails(serde_json::to_value(wire::Profile::from(self)))
    }
}

fn never_fails<T>(written: serde_json::Result<T>) -> T {
    #[expect(
        clippy::expect_used,
        reason = "strings, numbers and lists into memory: nothing here can fail"
    )]
    written.expect("a profile is plain data")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Action, ArgIndex, ArgTest, Comparison};

    /// A profile around one rule's body.
    fn rule(body: &str) -> String {
        format!("{{\n\"defaultAction\": \"SCMP_ACT_ERRNO\",\n\"syscalls\": [\n{{{body}}}\n]\n}}")
    }

    #[test]
    fn reads_every_spelling() {
        let profile = read(
            br#"{
                "comment": "why",
                "defaultAction": "SCMP_ACT_ERRNO", "defaultErrno": "ENOSYS", "defaultErrnoRet": 1,
                "archMap": [{"architecture": "SCMP_ARCH_S390X", "subArchitectures": null}],
                "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
                "listenerPath": "/run/l", "listenerMetadata": "m",
                "syscalls": [
                    {"name": "read", "action": "SCMP_ACT_ALLOW", "args": null},
                    {"names": ["257", 258, "write"], "action": "SCMP_ACT_TRACE", "errnoRet": 65535,
                     "args": [{"index": 5, "op": "SCMP_CMP_MASKED_EQ", "value": 3, "valueTwo": 1}],
                     "includes": {"caps": ["CAP_CHOWN"], "minKernel": "4.8"},
                     "excludes": {"arches": ["amd64"]}, "comment": "c"}
                ]
            }"#,
        )
        .unwrap();
        assert_eq!(profile.default_action, Action::Errno(38));
        assert_eq!(profile.rules[0].calls, ["read".into()]);
        assert_eq!(
            profile.rules[1].calls,
            ["257".into(), "258".into(), "write".into()]
        );
        assert_eq!(profile.rules[1].action, Action::Trace(u16::MAX));
        let test = ArgTest {
            index: ArgIndex::new(5).unwrap(),
            comparison: Comparison::MaskedEqual { mask: 3, value: 1 },
        };
        assert_eq!(profile.rules[1].when, vec![test].into());
        let written = write(&profile);
        assert_eq!(read(written.as_bytes()).unwrap(), profile);
        assert_eq!(write(&read(written.as_bytes()).unwrap()), written);
    }

    #[test]
    fn nine_actions() {
        for (name, action) in [
            ("SCMP_ACT_KILL", Action::KillThread),
            ("SCMP_ACT_KILL_THREAD", Action::KillThread),
            ("SCMP_ACT_KILL_PROCESS", Action::KillProcess),
            ("SCMP_ACT_TRAP", Action::Trap(0)),
            ("SCMP_ACT_ERRNO", Action::Errno(1)),
            ("SCMP_ACT_TRACE", Action::Trace(1)),
            ("SCMP_ACT_ALLOW", Action::Allow),
            ("SCMP_ACT_LOG", Action::Log),
            ("SCMP_ACT_NOTIFY", Action::Notify),
        ] {
            let json = rule(&format!(r#""names": ["read"], "action": "{name}""#));
            assert_eq!(read(json.as_bytes()).unwrap().rules[0].action, action);
        }
    }

    #[track_caller]
    fn refuses(json: &str, expected: &str) {
        assert_eq!(read(json.as_bytes()).unwrap_err().to_string(), expected);
    }

    #[test]
    fn bad_input_is_named_with_its_place() {
        refuses("", "line 1, column 0: EOF while parsing a value");
        refuses(
            "7",
            "line 1, column 1: invalid type: integer `7`, expected a JSON object",
        );
        refuses(
            r#"["SCMP_ACT_ALLOW"]"#,
            "line 1, column 0: invalid type: sequence, expected a JSON object",
        );
        refuses(
            "{\"defaultAction\": \"SCMP_ACT_ALLOW\",\n \"syscalls\": [[\"read\"]]}",
            "line 2, column 14: invalid type: sequence, expected a JSON object",
        );
        refuses(
            &rule(r#""name": "a", "names": ["b"], "action": "SCMP_ACT_ALLOW""#),
            "line 4, column 2: name beside names; a rule has one of them",
        );
        refuses(
            &rule(r#""action": "SCMP_ACT_ALLOW""#),
            "line 4, column 2: a rule without names; list its calls",
        );
        refuses("{}", "line 1, column 2: missing field `defaultAction`");
        refuses(
            &rule(r#""names": ["read"], "action": "SCMP_ACT_ALOW""#),
            "line 4, column 46: unknown action \"SCMP_ACT_ALOW\"; did you mean \"SCMP_ACT_ALLOW\"?",
        );
        refuses(
            &rule(r#""names": ["read"], "action": "SCMP_ACT_KILL", "errnoRet": 1"#),
            "line 4, column 48: SCMP_ACT_KILL takes no errno; only SCMP_ACT_ERRNO and SCMP_ACT_TRACE do",
        );
        refuses(
            &rule(r#""names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 4096"#),
            "line 4, column 49: errno 4096 is above 4095",
        );
        refuses(
            &rule(r#""nmaes": ["read"]"#),
            "line 4, column 8: unknown field `nmaes`, expected one of `comment`, `name`, `names`, `action`, `errnoRet`, `errno`, `args`, `includes`, `excludes`",
        );
        refuses(
            &rule(r#""names": [], "action": "SCMP_ACT_ALLOW""#),
            "line 4, column 2: names is empty; list the calls of the rule",
        );
        refuses(
            &rule(
                r#""names": ["a"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 1, "op": "=="}]"#,
            ),
            "line 4, column 90: unknown operator \"==\"; known are SCMP_CMP_NE, SCMP_CMP_LT, SCMP_CMP_LE, SCMP_CMP_EQ, SCMP_CMP_GE, SCMP_CMP_GT, SCMP_CMP_MASKED_EQ",
        );
        refuses(
            &rule(r#""names": ["a"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 6}]"#),
            "line 4, column 66: argument 6; a call has arguments 0 to 5",
        );
        refuses(
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"],
               "archMap": [{"architecture": "SCMP_ARCH_X86_64"}]}"#,
            "line 2, column 16: archMap beside architectures; a profile has one of them",
        );
        refuses(
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X84"]}"#,
            "line 1, column 70: unknown architecture \"SCMP_ARCH_X84\"; did you mean \"SCMP_ARCH_X86\"?",
        );
    }
}

//! Events and verdicts as lines of JSON.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;

use rustix::io::Errno;
use serde::{Deserialize, Serialize, Serializer};

use super::change::Change;
use super::{Event, Verdict};
use crate::Protocol;

/// The version of the words between this and a policy program. It grows when
/// something is taken away or means something else; new fields of events, new
/// events and new changes may come without that.
pub const PROTOCOL: u32 = 1;

/// Longest line that is taken for an answer.
pub(super) const LONGEST: usize = 64 << 10;

#[derive(Serialize)]
struct Question<'a> {
    id: u64,
    call: &'a str,
    category: &'a str,
    pid: u32,
    parent: Option<u32>,
    exe: Option<Bytes<'a>>,
    host: Option<IpAddr>,
    names: &'a [String],
    port: Option<u16>,
    protocol: Option<&'a str>,
    size: Option<u64>,
    argv: Option<Vec<Bytes<'a>>>,
    path: Option<Bytes<'a>>,
    denied: bool,
}

/// A string or, where the bytes are no UTF-8, an object with them: a policy that
/// does not expect that cannot take it for something else.
struct Bytes<'a>(&'a OsStr);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Hex {
            hex: String,
        }
        match self.0.to_str() {
            Some(text) => serializer.serialize_str(text),
            None => {
                let bytes = self.0.as_bytes().iter();
                let hex = bytes.map(|byte| format!("{byte:02x}")).collect();
                Hex { hex }.serialize(serializer)
            }
        }
    }
}

/// An event as one line, with its end.
pub(super) fn question(id: u64, event: &Event) -> serde_json::Result<Vec<u8>> {
    let argv = event.argv.as_ref();
    let mut line = serde_json::to_vec(&Question {
        id,
        call: event.call,
        category: event.category.name(),
        pid: event.pid,
        parent: event.parent,
        exe: event.exe.as_ref().map(|exe| Bytes(exe.as_os_str())),
        host: event.host,
        names: &event.names,
        port: event.port,
        protocol: event.protocol.map(|protocol| match protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        }),
        size: event.size,
        argv: argv.map(|argv| argv.iter().map(|word| Bytes(word)).collect()),
        path: event.path.as_ref().map(|path| Bytes(path.as_os_str())),
        denied: event.denied,
    })?;
    line.push(b'\n');
    Ok(line)
}

/// What a line of the policy program means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// A verdict on a question, and what changes before.
    Verdict(u64, Verdict, Vec<Change>),
    /// No verdict, but changes.
    Changes(Vec<Change>),
    /// The question is known, the verdict is none, for this reason.
    Nonsense(u64, String),
    /// Whatever it means, it could be about any question.
    Garbage(String),
}

pub(super) fn answer(line: &[u8]) -> Said {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Answer<'a> {
        id: Option<u64>,
        #[serde(borrow, default)]
        verdict: Option<Cow<'a, str>>,
        #[serde(borrow, default)]
        errno: Option<Cow<'a, str>>,
        #[serde(default)]
        changes: Option<Vec<Change>>,
    }
    #[derive(Deserialize)]
    struct Id {
        id: u64,
    }
    let answer = match serde_json::from_slice::<Answer<'_>>(line) {
        Ok(answer) => answer,
        Err(why) => {
            return match serde_json::from_slice::<Id>(line) {
                Ok(Id { id }) => Said::Nonsense(id, why.to_string()),
                Err(_no_id) => Said::Garbage(why.to_string()),
            };
        }
    };
    let Some(id) = answer.id else {
        return match answer {
            Answer {
                verdict: None,
                errno: None,
                changes: Some(changes),
                ..
            } => Said::Changes(changes),
            _ => Said::Garbage("there is no id".to_owned()),
        };
    };
    let Some(word) = &answer.verdict else {
        return Said::Nonsense(id, "there is no verdict".to_owned());
    };
    let verdict = match (word.as_ref(), answer.errno) {
        ("allow", None) => Ok(Verdict::Allow),
        ("audit", None) => Ok(Verdict::Audit),
        ("deny", None) => Ok(Verdict::DENY),
        ("deny", Some(name)) => nucleus_seccomp::errno_by_name(&name)
            .map(|number| Verdict::Deny(Errno::from_raw_os_error(number.into())))
            .ok_or_else(|| format!("{name:?} is no errno")),
        ("allow" | "audit", Some(_)) => Err("an errno goes with \"deny\"".to_owned()),
        (other, _) => Err(format!("{other:?} is no verdict")),
    };
    match verdict {
        Ok(verdict) => Said::Verdict(id, verdict, answer.changes.unwrap_or_default()),
        Err(why) => Said::Nonsense(id, why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::callback::Category;

    fn line(event: &Event) -> String {
        String::from_utf8(question(7, event).expect("a line")).expect("text")
    }

    #[test]
    fn an_event_is_one_line_with_every_field() {
        let event = Event {
            host: Some("192.0.2.1".parse().expect("an address")),
            names: vec!["a.test".to_owned()],
            port: Some(443),
            protocol: Some(Protocol::Tcp),
            ..Event::new("connect", Category::Network, 0)
        };
        let expected = r#"{"id":7,"call":"connect","category":"network","pid":0,"parent":null,"exe":null,"host":"192.0.2.1","names":["a.test"],"port":443,"protocol":"tcp","size":null,"argv":null,"path":null,"denied":false}"#;
        assert_eq!(line(&event), format!("{expected}\n"));
    }

    #[test]
    fn bytes_that_are_no_text_are_not_taken_for_text() {
        let word = OsStr::from_bytes(b"a\xff\n").to_owned();
        let event = Event {
            argv: Some(vec!["a\nb".into(), word]),
            ..Event::new("execve", Category::Exec, 0)
        };
        let line = line(&event);
        assert_eq!(line.matches('\n').count(), 1);
        assert!(
            line.contains(r#""argv":["a\nb",{"hex":"61ff0a"}]"#),
            "{line}"
        );
    }

    #[test]
    fn whatever_is_no_verdict_is_a_denial() {
        let check = |line: &str, expected: Said| {
            assert_eq!(answer(line.as_bytes()), expected, "{line}");
        };
        let verdict = |id, verdict| Said::Verdict(id, verdict, Vec::new());
        check(r#"{"id":1,"verdict":"allow"}"#, verdict(1, Verdict::Allow));
        check(r#" {"verdict":"deny","id":2} "#, verdict(2, Verdict::DENY));
        let refused = Verdict::Deny(Errno::CONNREFUSED);
        check(
            r#"{"id":3,"verdict":"deny","errno":"ECONNREFUSED"}"#,
            verdict(3, refused),
        );
        check(r#"{"id":4,"verdict":"audit"}"#, verdict(4, Verdict::Audit));
        for nonsense in [
            r#"{"id":5,"verdict":"yes"}"#,
            r#"{"id":5,"verdict":true}"#,
            r#"{"id":5}"#,
            r#"{"id":5,"verdict":"allow","errno":"EPERM"}"#,
            r#"{"id":5,"verdict":"deny","errno":"EFOO"}"#,
            r#"{"id":5,"verdict":"allow","and":"more"}"#,
            r#"{"id":5,"verdict":"allow","verdict":"deny"}"#,
            r#"{"id":5,"changes":[]}"#,
            r#"{"id":5,"verdict":"allow","changes":{}}"#,
            r#"{"id":5,"verdict":"allow","changes":[{"change":"all"}]}"#,
        ] {
            let said = answer(nonsense.as_bytes());
            assert!(matches!(said, Said::Nonsense(5, _)), "{nonsense}: {said:?}");
        }
        for garbage in [
            "",
            "allow",
            "{}",
            r#"{"id":"5","verdict":"allow"}"#,
            r#"{"id":-5,"verdict":"allow"}"#,
            r#"{"id":5,"id":6,"verdict":"allow"}"#,
            r#"{"id":5,"verdict":"allow"}{"id":6,"verdict":"allow"}"#,
            r#"{"changes":[{"change":"all"}]}"#,
            r#"{"changes":[],"verdict":"allow"}"#,
            "\u{0}",
        ] {
            let said = answer(garbage.as_bytes());
            assert!(matches!(said, Said::Garbage(_)), "{garbage}: {said:?}");
        }
        assert!(matches!(answer(b"\xff"), Said::Garbage(_)));
    }
}

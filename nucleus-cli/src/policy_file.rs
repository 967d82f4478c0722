//! A file of rules for the supervisor: `--policy FILE`.

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use nucleus_cgroup::Bytes;
use nucleus_supervisor::{ExecRule, NetRule, Ports, RandomSeed, TimeStart};
use serde::de::{Deserialize, Deserializer, Error as _};
use toml::Spanned;

use crate::commands::sandbox::{ASKED, Asked, MemoryPolicy, duration, server};

/// What the file says: as much as the options that a supervisor enforces.
///
/// A new kind of rules is a new section: a struct here, its words in
/// `commands/policy.rs`, and its use beside the option of the same meaning in
/// `commands/sandbox`, where both are put together by the one rule: lists add
/// up, a denial wins, and of two limits the stricter one counts.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct PolicyFile {
    pub(crate) network: Option<Network>,
    pub(crate) exec: Option<Exec>,
    pub(crate) paths: Paths,
    pub(crate) limits: Limits,
    pub(crate) determinism: Determinism,
    pub(crate) program: Option<Program>,
}

/// `[network]`: with it nobody is reached but whom it allows.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Network {
    pub(crate) allow: Vec<NetRule>,
    pub(crate) deny: Vec<NetRule>,
    pub(crate) bind: Option<Ports>,
    pub(crate) unix: Vec<PathBuf>,
    pub(crate) dns: Vec<SocketAddr>,
}

/// `[exec]`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Exec {
    /// Nothing else is executed then, and nothing at all if it is empty.
    pub(crate) allow: Option<Vec<ExecRule>>,
    pub(crate) deny: Vec<ExecRule>,
}

/// `[limits]`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(crate) struct Limits {
    #[serde(deserialize_with = "processes")]
    pub(crate) pids: Option<u64>,
    #[serde(deserialize_with = "some")]
    pub(crate) memory: Option<Bytes>,
    pub(crate) memory_policy: Option<MemoryPolicy>,
}

/// `[determinism]`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(crate) struct Determinism {
    #[serde(deserialize_with = "some")]
    pub(crate) time_start: Option<TimeStart>,
    #[serde(deserialize_with = "some")]
    pub(crate) random_seed: Option<RandomSeed>,
}

/// `[program]`: who is asked about what the rules let pass.
#[derive(Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Program {
    #[serde(deserialize_with = "words")]
    pub(crate) command: Vec<String>,
    #[serde(default, deserialize_with = "time")]
    pub(crate) timeout: Option<Duration>,
    #[serde(default = "asked")]
    pub(crate) asks: Vec<Asked>,
}

fn asked() -> Vec<Asked> {
    ASKED.to_vec()
}

/// `[paths]`: all absolute.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Paths {
    pub(crate) deny: Vec<PathBuf>,
    pub(crate) hide: Vec<PathBuf>,
    pub(crate) grant: Vec<PathBuf>,
}

impl PolicyFile {
    /// Reads a file.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the policy {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("cannot use the policy {}", path.display()))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let form: Form = toml::from_str(text).map_err(|error| {
            wrong(
                text,
                error.span().map_or(0, |span| span.start),
                error.message(),
            )
        })?;
        let read = Self {
            network: form.network.map(|it| it.read(text)).transpose()?,
            exec: form.exec.map(|it| it.read(text)).transpose()?,
            paths: form.paths.read(text)?,
            limits: form.limits,
            determinism: form.determinism,
            program: form.program,
        };
        ensure!(
            read != Self::default(),
            "it has no rules; write a section [network], [exec], [paths], [limits], [determinism] or [program]"
        );
        Ok(read)
    }
}

fn wrong(text: &str, at: usize, why: impl Display) -> anyhow::Error {
    let (line, column) = place(text, at);
    anyhow!("line {line}, column {column}: {why}")
}

/// The line, and the character in it, both from 1.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or_default();
    (before.matches('\n').count() + 1, line.chars().count() + 1)
}

/// A value that is written as an option has it, with the option's own words for
/// what is wrong.
struct Written<T>(T);

impl<'de, T: FromStr<Err: Display>> Deserialize<'de> for Written<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(D::Error::custom)
    }
}

/// The form of the file. Rules in lists are text with its place: of an error in
/// a list, only the place of the list would be known.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    network: Option<NetworkForm>,
    exec: Option<ExecForm>,
    #[serde(default)]
    paths: PathsForm,
    #[serde(default)]
    limits: Limits,
    #[serde(default)]
    determinism: Determinism,
    program: Option<Program>,
}

type Texts = Vec<Spanned<String>>;

#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct NetworkForm {
    allow: Texts,
    deny: Texts,
    #[serde(deserialize_with = "some")]
    bind: Option<Ports>,
    unix: Vec<PathBuf>,
    dns: Texts,
}

#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PathsForm {
    deny: Texts,
    hide: Texts,
    grant: Texts,
}

#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ExecForm {
    allow: Option<Texts>,
    deny: Texts,
}

impl NetworkForm {
    fn read(self, text: &str) -> anyhow::Result<Network> {
        Ok(Network {
            allow: all(text, &self.allow, str::parse)?,
            deny: all(text, &self.deny, str::parse)?,
            bind: self.bind,
            unix: self.unix,
            dns: all(text, &self.dns, server)?,
        })
    }
}

impl ExecForm {
    fn read(self, text: &str) -> anyhow::Result<Exec> {
        let allow = self.allow.as_deref();
        Ok(Exec {
            allow: allow.map(|it| all(text, it, str::parse)).transpose()?,
            deny: all(text, &self.deny, str::parse)?,
        })
    }
}

impl PathsForm {
    fn read(self, text: &str) -> anyhow::Result<Paths> {
        Ok(Paths {
            deny: all(text, &self.deny, absolute)?,
            hide: all(text, &self.hide, absolute)?,
            grant: all(text, &self.grant, absolute)?,
        })
    }
}

fn absolute(path: &str) -> Result<PathBuf, String> {
    if !path.starts_with('/') {
        return Err(format!(
            "{path:?} is not absolute; write it with its folders from the program's / on"
        ));
    }
    Ok(path.into())
}

fn all<T, E: Display>(
    text: &str,
    rules: &[Spanned<String>],
    parse: impl Fn(&str) -> Result<T, E>,
) -> anyhow::Result<Vec<T>> {
    let parse = |rule: &Spanned<String>| {
        parse(rule.get_ref()).map_err(|why| wrong(text, rule.span().start, why))
    };
    rules.iter().map(parse).collect()
}

fn some<'de, D: Deserializer<'de>, T: FromStr<Err: Display>>(
    from: D,
) -> Result<Option<T>, D::Error> {
    Written::deserialize(from).map(|Written(value)| Some(value))
}

fn time<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(from)?;
    duration(&text).map(Some).map_err(D::Error::custom)
}

fn words<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let words = Vec::<String>::deserialize(from)?;
    if words.is_empty() {
        return Err(D::Error::custom(
            "a command has a program, as in [\"./policy.py\", \"--strict\"]",
        ));
    }
    Ok(words)
}

fn processes<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    const MOST: u64 = 4_194_303;
    match u64::deserialize(from)? {
        number @ 1..=MOST => Ok(Some(number)),
        number => Err(D::Error::custom(format!(
            "{number} is no number of processes; it is 1 to {MOST}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_rule_can_be_written() {
        let text = r#"
            [network]
            allow = ["*.crates.io:443", "tcp://[2001:db8::1]:80"]
            deny = ["bad.crates.io"]
            bind = "8080,9000-9099"
            unix = ["/run/db.sock"]
            dns = ["192.0.2.53"]

            [exec]
            allow = []
            deny = ["git ... push ..."]

            [paths]
            deny = ["/home/me/.ssh"]
            hide = ["/etc/hostname"]
            grant = ["/home/me/.ssh/known_hosts"]

            [limits]
            pids = 50
            memory = "1G"
            memory-policy = "kill"

            [determinism]
            time-start = "2020-01-31T12:00:00Z"
            random-seed = "7"

            [program]
            command = ["./policy.py", "--strict"]
            timeout = "500ms"
            asks = ["exec", "process"]
        "#;
        let file = PolicyFile::parse(text).unwrap();
        let network = file.network.unwrap();
        assert_eq!(network.allow[0].to_string(), "*.crates.io:443");
        assert_eq!(network.bind.unwrap().to_string(), "8080,9000-9099");
        assert_eq!(network.dns[0].to_string(), "192.0.2.53:53");
        let exec = file.exec.unwrap();
        assert_eq!(exec.allow, Some(Vec::new()), "nothing is not unsaid");
        assert_eq!(exec.deny[0].to_string(), "git ... push ...");
        assert_eq!(file.limits.pids, Some(50));
        assert_eq!(file.limits.memory, Some(Bytes::new(1 << 30)));
        assert_eq!(file.limits.memory_policy, Some(MemoryPolicy::Kill));
        assert_eq!(file.determinism.random_seed, Some("7".parse().unwrap()));
        assert!(file.determinism.time_start.is_some());
        let [deny, hide, grant] = [&file.paths.deny, &file.paths.hide, &file.paths.grant];
        assert_eq!((deny.len(), hide.len(), grant.len()), (1, 1, 1));
        let program = file.program.unwrap();
        assert_eq!(program.asks, [Asked::Exec, Asked::Process]);
        assert_eq!(program.command, ["./policy.py", "--strict"]);
        assert_eq!(program.timeout, Some(Duration::from_millis(500)));
        let network = PolicyFile::parse("[network]").unwrap().network;
        assert_eq!(network, Some(Network::default()), "nobody is reached");
        assert_eq!(
            PolicyFile::parse("[exec]").unwrap().exec.unwrap().allow,
            None
        );
    }

    #[test]
    fn what_is_wrong_has_a_place_and_a_remedy() {
        let check = |text: &str, place: &str, remedy: &str| {
            let error = PolicyFile::parse(text).expect_err(text).to_string();
            assert!(error.starts_with(place), "{error}");
            assert!(error.contains(remedy), "{error}");
        };
        check("", "it has no rules", "[network]");
        check("[net]\n", "line 1, column 2: ", "expected one of `network`");
        check(
            "[network]\nallow = [\"a.test\",\n  \"10.0.0.1/8\"]",
            "line 3, column 3: ",
            "the block is 10.0.0.0/8",
        );
        check("[network]\nalow = []", "line 2, column 1: ", "`allow`");
        check("[network]\nbind = 80", "line 2, column 8: ", "string");
        check(
            "[exec]\ndeny = [\"é\", \"bin/sh\"]",
            "line 2, column 14: ",
            "from / on",
        );
        check(
            "[paths]\nhide = [\".env\"]",
            "line 2, column 9: ",
            "not absolute",
        );
        check("[limits]\npids = 0", "line 2, column 8: ", "1 to 4194303");
        check("[limits]\nmemory = \"1X\"", "line 2, column 10: ", "512M");
        check(
            "[limits]\nmemory-policy = \"ask\"",
            "line 2, column 17: ",
            "`kill`",
        );
        check(
            "[program]\ncommand = []",
            "line 2, column 11: ",
            "policy.py",
        );
        check(
            "[program]\ntimeout = \"5s\"",
            "line 1, column 1: ",
            "`command`",
        );
        check("[network\n", "line 1, column ", "]");
    }
}

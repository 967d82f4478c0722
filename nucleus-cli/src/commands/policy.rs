//! `nucleus policy`: what a file of rules means.

use std::io::{self, Write as _};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Subcommand;
use nucleus_supervisor::callback::PROTOCOL;
use nucleus_supervisor::{Determinism, Enforced, Enforcer, ExecPolicy, Guard as _, NetRules};
use serde_json::json;

use super::sandbox::{Asked, MemoryPolicy};
use crate::exit::Exit;
use crate::policy_file::PolicyFile;

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Say what the rules of a file mean, and who enforces each of them
    Check(CheckArgs),
}

/// Say what the rules of a file mean, and who enforces each of them
///
/// The kernel does, by a namespace, a cgroup or the filter, or nucleus itself:
/// as the listener of the filter or as the tracer of the program. An error says
/// in which line and column it is.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nucleus policy check policy.toml
  nucleus policy check policy.toml --json
  nucleus run --policy policy.toml -- make")]
pub(crate) struct CheckArgs {
    /// The file, as for nucleus run --policy
    file: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(command: &Command) -> anyhow::Result<Exit> {
    let Command::Check(args) = command;
    let rules = rules(&PolicyFile::read(&args.file)?);
    let text = if args.json {
        let rules: Vec<_> = rules.iter().map(Rule::to_json).collect();
        format!("{}\n", json!({ "rules": rules }))
    } else {
        rules.iter().map(Rule::to_line).collect()
    };
    io::stdout()
        .write_all(text.as_bytes())
        .context("writing to standard output")?;
    Ok(Exit::SUCCESS)
}

/// A rule in words.
struct Rule {
    section: &'static str,
    enforced: Enforced,
    /// Who enforces it where there is no cgroup v2.
    otherwise: Option<Enforcer>,
}

fn rules(file: &PolicyFile) -> Vec<Rule> {
    let mut rules = Vec::new();
    let mut add = |section, enforced: Vec<Enforced>, otherwise| {
        rules.extend(enforced.into_iter().map(|enforced| Rule {
            section,
            enforced,
            otherwise,
        }));
    };
    let words = |rule: String, by| vec![Enforced { rule, by }];
    if let Some(network) = &file.network {
        let rules = NetRules {
            allow: network.allow.clone(),
            deny: network.deny.clone(),
            bind: network.bind.clone(),
        };
        add("network", rules.enforced(true), None);
        for path in &network.unix {
            let rule = format!("with --host: use sockets at or below {}", path.display());
            add("network", words(rule, Enforcer::Listener), None);
        }
        for server in &network.dns {
            let rule = format!("names are looked up at {server}");
            add("network", words(rule, Enforcer::Listener), None);
        }
    }
    if let Some(exec) = &file.exec {
        let policy = ExecPolicy::new(exec.allow.clone(), exec.deny.clone());
        add("exec", policy.enforced(), None);
    }
    let paths = &file.paths;
    for (word, paths) in [
        ("deny", &paths.deny),
        ("hide", &paths.hide),
        ("grant", &paths.grant),
    ] {
        for path in paths {
            let rule = format!("{word} {} and what is below it", path.display());
            add("paths", words(rule, Enforcer::Listener), None);
        }
    }
    let limit = |rule| words(rule, Enforcer::Kernel);
    if let Some(most) = file.limits.pids {
        let rule = format!("at most {most} processes at a time");
        add("limits", limit(rule), Some(Enforcer::Tracer));
    }
    if let Some(size) = file.limits.memory {
        let beyond = match file.limits.memory_policy {
            Some(MemoryPolicy::Kill) => ", or be killed",
            Some(MemoryPolicy::Refuse) | None => "",
        };
        let rule = format!("at most {size} of memory{beyond}");
        add("limits", limit(rule), Some(Enforcer::Tracer));
    }
    let guard = Determinism::new(file.determinism.time_start, file.determinism.random_seed);
    add("determinism", guard.enforced(), None);
    if let Some(program) = &file.program {
        let command = program.command.join(" ");
        let rule = format!(
            "{command} may take more away while the program runs (version {PROTOCOL} of the protocol)"
        );
        add("program", words(rule, Enforcer::Tracer), None);
        for asked in &program.asks {
            let (kind, by) = match asked {
                Asked::Exec => ("program to execute that the rules allow", Enforcer::Tracer),
                Asked::Network => (
                    "peer and port that a rule on the network allows",
                    Enforcer::Listener,
                ),
                Asked::Path => ("use of a path that the rules allow", Enforcer::Listener),
                Asked::Process => ("process to make", Enforcer::Tracer),
                Asked::Memory => ("claim of memory", Enforcer::Tracer),
            };
            let rule = format!("what {command} says of each {kind}");
            add("program", words(rule, by), None);
        }
    }
    rules
}

impl Rule {
    fn to_line(&self) -> String {
        let Self {
            section,
            enforced,
            otherwise,
        } = self;
        match otherwise {
            None => format!("{section}: {enforced}\n"),
            Some(other) => {
                format!(
                    "{section}: {enforced} in a cgroup; where that is not to be had, the {other}\n"
                )
            }
        }
    }

    fn to_json(&self) -> serde_json::Value {
        let (by, part) = parts(self.enforced.by);
        json!({
            "section": self.section,
            "rule": self.enforced.rule,
            "enforced_by": by,
            "as": if self.otherwise.is_some() { Some("cgroup") } else { part },
            "without_cgroup": self.otherwise.and_then(|other| parts(other).1),
        })
    }
}

const fn parts(by: Enforcer) -> (&'static str, Option<&'static str>) {
    match by {
        Enforcer::Kernel => ("kernel", None),
        Enforcer::Filter => ("kernel", Some("filter")),
        Enforcer::Listener => ("supervisor", Some("listener")),
        Enforcer::Tracer => ("supervisor", Some("tracer")),
    }
}

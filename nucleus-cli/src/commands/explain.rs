//! `nucleus explain`: from denied calls to the change that allows them.

use std::io::{self, BufRead, Write};
use std::path::PathBuf;

use anyhow::{Context, bail};
use nucleus_audit::{RecordError, call_in_line};
use nucleus_profile::{AtomicFile, DecidedBy, Decision, Patch, PatchError, allow, decide};
use nucleus_seccomp::{Action, Arch, Profile, Rule, SeccompData};
use serde_json::{Map, Value, json};

use super::seccomp::call::Call;
use super::seccomp::target::TargetArgs;
use crate::exit::Exit;
use crate::profile_file;

/// Explain denied calls: what decided, and the smallest change that allows them
///
/// Takes one call from the command line; or, on standard input, one denial a
/// line: the JSON objects of --events and of `audit watch --json`, or audit
/// records as the kernel, auditd, ausearch (with -i, too) and journalctl print
/// them. Each change is checked: the patched profile is asked about the call, and
/// every call that it treats otherwise is listed. Several changes build on each
/// other; a denial that an earlier one covers is left out. Calls such as socket, ioctl and clone are allowed with
/// the arguments of the denied call only, where those are known.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nucleus explain --profile p.json socket 16 3 15
  nucleus run --seccomp-profile p.json --events 3 -- ./server 3>denials
  nucleus explain --profile p.json --apply <denials
  ausearch -m SECCOMP | nucleus explain --profile p.json")]
pub(crate) struct Args {
    /// Profile that denied the calls
    #[arg(long, value_name = "FILE")]
    profile: PathBuf,

    /// Write the changed profile
    #[arg(long)]
    apply: bool,

    /// Print one JSON object per call
    #[arg(long)]
    json: bool,

    /// Calling convention: x86_64, x32, i386, aarch64 or riscv64 [default: the target's]
    #[arg(long)]
    abi: Option<Arch>,

    #[command(flatten)]
    target: TargetArgs,

    /// A system call, by name or number
    #[arg(help_heading = "Arguments")]
    call: Option<String>,

    /// Its arguments: decimal, negative, or hexadecimal with 0x
    #[arg(help_heading = "Arguments", allow_negative_numbers = true)]
    args: Vec<String>,
}

/// A call that was denied.
struct Denied {
    data: SeccompData,
    /// The kernel's records have no arguments.
    args_known: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let target = args.target.resolve()?;
    let abi = args.abi.unwrap_or(target.arch);
    let profile = profile_file::read(&args.profile, None)?;
    let output = args
        .apply
        .then(|| AtomicFile::create(&args.profile))
        .transpose()?;
    let denied = match &args.call {
        Some(name) => vec![Denied {
            data: Call::from_words(abi, name, &args.args).data(abi)?,
            args_known: !args.args.is_empty(),
        }],
        None => read_denials(io::stdin().lock(), abi)?,
    };

    let mut out = io::stdout().lock();
    let mut unexplained = false;
    let mut patched = profile.clone();
    for denied in &denied {
        let decision = decide(&profile, &target, &denied.data)
            .context("the profile cannot be resolved for this target")?;
        let patch = allow(&patched, &target, &denied.data, denied.args_known);
        let allowed = matches!(patch, Err(PatchError::Allowed));
        if allowed && !matches!(decision.action, Action::Allow | Action::Log) {
            continue;
        }
        let text = if args.json {
            to_json(denied, decision, &profile, &patch).to_string()
        } else {
            to_text(denied, target.arch, decision, &profile, &patch)
        };
        writeln!(out, "{text}").context("cannot write to standard output")?;
        unexplained |= !allowed && patch.is_err();
        if let Ok(patch) = patch {
            patched = patch.profile;
        }
    }
    if let Some(output) = output {
        output.commit_with(patched.to_json().as_bytes())?;
    }
    Ok(if unexplained {
        Exit::DIFFERENT
    } else {
        Exit::SUCCESS
    })
}

/// The distinct denials of a stream, in the order in which they came.
fn read_denials(input: impl BufRead, abi: Arch) -> anyhow::Result<Vec<Denied>> {
    let mut denials: Vec<Denied> = Vec::new();
    for (number, line) in (1..).zip(input.split(b'\n')) {
        let line = line.context("cannot read standard input")?;
        let read = match line.trim_ascii().first() {
            None => continue,
            Some(b'{') => from_json(&line, abi),
            Some(_) => from_record(&line),
        };
        let Some(denied) = read.with_context(|| format!("standard input, line {number}"))? else {
            continue;
        };
        let known = denials.iter().any(|known| {
            let (a, b) = (&known.data, &denied.data);
            (a.arch, a.nr, a.args) == (b.arch, b.nr, b.args)
        });
        if !known {
            denials.push(denied);
        }
    }
    if denials.is_empty() {
        bail!("no denial on standard input; give a call, or the events of a run");
    }
    Ok(denials)
}

/// An event; `None` for the verdict at the end of a stream.
fn from_json(line: &[u8], abi: Arch) -> anyhow::Result<Option<Denied>> {
    let event: Map<String, Value> = serde_json::from_slice(line).context("not a JSON object")?;
    if event.contains_key("verdict") {
        return Ok(None);
    }
    // An entry of journalctl -o json.
    if let Some(Value::String(message)) = event.get("MESSAGE") {
        return match event.get("_AUDIT_TYPE_NAME") {
            Some(Value::String(kind)) if kind == "SECCOMP" => {
                from_record(format!("audit[0]: {message}").as_bytes())
            }
            _ => from_record(format!(" kernel: {message}").as_bytes()),
        };
    }
    let field = |name| event.get(name).filter(|value| !value.is_null());
    let args = field("args");
    let mut call = Map::new();
    for (name, value) in [
        ("syscall", field("syscall")),
        ("arch", field("arch").or_else(|| field("audit_arch"))),
        ("args", args),
    ] {
        if let Some(value) = value {
            call.insert(name.to_owned(), value.clone());
        }
    }
    let call: Call = serde_json::from_value(Value::Object(call)).context(
        "not an event: expected at least \"syscall\", with \"arch\" and \"args\" where known",
    )?;
    Ok(Some(Denied {
        data: call.data(abi)?,
        args_known: args.is_some(),
    }))
}

/// An audit record; `None` for what stands between those of seccomp in a log.
fn from_record(line: &[u8]) -> anyhow::Result<Option<Denied>> {
    let call = match call_in_line(line) {
        Ok(call) => call,
        Err(RecordError::NotSeccomp) if is_of_a_log(line) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    Ok(Some(Denied {
        data: SeccompData {
            nr: call.nr,
            arch: call.arch,
            instruction_pointer: call.instruction_pointer,
            args: [0; 6],
        },
        args_known: false,
    }))
}

/// What auditd, ausearch, dmesg and journalctl print about other things.
fn is_of_a_log(line: &[u8]) -> bool {
    let text = String::from_utf8_lossy(line);
    let begins = ["----", "time->", "type=", "node=", "-- ", "["];
    begins.iter().any(|begin| text.starts_with(begin))
        || [" type=", " kernel: ", "]: "]
            .iter()
            .any(|mark| text.contains(mark))
}

fn layer(action: Action) -> &'static str {
    if matches!(action, Action::Allow | Action::Log) {
        "not the profile, which allows the call: look at permissions, capabilities, Landlock and the sandbox's mounts"
    } else {
        "seccomp"
    }
}

fn because(decision: Decision, profile: &Profile) -> String {
    match decision.by {
        DecidedBy::Rule(index) => match profile.rules.get(index) {
            Some(rule) => {
                let comment = rule.comment.as_deref().map(|text| format!(" ({text})"));
                format!("rule {}{}", index + 1, comment.unwrap_or_default())
            }
            None => format!("rule {}", index + 1),
        },
        DecidedBy::Default => "the default action: no rule is about this call".to_owned(),
        DecidedBy::TooNew => {
            "the call is newer than any that the profile names, so that libraries fall back"
                .to_owned()
        }
        DecidedBy::Architecture => "the profile does not list this architecture".to_owned(),
        _ => "a part of the profile that this version cannot name".to_owned(),
    }
}

fn to_text(
    denied: &Denied,
    own: Arch,
    decision: Decision,
    profile: &Profile,
    patch: &Result<Patch, PatchError>,
) -> String {
    let arch = Arch::of(denied.data.arch, denied.data.nr);
    let foreign = arch.filter(|arch| *arch != own);
    let foreign = foreign.map_or_else(String::new, |arch| format!(" ({arch})"));
    let mut lines = vec![
        format!("{}{foreign}: {}", denied.data.describe(), decision.action),
        format!("  layer: {}", layer(decision.action)),
        format!("  decided by: {}", because(decision, profile)),
    ];
    match patch {
        Ok(patch) => {
            if let Some(arch) = patch.architecture {
                lines.push(format!(
                    "  change: list the architecture {}",
                    arch.oci_name()
                ));
            }
            for position in &patch.taken_from {
                lines.push(format!(
                    "  change: take the call out of rule {}",
                    position + 1
                ));
            }
            for rule in &patch.added {
                lines.push(format!("  change: add {}", rule_json(rule)));
            }
            lines.push(format!(
                "  checked: allows this call; newly allowed: {}",
                all(&patch.widened)
            ));
            if !patch.answered_otherwise.is_empty() {
                lines.push(format!(
                    "  note: denied with another errno than before, as they are no longer newer than \
                     all that the profile names: {}",
                    all(&patch.answered_otherwise)
                ));
            }
            if !denied.args_known {
                lines.push(
                    "  note: the arguments are not known, so that all are allowed; nucleus run --explain shows them"
                        .to_owned(),
                );
            }
        }
        Err(PatchError::Allowed) => {}
        Err(error) => lines.push(format!(
            "  no change: {:#}",
            anyhow::Error::msg(error.to_string())
        )),
    }
    lines.join("\n")
}

fn all(items: &[impl ToString]) -> String {
    let items: Vec<_> = items.iter().map(ToString::to_string).collect();
    items.join(", ")
}

/// A rule alone, as a profile writes it.
fn rule_json(rule: &Rule) -> Value {
    let mut alone = Profile::new(Action::Allow);
    alone.rules.push(rule.clone());
    serde_json::from_str::<Value>(&alone.to_json())
        .ok()
        .and_then(|profile| profile.pointer("/syscalls/0").cloned())
        .unwrap_or_default()
}

fn to_json(
    denied: &Denied,
    decision: Decision,
    profile: &Profile,
    patch: &Result<Patch, PatchError>,
) -> Value {
    let (change, refused) = match patch {
        Ok(patch) => (
            json!({
                "add": patch.added.iter().map(rule_json).collect::<Vec<_>>(),
                "take_out_of": patch.taken_from.iter().map(|at| at + 1).collect::<Vec<_>>(),
                "architecture": patch.architecture.map(Arch::oci_name),
                "newly_allowed": patch.widened.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "answered_otherwise": patch
                    .answered_otherwise
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>(),
            }),
            None,
        ),
        Err(PatchError::Allowed) => (Value::Null, None),
        Err(error) => (Value::Null, Some(error.to_string())),
    };
    json!({
        "call": denied.data.describe().to_string(),
        "arch": Arch::of(denied.data.arch, denied.data.nr).map(|arch| arch.to_string()),
        "args_known": denied.args_known,
        "action": decision.action.to_string(),
        "layer": layer(decision.action),
        "decided_by": because(decision, profile),
        "change": change,
        "no_change": refused,
    })
}

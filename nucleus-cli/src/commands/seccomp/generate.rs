//! `nucleus seccomp generate`: the smallest profile for some traces.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use nucleus_profile::{Error, GenerateOptions, Trace, generate, notes};
use nucleus_seccomp::{Action, Arch};

use super::output::OutputArgs;
use crate::exit::Exit;
use crate::report;

/// Makes the smallest OCI profile that allows what traces hold
///
/// Calls that the traces do not hold get EPERM; those that C libraries and
/// language runtimes probe for get ENOSYS, so that they fall back.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nucleus trace --host -o ls.trace -- ls -l /
  nucleus seccomp generate ls.trace -o ls.json
  nucleus seccomp generate first.trace second.trace --args --default-action kill_process")]
pub(crate) struct Args {
    /// Traces to allow, all of them
    #[arg(required = true, value_name = "TRACE")]
    traces: Vec<PathBuf>,

    #[command(flatten)]
    output: OutputArgs,

    /// Architecture of the machines that the profile is for [default: this machine's]
    #[arg(long)]
    arch: Option<Arch>,

    #[command(flatten)]
    options: Options,
}

/// How a profile is made of traces.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Profile")]
pub(crate) struct Options {
    /// Answer to calls that were not seen: errno(N), trap, kill_process, kill_thread or log
    /// [default: EPERM, and ENOSYS to calls that libraries probe for]
    #[arg(long, value_name = "ACTION", value_parser = parse_action, verbatim_doc_comment)]
    default_action: Option<Action>,

    /// Take traces that are known to miss calls
    #[arg(long)]
    allow_incomplete: bool,

    /// Allow calls such as socket and ioctl only with the arguments that were seen
    #[arg(long)]
    args: bool,
}

impl Options {
    /// The options for a profile for machines of `arch`.
    pub(crate) const fn resolve(&self, arch: Arch) -> GenerateOptions {
        let mut options = GenerateOptions::new(arch);
        options.default_action = self.default_action;
        options.allow_incomplete = self.allow_incomplete;
        options.narrow_arguments = self.args;
        options
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let arch = args
        .arch
        .or_else(Arch::native)
        .context("no table for this machine's architecture; name one with --arch")?;
    let traces: Vec<Trace> = args
        .traces
        .iter()
        .map(|path| read(path))
        .collect::<Result<_, _>>()?;
    let output = args.output.open()?;
    let profile = generate(&traces, &args.options.resolve(arch))
        .map_err(|error| name_the_file(error, &args.traces))?;
    for note in notes(&traces)? {
        report::note(note);
    }
    let json = profile.to_json();
    output.write(json.as_bytes())?;
    Ok(Exit::SUCCESS)
}

fn read(path: &Path) -> anyhow::Result<Trace> {
    let file = File::open(path).with_context(|| format!("cannot open the trace {path:?}"))?;
    Trace::read(BufReader::new(file)).with_context(|| format!("cannot use the trace {path:?}"))
}

/// Says which file it is that the library knows by its position.
fn name_the_file(error: Error, paths: &[PathBuf]) -> anyhow::Error {
    let position = match &error {
        Error::Incomplete { trace, .. } | Error::OtherArch { trace, .. } => Some(*trace),
        _ => None,
    };
    match position.and_then(|position| paths.get(position - 1)) {
        Some(path) => anyhow::Error::new(error).context(format!("cannot use the trace {path:?}")),
        None => error.into(),
    }
}

/// `errno(38)`, `trap`, `kill_process`... as the kernel names them, or the OCI
/// name without data.
fn parse_action(text: &str) -> Result<Action, String> {
    const EPERM: u16 = 1;
    const ACTIONS: [Action; 5] = [
        Action::KillProcess,
        Action::KillThread,
        Action::Trap(0),
        Action::Errno(EPERM),
        Action::Log,
    ];
    let number = text
        .strip_prefix("errno(")
        .and_then(|rest| rest.strip_suffix(')'));
    if let Some(number) = number {
        return number
            .parse()
            .ok()
            .filter(|number| (1..=4095).contains(number))
            .map(Action::Errno)
            .ok_or_else(|| format!("{number:?} is no errno: a number from 1 to 4095"));
    }
    ACTIONS
        .into_iter()
        .find(|action| {
            let shown = action.to_string();
            text == action.oci_name() || shown.split('(').next() == Some(text)
        })
        .ok_or_else(|| {
            "known are errno, errno(N), trap, kill_process, kill_thread, log \
             and their SCMP_ACT_ names"
                .to_owned()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_are_read() {
        let check = |text, expected| assert_eq!(parse_action(text).ok(), expected, "{text}");
        check("errno", Some(Action::Errno(1)));
        check("SCMP_ACT_ERRNO", Some(Action::Errno(1)));
        check("errno(38)", Some(Action::Errno(38)));
        check("trap", Some(Action::Trap(0)));
        check("kill_process", Some(Action::KillProcess));
        check("SCMP_ACT_LOG", Some(Action::Log));
        check("errno(0)", None);
        check("errno(4096)", None);
        check("errno(38", None);
        check("trap(7)", None);
        check("allow", None);
        check("", None);
    }
}

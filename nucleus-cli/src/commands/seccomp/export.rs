//! `nucleus seccomp export`: profiles in the words of other tools.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use nucleus_profile::AtomicFile;
use nucleus_seccomp::{CompileOptions, Endian};

use super::profile::Loaded;
use super::target::TargetArgs;
use crate::exit::Exit;
use crate::report;

/// Writes a profile in a form that another tool takes
///
/// What a form cannot say is refused, never left open: systemd cannot test
/// arguments, so calls that are allowed for some arguments only are refused
/// there and named on standard error.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nucleus seccomp export profile.json --to systemd >> unit.service
  nucleus seccomp export profile.json --to kubernetes --name tight | kubectl apply -f -
  bwrap --seccomp 9 ... 9< <(nucleus seccomp export profile.json --to bubblewrap)")]
pub(crate) struct Args {
    /// The profile; - is standard input, @default the sandbox's own
    profile: PathBuf,
    /// For which tool
    #[arg(long, value_enum)]
    to: Form,
    /// The object's name, for Kubernetes [default: the file's name]
    #[arg(long)]
    name: Option<String>,
    /// Where to write it [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    target: TargetArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// Lines for the [Service] section of a unit
    Systemd,
    /// A SeccompProfile object of the security profiles operator
    Kubernetes,
    /// A raw filter for --seccomp
    Bubblewrap,
    /// The profile without Docker's extensions, for config.json of a runtime
    Oci,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let loaded = Loaded::read(&args.profile)?;
    let policy = loaded.policy(&args.target)?;
    let target = args.target.resolve()?;
    let output = args.output.as_deref().map(AtomicFile::create).transpose()?;
    let context = || format!("exporting {}", args.profile.display());
    let bytes = match args.to {
        Form::Systemd => {
            let export = policy.to_systemd().with_context(context)?;
            if !export.narrowed.is_empty() {
                let calls: Vec<_> = export.narrowed.iter().map(ToString::to_string).collect();
                report::note(format_args!(
                    "note: systemd cannot test arguments, so these calls are refused altogether: {}",
                    calls.join(", ")
                ));
            }
            export.lines.into_bytes()
        }
        Form::Kubernetes => {
            let name = args
                .name
                .clone()
                .unwrap_or_else(|| object_name(&args.profile));
            let object = loaded.profile.to_kubernetes(&name, &target);
            object.with_context(context)?.into_bytes()
        }
        Form::Bubblewrap => policy
            .compile(&CompileOptions::default())
            .with_context(context)?
            .to_bytes(Endian::NATIVE),
        Form::Oci => loaded.profile.for_target(&target).to_json().into_bytes(),
    };
    match output {
        Some(file) => file.commit_with(&bytes)?,
        None => io::stdout()
            .write_all(&bytes)
            .context("writing to standard output")?,
    }
    Ok(Exit::SUCCESS)
}

/// A name that Kubernetes takes: lower-case letters, digits and `-`.
fn object_name(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let name: String = stem
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '-'
            }
        })
        .collect();
    match name.trim_matches('-') {
        "" => "profile".to_owned(),
        name => name.to_owned(),
    }
}

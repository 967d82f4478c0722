//! `nucleus seccomp export`: profiles in the words of other tools.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use nucleus_seccomp::{CompileOptions, Endian, Policy, Syscall, Target};
use serde_json::json;

use super::output::OutputArgs;
use super::profile::Loaded;
use super::target::TargetArgs;
use crate::exit::Exit;
use crate::{profile_file, report};

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
    #[command(flatten)]
    output: OutputArgs,
    /// Print one JSON object with the export as text, or in hexadecimal where
    /// it is raw, and the calls that the form had to narrow
    #[arg(long)]
    json: bool,
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
    let output = args.output.open()?;
    let exported = exported(args, &loaded, &policy, &target)
        .with_context(|| format!("exporting {}", args.profile.display()))?;
    let bytes = if args.json {
        format!("{}\n", exported.to_json(args.to)).into_bytes()
    } else {
        exported.warn();
        exported.bytes
    };
    output.write(&bytes)?;
    Ok(Exit::SUCCESS)
}

/// A profile in the words of another tool.
struct Exported {
    bytes: Vec<u8>,
    /// Calls that are refused altogether, because the form cannot say for
    /// which arguments they are allowed.
    narrowed: Vec<Syscall>,
}

fn exported(
    args: &Args,
    loaded: &Loaded,
    policy: &Policy,
    target: &Target,
) -> anyhow::Result<Exported> {
    let bytes = match args.to {
        Form::Systemd => {
            let export = policy.to_systemd()?;
            return Ok(Exported {
                bytes: export.lines.into_bytes(),
                narrowed: export.narrowed,
            });
        }
        Form::Kubernetes => {
            let name = match &args.name {
                Some(name) => name.clone(),
                None => object_name(&args.profile),
            };
            loaded.profile.to_kubernetes(&name, target)?.into_bytes()
        }
        Form::Bubblewrap => policy
            .compile(&CompileOptions::default())?
            .to_bytes(Endian::NATIVE),
        Form::Oci => loaded.profile.for_target(target).to_json().into_bytes(),
    };
    Ok(Exported {
        bytes,
        narrowed: Vec::new(),
    })
}

impl Exported {
    fn warn(&self) {
        if !self.narrowed.is_empty() {
            report::note(format_args!(
                "note: systemd cannot test arguments, so these calls are refused altogether: {}",
                self.names().join(", ")
            ));
        }
    }

    fn names(&self) -> Vec<String> {
        self.narrowed.iter().map(ToString::to_string).collect()
    }

    fn to_json(&self, form: Form) -> serde_json::Value {
        let (key, content) = match str::from_utf8(&self.bytes) {
            Ok(text) if form != Form::Bubblewrap => ("text", text.to_owned()),
            _ => ("hex", profile_file::hex(&self.bytes)),
        };
        json!({ "to": form.name(), key: content, "narrowed": self.names() })
    }
}

impl Form {
    const fn name(self) -> &'static str {
        match self {
            Self::Systemd => "systemd",
            Self::Kubernetes => "kubernetes",
            Self::Bubblewrap => "bubblewrap",
            Self::Oci => "oci",
        }
    }
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

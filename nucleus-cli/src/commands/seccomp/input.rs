//! Files that users name: filters, raw or as listings, and profiles.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use anyhow::Context as _;
use nucleus_seccomp::proof::Subject;
use nucleus_seccomp::{CompileOptions, Policy, Program};

use super::profile::Loaded;
use super::target::TargetArgs;

/// What a file says about system calls.
pub(crate) enum Filter {
    /// A profile, resolved.
    Policy(Policy),
    /// A filter.
    Program(Program),
}

impl Filter {
    /// Reads a profile or a filter; only a profile looks at the target.
    pub(crate) fn read(path: &Path, target: &TargetArgs) -> anyhow::Result<Self> {
        if Loaded::is_builtin(path) {
            return policy(path, target).map(Self::Policy);
        }
        let bytes = read(path)?;
        if is_json(&bytes) {
            Loaded::parse(path, bytes)?.policy(target).map(Self::Policy)
        } else {
            parse_filter(&bytes)
                .map(Self::Program)
                .with_context(|| path.display().to_string())
        }
    }

    /// The filter, made of the profile if it is one.
    pub(crate) fn into_program(self) -> anyhow::Result<Program> {
        match self {
            Self::Policy(policy) => policy
                .compile(&CompileOptions::default())
                .context("compiling the profile"),
            Self::Program(program) => Ok(program),
        }
    }

    pub(crate) const fn subject(&self) -> Subject<'_> {
        match self {
            Self::Policy(policy) => Subject::Policy(policy),
            Self::Program(program) => Subject::Program(program),
        }
    }
}

/// Reads a file, or standard input for `-`.
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    if path.as_os_str() == "-" {
        let mut bytes = Vec::new();
        io::stdin()
            .read_to_end(&mut bytes)
            .context("reading standard input")?;
        return Ok(bytes);
    }
    fs::read(path).with_context(|| format!("reading {}", path.display()))
}

/// Reads a profile, and says on standard error what has no effect in it.
pub(crate) fn policy(path: &Path, target: &TargetArgs) -> anyhow::Result<Policy> {
    Loaded::read(path)?.policy(target)
}

/// Reads a filter: a listing, or raw in either byte order.
pub(crate) fn filter(path: &Path) -> anyhow::Result<Program> {
    let bytes = read(path)?;
    if is_json(&bytes) {
        anyhow::bail!(
            "{} is JSON; make a filter of a profile with nucleus seccomp compile",
            path.display()
        );
    }
    parse_filter(&bytes).with_context(|| path.display().to_string())
}

/// No raw filter and no listing starts like a JSON object: 0x7b is the first
/// byte of no operation.
fn is_json(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().starts_with(b"{")
}

/// Every raw filter holds a zero byte, the upper one of an operation. No
/// listing does.
fn parse_filter(bytes: &[u8]) -> anyhow::Result<Program> {
    match str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => text.parse().context("no listing of a filter"),
        _ => {
            let (program, _) = Program::from_raw(bytes).context("no raw filter")?;
            Ok(program)
        }
    }
}

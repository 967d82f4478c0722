//! Files that users name: filters, raw or as listings, and profiles.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use anyhow::Context as _;
use nucleus_seccomp::Program;

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

/// Reads a filter: a listing, or raw in either byte order.
pub(crate) fn filter(path: &Path) -> anyhow::Result<Program> {
    parse_filter(&read(path)?).with_context(|| format!("{}", path.display()))
}

/// Every raw filter holds a zero byte: jump offsets of its return. No listing
/// does.
fn parse_filter(bytes: &[u8]) -> anyhow::Result<Program> {
    if let Ok(text) = str::from_utf8(bytes)
        && !text.contains('\0')
    {
        if text.trim_start().starts_with('{') {
            anyhow::bail!("this is JSON; make a filter of a profile with nucleus seccomp compile");
        }
        return text.parse().context("no listing of a filter");
    }
    let (program, _) = Program::from_raw(bytes).context("no raw filter")?;
    Ok(program)
}

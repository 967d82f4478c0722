//! Rules about the repository's files that no compiler checks.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use cargo_metadata::{Metadata, Package};

use crate::shell;

/// `lib.rs` is a map of the crate; a map that needs scrolling is none.
const LIB_LINES: usize = 80;
/// A longer file has more than one subject.
const FILE_LINES: usize = 600;

pub(crate) fn check(metadata: &Metadata) -> Result<()> {
    let root = shell::root();
    let listed = shell::output(
        Command::new("git")
            .args(["ls-files", "-z"])
            .current_dir(&root),
    )?;
    let mut faults = Vec::new();
    for name in listed
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
    {
        let path = Path::new(OsStr::from_bytes(name));
        let content = match std::fs::read(root.join(path)) {
            Ok(content) => content,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
        };
        file(&root, path, &content, &mut faults);
    }
    for package in metadata.workspace_packages() {
        library(package, &mut faults);
    }
    for fault in &faults {
        eprintln!("{fault}");
    }
    if !faults.is_empty() {
        bail!("{} faults", faults.len());
    }
    Ok(())
}

fn file(root: &Path, path: &Path, content: &[u8], faults: &mut Vec<String>) {
    let Ok(text) = std::str::from_utf8(content) else {
        return;
    };
    let name = path.display();
    if !text.is_empty() && !text.ends_with('\n') {
        faults.push(format!("{name}: the last line does not end"));
    }
    for (number, line) in (1..).zip(text.lines()) {
        // A checkout directly below / has too common a name to look for.
        if root.components().count() > 2 && line.contains(&*root.to_string_lossy()) {
            faults.push(format!(
                "{name}:{number}: names the directory of this checkout"
            ));
        }
        if ["<<<<<<< ", ">>>>>>> "]
            .iter()
            .any(|mark| line.starts_with(mark))
        {
            faults.push(format!("{name}:{number}: an unresolved merge"));
        }
    }
    if path.extension() != Some(OsStr::new("rs")) {
        return;
    }
    let lines = text
        .lines()
        .take_while(|line| *line != "#[cfg(test)]")
        .count();
    let limit = if path.ends_with("src/lib.rs") {
        LIB_LINES
    } else {
        FILE_LINES
    };
    if lines > limit {
        faults.push(format!(
            "{name}: {lines} lines without tests, more than {limit}"
        ));
    }
}

/// A library that others import has a README and a program that shows its use.
fn library(package: &Package, faults: &mut Vec<String>) {
    let is_library = package.targets.iter().any(cargo_metadata::Target::is_lib);
    let is_program = package.targets.iter().any(cargo_metadata::Target::is_bin);
    if !is_library || is_program {
        return;
    }
    let name = &package.name;
    let readme = package.manifest_path.with_file_name("README.md");
    if !readme.is_file() {
        faults.push(format!("{name}: README.md is missing"));
    }
    if !package
        .targets
        .iter()
        .any(cargo_metadata::Target::is_example)
    {
        faults.push(format!("{name}: there is no example to run"));
    }
}

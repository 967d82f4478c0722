//! Builds the tests and the programs they run, and says where they are.

use std::ffi::OsString;
use std::io::BufReader;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use cargo_metadata::{Artifact, Message};

use crate::shell::{self, cargo};

/// The variable that tells the tests which `nucleus` to run.
pub(crate) const NUCLEUS: &str = "NUCLEUS_BIN";

/// The package of the end-to-end tests.
pub(crate) const END_TO_END: &str = "nucleus-tests";

pub(crate) struct Built {
    pub(crate) nucleus: PathBuf,
    /// The programs of the workspace, `nucleus` among them.
    pub(crate) programs: Vec<PathBuf>,
    pub(crate) tests: Vec<Test>,
}

/// One test binary.
pub(crate) struct Test {
    /// `package` for the tests within a library, else `package::target`.
    pub(crate) name: String,
    /// An integration test: it works on the system more than on values.
    pub(crate) integration: bool,
    pub(crate) end_to_end: bool,
    pub(crate) executable: PathBuf,
    /// The directory of its package, where cargo starts it.
    pub(crate) package: PathBuf,
}

impl Built {
    pub(crate) fn end_to_end(&self) -> impl Iterator<Item = &Test> {
        self.tests.iter().filter(|test| test.end_to_end)
    }
}

/// Builds `nucleus` as it is to be shipped, and says where it is.
///
/// Linked statically, it need not look for libraries and symbols at each
/// start; relative relocations are packed, so that the kernel reads fewer
/// pages of the file (binutils 2.38, and any kernel).
///
/// Constants and code are one segment that can lie in huge pages: where the
/// page cache has it in folios of 2 MiB, two page faults map 4 MiB. Its address
/// is then a multiple of that, with 19 random bits instead of 28. This needs
/// lld, which is rustc's own linker on `x86_64`.
pub(crate) fn shipped() -> Result<PathBuf> {
    let mut words: Vec<OsString> = [
        "rustc",
        "--profile=shipped",
        "--locked",
        "--package=nucleus-cli",
        "--bin=nucleus",
        "--",
        "-Ctarget-feature=+crt-static",
    ]
    .map(OsString::from)
    .into();
    if cfg!(target_arch = "x86_64") {
        words.push("-Clink-arg=-Wl,-z,pack-relative-relocs".into());
        words.push("-Clink-arg=-Wl,--no-rosegment,-z,max-page-size=0x200000".into());
        let mut layout = OsString::from("-Clink-arg=-T");
        layout.push(shell::root().join("xtask/shipped.ld"));
        words.push(layout);
    }
    shell::run(cargo().args(words))?;
    let target = shell::metadata()?.target_directory.into_std_path_buf();
    Ok(target.join("shipped/nucleus"))
}

/// Builds every program and test of the workspace.
pub(crate) fn tests() -> Result<Built> {
    let programs = artifacts(&["build", "--workspace", "--exclude=xtask", "--bins"])?;
    let mut programs: Vec<PathBuf> = programs
        .into_iter()
        .filter(|artifact| artifact.target.is_bin())
        .filter_map(|artifact| Some(artifact.executable?.into_std_path_buf()))
        .collect();
    programs.sort();
    let nucleus = programs
        .iter()
        .find(|program| program.ends_with("nucleus"))
        .cloned()
        .context("cargo built no program named nucleus")?;

    let metadata = shell::metadata()?;
    let mut tests = Vec::new();
    for artifact in artifacts(&[
        "test",
        "--workspace",
        "--no-run",
        "--lib",
        "--bins",
        "--tests",
    ])? {
        let (true, Some(executable)) = (artifact.profile.test, artifact.executable) else {
            continue;
        };
        let package = metadata
            .packages
            .iter()
            .find(|package| package.id == artifact.package_id)
            .with_context(|| format!("{} is not of this workspace", artifact.package_id))?;
        let directory = artifact.manifest_path.parent();
        let name = if artifact.target.is_lib() {
            package.name.to_string()
        } else {
            format!("{}::{}", package.name, artifact.target.name)
        };
        tests.push(Test {
            name,
            integration: artifact.target.is_test(),
            end_to_end: package.name == END_TO_END && artifact.target.is_test(),
            executable: executable.into_std_path_buf(),
            package: directory
                .context("a manifest without directory")?
                .as_std_path()
                .to_path_buf(),
        });
    }
    tests.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Built {
        nucleus,
        programs,
        tests,
    })
}

/// Runs cargo; what it says it has built.
fn artifacts(args: &[&str]) -> Result<Vec<Artifact>> {
    let mut command = cargo();
    command
        .args(args)
        .args(["--locked", "--message-format=json-render-diagnostics"]);
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .context("starting cargo")?;
    let stdout = child.stdout.take().context("cargo has no output")?;
    let mut artifacts = Vec::new();
    for message in Message::parse_stream(BufReader::new(stdout)) {
        if let Message::CompilerArtifact(artifact) = message.context("reading cargo's messages")? {
            artifacts.push(artifact);
        }
    }
    let status = child.wait().context("waiting for cargo")?;
    if !status.success() {
        bail!("`cargo {}` failed: {status}", args.join(" "));
    }
    Ok(artifacts)
}

//! Where a command writes what it makes.

use std::io::{self, Write as _};
use std::path::PathBuf;

use anyhow::Context as _;
use nucleus_profile::AtomicFile;

/// A file or standard output.
#[derive(Debug, clap::Args)]
pub(super) struct OutputArgs {
    /// Where to write it [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// The output, open: what cannot be written is found out before the work.
#[derive(Debug)]
pub(super) struct Output(Option<AtomicFile>);

impl OutputArgs {
    pub(super) fn open(&self) -> anyhow::Result<Output> {
        let file = self.output.as_deref().map(AtomicFile::create).transpose()?;
        Ok(Output(file))
    }

    /// Whether the output is standard output.
    pub(super) const fn is_stdout(&self) -> bool {
        self.output.is_none()
    }
}

impl Output {
    pub(super) fn write(self, bytes: &[u8]) -> anyhow::Result<()> {
        match self.0 {
            Some(file) => Ok(file.commit_with(bytes)?),
            None => io::stdout()
                .write_all(bytes)
                .context("cannot write to standard output"),
        }
    }
}

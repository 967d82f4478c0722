//! `cargo xtask dist`: what a package ships.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap_complete::Shell;

use crate::{build, shell};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where to write
    #[arg(default_value = "target/dist")]
    directory: PathBuf,
}

const SHELLS: &[Shell] = &[Shell::Bash, Shell::Elvish, Shell::Fish, Shell::Zsh];

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let directory = shell::root().join(&args.directory);
    let program = made(&directory.join("bin"))?.join("nucleus");
    let built = build::shipped()?;
    std::fs::copy(&built, &program)
        .with_context(|| format!("copying {} to {}", built.display(), program.display()))?;
    let completions = made(&directory.join("completions"))?;
    for shell in SHELLS {
        let mut command = nucleus_cli::command();
        clap_complete::generate_to(*shell, &mut command, "nucleus", &completions)
            .with_context(|| format!("writing the completions of {shell}"))?;
    }
    let pages = made(&directory.join("man/man1"))?;
    clap_mangen::generate_to(nucleus_cli::command(), &pages)
        .with_context(|| format!("writing man pages to {}", pages.display()))?;
    eprintln!("written: {}", directory.display());
    Ok(ExitCode::SUCCESS)
}

fn made(directory: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(directory)
        .with_context(|| format!("making {}", directory.display()))?;
    Ok(directory.to_path_buf())
}

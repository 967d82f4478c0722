//! `cargo xtask dist`: what a package ships.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
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
    program(&directory)?;
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

/// Builds the program and puts it into `bin` of a package's directory.
///
/// It is written at once, not piece by piece as by the linker, so that the page
/// cache can hold it in large folios: each page fault maps sixteen pages of it,
/// and each process unmaps them. `BENCH.md` has what that saves.
pub(crate) fn program(directory: &Path) -> Result<PathBuf> {
    let program = made(&directory.join("bin"))?.join("nucleus");
    let built = build::shipped()?;
    let content = std::fs::read(&built).with_context(|| format!("reading {}", built.display()))?;
    // A new file: the old one may be running.
    let new = program.with_extension("new");
    std::fs::write(&new, content).with_context(|| format!("writing {}", new.display()))?;
    std::fs::set_permissions(&new, Permissions::from_mode(0o755))
        .and_then(|()| std::fs::rename(&new, &program))
        .with_context(|| format!("making {} of {}", program.display(), new.display()))?;
    Ok(program)
}

fn made(directory: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(directory)
        .with_context(|| format!("making {}", directory.display()))?;
    Ok(directory.to_path_buf())
}

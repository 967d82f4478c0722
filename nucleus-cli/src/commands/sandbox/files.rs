//! What the program sees of the host's files.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use clap::builder::{OsStringValueParser, TypedValueParser};
use nucleus_core::{Access, Isolation, RootMode};

use super::value::{size, split_at_byte};
use crate::workspace::OnExit;

/// Files and folders.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Files")]
pub(crate) struct FileArgs {
    /// Show a file or folder of the host; read-only unless :rw is added
    #[arg(
        short = 'v',
        long = "volume",
        value_name = "SRC:DST[:ro|rw]",
        value_parser = OsStringValueParser::new().try_map(volume)
    )]
    volumes: Vec<Volume>,

    /// Start in this folder, and let the program write there: really (rw, the
    /// default), not at all (ro), or to a copy in memory (cow)
    #[arg(
        long,
        value_name = "DIR[:rw|ro|cow]",
        value_parser = OsStringValueParser::new().map(workspace)
    )]
    workspace: Option<Workspace>,

    /// What to do in the end with what was written to a cow workspace [default: diff]
    ///
    /// Until then the copy is in memory alone: when nucleus is killed before
    /// all of it is on the disk, the workspace is as it was. A commit that is
    /// killed later is finished by `nucleus workspace commit`.
    #[arg(long, value_name = "ACTION", requires = "workspace")]
    on_exit: Option<OnExit>,

    /// Root directory of the sandbox, such as an unpacked container image
    #[arg(long, value_name = "DIR")]
    rootfs: Option<PathBuf>,

    /// What the program may do with the root directory [default: ro, or overlay
    /// with --rootfs-upper]
    #[arg(long, value_enum, requires = "rootfs")]
    rootfs_mode: Option<RootModeArg>,

    /// Keep in this folder what the program writes to the root directory: the
    /// next run with it sees that; empty at first
    #[arg(long, value_name = "DIR", requires = "rootfs")]
    rootfs_upper: Option<PathBuf>,

    /// Copy a file, or what a pipe holds, to memory that only the program can read
    #[arg(
        long = "secret",
        value_name = "SRC:DST",
        value_parser = OsStringValueParser::new().try_map(secret)
    )]
    secrets: Vec<(PathBuf, PathBuf)>,

    /// Give the program an empty folder in memory, of SIZE bytes (K, M, G)
    #[arg(
        long,
        value_name = "DST[:SIZE]",
        value_parser = OsStringValueParser::new().try_map(tmpfs)
    )]
    tmpfs: Vec<Tmpfs>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum RootModeArg {
    /// Read and execute
    #[default]
    Ro,
    /// Write too, to memory that is gone in the end or to --rootfs-upper
    Overlay,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Workspace {
    folder: PathBuf,
    mode: Mode,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    ReadWrite,
    ReadOnly,
    CopyOnWrite,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Volume {
    source: PathBuf,
    target: PathBuf,
    access: Access,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Tmpfs {
    target: PathBuf,
    size: Option<u64>,
}

impl FileArgs {
    /// The sandbox with these files.
    pub(crate) fn apply(&self, mut sandbox: Isolation) -> anyhow::Result<Isolation> {
        if let Some(rootfs) = &self.rootfs {
            let mode = match (self.rootfs_mode, &self.rootfs_upper) {
                (Some(RootModeArg::Ro), Some(_)) => bail!(
                    "--rootfs-upper keeps what is written, and with --rootfs-mode ro nothing is; leave one out"
                ),
                (Some(RootModeArg::Ro) | None, None) => RootMode::ReadOnly,
                (Some(RootModeArg::Overlay), _) | (None, Some(_)) => RootMode::Overlay,
            };
            sandbox = sandbox.rootfs(rootfs, mode);
            if let Some(upper) = &self.rootfs_upper {
                sandbox = sandbox.rootfs_upper(upper);
            }
        }
        if let (Some(Workspace { mode, .. }), Some(folder)) =
            (&self.workspace, self.workspace_folder()?)
        {
            super::super::workspace::check(&folder)?;
            sandbox = match mode {
                Mode::ReadWrite => sandbox.volume(&folder, &folder, Access::ReadWrite),
                Mode::ReadOnly => sandbox.volume(&folder, &folder, Access::ReadOnly),
                Mode::CopyOnWrite => sandbox.copy_on_write(&folder, &folder),
            };
        }
        for volume in &self.volumes {
            sandbox = sandbox.volume(&volume.source, &volume.target, volume.access);
        }
        for (source, target) in &self.secrets {
            sandbox = sandbox.secret(source, target);
        }
        for tmpfs in &self.tmpfs {
            sandbox = sandbox.tmpfs(&tmpfs.target, tmpfs.size);
        }
        Ok(sandbox)
    }

    /// The workspace by its real path, which is where the program sees it.
    pub(crate) fn workspace_folder(&self) -> anyhow::Result<Option<PathBuf>> {
        let Some(Workspace { folder, .. }) = &self.workspace else {
            return Ok(None);
        };
        let real = folder.canonicalize().with_context(|| {
            let remedy = if folder.as_os_str().as_bytes().contains(&b':') {
                "correct the path, or the mode behind its last colon, which is rw, ro or cow"
            } else {
                "create it, or correct the path"
            };
            format!("cannot find the workspace {}; {remedy}", folder.display())
        })?;
        ensure!(
            real.is_dir(),
            "the workspace {} is not a folder; grant a single file with --volume SRC:DST:rw",
            folder.display()
        );
        ensure!(
            real.parent().is_some(),
            "the workspace {} is the host's root directory; name a folder below it",
            folder.display()
        );
        Ok(Some(real))
    }

    /// What becomes of what was written to the workspace.
    pub(crate) fn on_exit(&self) -> anyhow::Result<OnExit> {
        let is_copy = matches!(
            &self.workspace,
            Some(Workspace {
                mode: Mode::CopyOnWrite,
                ..
            })
        );
        ensure!(
            is_copy || self.on_exit.is_none(),
            "--on-exit is for a workspace of which the program gets a copy; write --workspace DIR:cow"
        );
        let on_exit = self.on_exit.unwrap_or(OnExit::Diff);
        if is_copy && let Some(folder) = self.workspace_folder()? {
            on_exit.check(&folder)?;
        }
        Ok(on_exit)
    }
}

/// A folder's name may hold colons; what stands behind the last one is the mode
/// only if there is such a mode.
fn workspace(text: OsString) -> Workspace {
    let modes: [(&[u8], Mode); 3] = [
        (b":rw", Mode::ReadWrite),
        (b":ro", Mode::ReadOnly),
        (b":cow", Mode::CopyOnWrite),
    ];
    let found = modes.into_iter().find_map(|(suffix, mode)| {
        let folder = text.as_bytes().strip_suffix(suffix)?;
        Some(Workspace {
            folder: OsStr::from_bytes(folder).into(),
            mode,
        })
    });
    found.unwrap_or_else(|| Workspace {
        folder: text.into(),
        mode: Mode::ReadWrite,
    })
}

fn volume(text: OsString) -> Result<Volume, String> {
    let (source, rest) = split_at_byte(&text, b':');
    let rest = rest.ok_or("a volume is written SRC:DST, SRC:DST:ro or SRC:DST:rw")?;
    let (target, access) = split_at_byte(rest, b':');
    let access = match access.map(OsStr::as_bytes) {
        None | Some(b"ro") => Access::ReadOnly,
        Some(b"rw") => Access::ReadWrite,
        Some(_) => return Err("behind the second colon of a volume stands ro or rw".to_owned()),
    };
    if source.is_empty() || !target.as_bytes().starts_with(b"/") {
        return Err("a volume needs a source, and a target that begins with /".to_owned());
    }
    Ok(Volume {
        source: source.into(),
        target: target.into(),
        access,
    })
}

fn secret(text: OsString) -> Result<(PathBuf, PathBuf), String> {
    match split_at_byte(&text, b':') {
        (source, Some(target)) if !source.is_empty() && target.as_bytes().starts_with(b"/") => {
            Ok((source.into(), target.into()))
        }
        _ => Err("a secret is written SRC:DST, with a target that begins with /".to_owned()),
    }
}

fn tmpfs(text: OsString) -> Result<Tmpfs, String> {
    let (target, limit) = split_at_byte(&text, b':');
    let size = match limit {
        None => None,
        Some(limit) => Some(size(limit.to_str().unwrap_or_default())?),
    };
    Ok(Tmpfs {
        target: target.into(),
        size,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workspace_is_written_to_unless_it_says_else() {
        let check = |text: &str, folder: &str, mode| {
            let folder = PathBuf::from(folder);
            assert_eq!(workspace(text.into()), Workspace { folder, mode });
        };
        check("a", "a", Mode::ReadWrite);
        check("a:rw", "a", Mode::ReadWrite);
        check("a:ro", "a", Mode::ReadOnly);
        check("a:b:cow", "a:b", Mode::CopyOnWrite);
        check("a:b", "a:b", Mode::ReadWrite);
    }

    #[test]
    fn volumes_are_read_only_unless_they_say_so() {
        let check = |text: &str, expected: Option<(&str, &str, Access)>| {
            let parsed = volume(OsString::from(text)).ok();
            let expected = expected.map(|(source, target, access)| Volume {
                source: source.into(),
                target: target.into(),
                access,
            });
            assert_eq!(parsed, expected, "{text}");
        };
        check("a:/b", Some(("a", "/b", Access::ReadOnly)));
        check("/a:/b:ro", Some(("/a", "/b", Access::ReadOnly)));
        check("/a:/b:rw", Some(("/a", "/b", Access::ReadWrite)));
        check("/a", None);
        check("/a:b", None);
        check(":/b", None);
        check("/a:/b:rx", None);
        check("/a:/b:rw:z", None);
    }
}

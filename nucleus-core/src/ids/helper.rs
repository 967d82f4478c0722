//! newuidmap and newgidmap: set-user-ID programs that write the maps which a
//! user may not write.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::process::Pid;

use crate::error::IdError;
use crate::ids::range::IdRange;
use crate::ids::subordinate::Kind;

/// Where they are if PATH does not say: NixOS has them in the last.
const FOLDERS: &[&str] = &["/usr/bin", "/bin", "/usr/sbin", "/run/wrappers/bin"];

/// The two programs, found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Helpers {
    user: PathBuf,
    group: PathBuf,
    users: Vec<IdRange>,
    groups: Vec<IdRange>,
}

impl Helpers {
    /// Finds the programs that will write these maps.
    pub(crate) fn find(users: &[IdRange], groups: &[IdRange]) -> Result<Self, IdError> {
        Ok(Self {
            user: find("newuidmap")?,
            group: find("newgidmap")?,
            users: users.to_vec(),
            groups: groups.to_vec(),
        })
    }

    /// Writes the maps of a process of the caller.
    pub(crate) fn run(&self, process: Pid) -> Result<(), IdError> {
        run(&self.user, process, &self.users, Kind::User)?;
        run(&self.group, process, &self.groups, Kind::Group)
    }
}

fn find(name: &'static str) -> Result<PathBuf, IdError> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(FOLDERS.iter().map(PathBuf::from))
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(|path| rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok())
        .ok_or(IdError::NoHelper { helper: name })
}

fn run(path: &PathBuf, process: Pid, map: &[IdRange], kind: Kind) -> Result<(), IdError> {
    let fields = map
        .iter()
        .flat_map(|range| [range.inside(), range.outside(), range.count()]);
    let output = Command::new(path)
        .arg(process.as_raw_nonzero().to_string())
        .args(fields.map(|field| OsString::from(field.to_string())))
        .stdin(Stdio::null())
        .output()
        .map_err(|source| IdError::HelperStart {
            helper: path.clone(),
            source,
        })?;
    if output.status.success() {
        return Ok(());
    }
    Err(IdError::Helper {
        helper: path.clone(),
        said: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        file: kind.file(),
    })
}

//! What a test must leave as it was: mounts, processes, cgroups, network
//! interfaces.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, Signal, kill_process};

/// How long a test's remains may take to go away by themselves: a PID
/// namespace dies after its init, a cgroup is emptied after that.
const GRACE: Duration = Duration::from_secs(3);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Thing {
    // In the order in which they are removed.
    Process { pid: i32, name: String },
    Mount { id: u64, point: PathBuf },
    Cgroup(PathBuf),
    Interface(String),
}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { pid, name } => write!(f, "process {pid} ({name})"),
            Self::Mount { point, .. } => write!(f, "mount {}", point.display()),
            Self::Cgroup(path) => write!(f, "cgroup {}", path.display()),
            Self::Interface(name) => write!(f, "network interface {name}"),
        }
    }
}

/// What there is at one moment.
pub(crate) struct Machine(BTreeSet<Thing>);

impl Machine {
    pub(crate) fn look() -> Result<Self> {
        let mut things = BTreeSet::new();
        processes(&mut things).context("listing the processes")?;
        mounts(&mut things).context("listing the mounts")?;
        cgroups(Path::new("/sys/fs/cgroup"), &mut things).context("listing the cgroups")?;
        for entry in fs::read_dir("/sys/class/net").context("listing the network interfaces")? {
            let name = entry.context("listing the network interfaces")?.file_name();
            things.insert(Thing::Interface(name.to_string_lossy().into_owned()));
        }
        Ok(Self(things))
    }

    /// What is there now and was not then, after some time to go away.
    pub(crate) fn wait_for_the_same(&self) -> Result<BTreeSet<Thing>> {
        let deadline = Instant::now() + GRACE;
        loop {
            let now = Self::look()?;
            let left: BTreeSet<_> = now.0.difference(&self.0).cloned().collect();
            if left.is_empty() || Instant::now() > deadline {
                return Ok(left);
            }
            sleep(Duration::from_millis(2));
        }
    }

    /// Removes what can be removed, so that the next test is not blamed.
    /// Returns what the next test is measured by.
    pub(crate) fn clean_up(&self, left: &BTreeSet<Thing>) -> Result<Self> {
        for thing in left {
            let removed = match thing {
                Thing::Process { pid, .. } => match Pid::from_raw(*pid) {
                    Some(pid) => kill_process(pid, Signal::KILL).map_err(io::Error::from),
                    None => continue,
                },
                Thing::Mount { point, .. } => {
                    unmount(point, UnmountFlags::DETACH).map_err(io::Error::from)
                }
                Thing::Cgroup(_) | Thing::Interface(_) => continue,
            };
            if let Err(error) = removed {
                eprintln!("vm-init: cannot remove {thing}: {error}");
            }
        }
        let still = self.wait_for_the_same()?;
        // Children sort behind their parents.
        for thing in still.iter().rev() {
            if let Thing::Cgroup(path) = thing
                && let Err(error) = fs::remove_dir(path)
            {
                eprintln!("vm-init: cannot remove {thing}: {error}");
            }
        }
        Self::look()
    }
}

/// Every process but the kernel's, init and ourselves.
fn processes(things: &mut BTreeSet<Thing>) -> io::Result<()> {
    let ourselves = rustix::process::getpid().as_raw_nonzero().get();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let Some(stat) = unless_gone(fs::read_to_string(entry.path().join("stat")))? else {
            continue;
        };
        // pid (name) state parent ...; the name may hold anything.
        let Some((head, tail)) = stat.rsplit_once(')') else {
            continue;
        };
        let parent = tail.split_whitespace().nth(1).unwrap_or_default();
        if pid == ourselves || ["0", "2"].contains(&parent) {
            continue;
        }
        let name = head
            .split_once('(')
            .map_or(head, |(_, name)| name)
            .to_owned();
        things.insert(Thing::Process { pid, name });
    }
    Ok(())
}

fn mounts(things: &mut BTreeSet<Thing>) -> io::Result<()> {
    for line in fs::read_to_string("/proc/self/mountinfo")?.lines() {
        let mut fields = line.split(' ');
        let id = fields.next().and_then(|id| id.parse().ok());
        if let (Some(id), Some(point)) = (id, fields.nth(3)) {
            let point = PathBuf::from(point);
            things.insert(Thing::Mount { id, point });
        }
    }
    Ok(())
}

fn cgroups(directory: &Path, things: &mut BTreeSet<Thing>) -> io::Result<()> {
    let Some(entries) = unless_gone(fs::read_dir(directory))? else {
        return Ok(());
    };
    for entry in entries {
        let Some(entry) = unless_gone(entry)? else {
            continue;
        };
        if entry.file_type()?.is_dir() {
            let path = entry.path();
            cgroups(&path, things)?;
            things.insert(Thing::Cgroup(path));
        }
    }
    Ok(())
}

/// None for what went away while we looked.
fn unless_gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) if rustix::io::Errno::from_io_error(&error) == Some(rustix::io::Errno::SRCH) => {
            Ok(None)
        }
        Err(error)
            if rustix::io::Errno::from_io_error(&error) == Some(rustix::io::Errno::NODEV) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

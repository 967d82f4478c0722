//! When what is watched has come to its end.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::Context;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// Something to poll for.
#[derive(Debug)]
pub(super) enum TargetEnd {
    Never,
    Process(OwnedFd),
    /// `cgroup.events`, which reports a change as an exceptional condition,
    /// and whether a process has been seen in the cgroup.
    Cgroup(File, bool),
}

impl TargetEnd {
    pub(super) const fn never() -> Self {
        Self::Never
    }

    pub(super) fn of_process(pid: u32) -> anyhow::Result<Self> {
        let id = Pid::from_raw(pid.cast_signed()).context("0 is no process")?;
        let fd = pidfd_open(id, PidfdFlags::empty())
            .with_context(|| format!("cannot watch process {pid}"))?;
        Ok(Self::Process(fd))
    }

    /// A cgroup below the root of its hierarchy.
    pub(super) fn of_cgroup(root: &Path, cgroup: &Path) -> anyhow::Result<Self> {
        let path = root.join(cgroup).join("cgroup.events");
        let file = File::open(&path).with_context(|| {
            format!(
                "cannot watch the cgroup by {}; give a cgroup v2 other than the root, as a path below {}",
                path.display(),
                root.display()
            )
        })?;
        let mut end = Self::Cgroup(file, false);
        end.has_come()?;
        Ok(end)
    }

    pub(super) fn poll_fd(&self) -> Option<PollFd<'_>> {
        match self {
            Self::Never => None,
            Self::Process(fd) => Some(PollFd::new(fd, PollFlags::IN)),
            Self::Cgroup(file, _) => Some(PollFd::new(file, PollFlags::PRI)),
        }
    }

    /// Whether it has ended; a cgroup, once it has had a process and has none.
    pub(super) fn has_come(&mut self) -> anyhow::Result<bool> {
        match self {
            Self::Never => Ok(false),
            Self::Process(fd) => {
                let mut fds = [PollFd::new(fd, PollFlags::IN)];
                Ok(poll(&mut fds, Some(&Timespec::default()))
                    .context("cannot look at the process")?
                    > 0)
            }
            Self::Cgroup(file, seen) => {
                let mut events = String::new();
                let read = file
                    .seek(SeekFrom::Start(0))
                    .and_then(|_| file.read_to_string(&mut events));
                if read.is_err() {
                    // The cgroup was removed.
                    return Ok(true);
                }
                let populated = events.lines().any(|line| line == "populated 1");
                *seen |= populated;
                Ok(*seen && !populated)
            }
        }
    }
}

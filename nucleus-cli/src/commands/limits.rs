//! What a program may use: a cgroup for the run, and what it met there.

use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::Context;
use nucleus_cgroup::{Bytes, CpuMax, CpuSet, Group, Host, IoMax, Limits, PidsMax, Place, Stats};
use nucleus_core::Command;

use crate::report;

/// How long the last processes of a run may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Limits on what the program and all its children use together.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Limits (cgroup v2)")]
pub(crate) struct LimitArgs {
    /// Memory in all, such as 512M; no swap on top of it
    #[arg(long, value_name = "SIZE")]
    memory: Option<Bytes>,

    /// CPUs' worth of time, such as 2 or 0.5
    #[arg(long, value_name = "NUMBER")]
    cpus: Option<CpuMax>,

    /// CPUs to run on, such as 0-3,7
    #[arg(long, value_name = "LIST")]
    cpuset: Option<CpuSet>,

    /// Processes and threads at a time
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..=4_194_303))]
    pids: Option<u64>,

    /// Block I/O of a device, such as /dev/sda:rbps=10M,wiops=200; repeat for more
    #[arg(long, value_name = "DEVICE:LIMITS")]
    io_max: Vec<IoMax>,
}

impl LimitArgs {
    /// Puts the command into a cgroup with these limits; none is made for none.
    pub(crate) fn apply(&self, command: &mut Command) -> anyhow::Result<Option<Limited>> {
        let limits = self.limits()?;
        if limits == Limits::new() {
            return Ok(None);
        }
        let host = Host::detect().context("cannot limit the program")?;
        let place =
            Place::find(&host, &limits.controllers()).context("cannot limit the program")?;
        let group = Group::create(place, &limits).context("cannot limit the program")?;
        let directory = rustix::io::fcntl_dupfd_cloexec(group.as_fd(), 3)
            .context("cannot limit the program")?;
        command.cgroup(directory);
        Ok(Some(Limited {
            group,
            memory: self.memory,
            pids: self.pids,
        }))
    }

    fn limits(&self) -> anyhow::Result<Limits> {
        let mut limits = Limits::new();
        if let Some(size) = self.memory {
            limits = limits.memory_max(size).swap_max(Bytes::new(0));
        }
        if let Some(cpus) = self.cpus {
            limits = limits.cpu_max(cpus);
        }
        if let Some(cpus) = &self.cpuset {
            limits = limits.cpus(cpus.clone());
        }
        if let Some(tasks) = self.pids {
            // Init is in it, too.
            limits = limits.pids_max(PidsMax::new(tasks + 1)?);
        }
        for limit in &self.io_max {
            limits = limits.io_max(*limit);
        }
        Ok(limits.check()?)
    }
}

/// A run within limits. Dropped at its end, it says which of them the program
/// met, and removes the cgroup.
#[derive(Debug)]
pub(crate) struct Limited {
    group: Group,
    memory: Option<Bytes>,
    pids: Option<u64>,
}

impl Drop for Limited {
    fn drop(&mut self) {
        match self.group.stats() {
            Ok(stats) => self.tell(&stats),
            Err(error) => report::error(&anyhow::Error::new(error)),
        }
        if let Err(error) = self.group.remove(PATIENCE) {
            report::error(&anyhow::Error::new(error));
        }
    }
}

impl Limited {
    fn tell(&self, stats: &Stats) {
        let killed = stats.memory.map_or(0, |memory| memory.events.oom_kill);
        if let Some(size) = self.memory.filter(|_| killed > 0) {
            report::note(format_args!(
                "out of memory: {killed} of its processes killed at --memory {size}"
            ));
        }
        let refused = stats.pids.map_or(0, |pids| pids.refused);
        if let Some(tasks) = self.pids.filter(|_| refused > 0) {
            report::note(format_args!("{refused} forks refused at --pids {tasks}"));
        }
    }
}

//! What a program may use: a cgroup for the run, and what it met there.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::Context;
use nucleus_cgroup::{
    Bytes, Controller, CpuMax, CpuSet, CpuWeight, Group, Host, IoMax, Limits, PidsMax, Place,
    Stats, enter_scope, remove_after_maker,
};
use nucleus_core::Command;
use nucleus_supervisor::callback::{self, Power};
use nucleus_supervisor::{MemoryLimit, ProcessLimit, WhenFull};

use crate::exit::Exit;
use crate::policy_file;
use crate::report;
use crate::supervise::Rules;

/// How long the last processes of a run may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Limits on what the program and all its children use together.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Limits (cgroup v2; --memory and --pids also without)")]
pub(crate) struct CgroupArgs {
    /// Memory in all, such as 512M, with what is written to private folders.
    /// Without cgroup v2 a supervisor counts what processes claim, used or not
    #[arg(long, value_name = "SIZE")]
    memory: Option<Bytes>,

    /// What a claim beyond --memory meets where the supervisor counts; the
    /// kernel kills where a cgroup does
    #[arg(long, value_name = "POLICY", default_value = "refuse")]
    #[arg(requires = "memory")]
    memory_policy: MemoryPolicy,

    /// Memory above which the program is slowed down and its memory taken back
    #[arg(long, value_name = "SIZE")]
    memory_high: Option<Bytes>,

    /// Swap on top of the memory [default: none with --memory, else no limit]
    #[arg(long, value_name = "SIZE")]
    swap: Option<Bytes>,

    /// When --memory is met, end all processes together instead of one
    #[arg(long, requires = "memory")]
    oom_group: bool,

    /// CPUs' worth of time, such as 2 or 0.5
    #[arg(long, value_name = "NUMBER")]
    cpus: Option<CpuMax>,

    /// Share of busy CPUs against that of other programs, 1 to 10000; all have 100
    #[arg(long, value_name = "NUMBER", value_parser = weight)]
    cpu_weight: Option<CpuWeight>,

    /// CPUs to run on, such as 0-3,7
    #[arg(long, value_name = "LIST")]
    cpuset: Option<CpuSet>,

    /// Processes and threads at a time. Without cgroup v2 a supervisor counts
    /// processes alone
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..=4_194_303))]
    pids: Option<u64>,

    /// Block I/O of a device, such as /dev/sda:rbps=10M,wiops=200; repeat for more
    #[arg(long, value_name = "DEVICE:LIMITS")]
    io_max: Vec<IoMax>,
}

/// What becomes of a claim of memory beyond the limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum MemoryPolicy {
    /// It fails with ENOMEM
    #[default]
    Refuse,
    /// Its process is killed
    Kill,
}

impl CgroupArgs {
    /// These limits and a policy's: the stricter of two.
    pub(crate) fn with(&self, policy: policy_file::Limits) -> Self {
        let mut both = self.clone();
        both.pids = least(self.pids, policy.pids);
        both.memory = least(self.memory, policy.memory);
        if policy.memory_policy == Some(MemoryPolicy::Kill) {
            both.memory_policy = MemoryPolicy::Kill;
        }
        both
    }

    /// Puts the command into a cgroup with these limits; none is made for none.
    /// Where it cannot be had, `rules` get what a supervisor can count.
    pub(crate) fn apply(
        &self,
        command: &mut Command,
        rules: &mut Rules,
    ) -> anyhow::Result<Option<Limited>> {
        let limits = self.limits()?;
        if limits == Limits::new() {
            return Ok(None);
        }
        let limited = match self.make(&limits) {
            Ok(limited) => limited,
            Err(error) if self.needs_cgroup() => {
                return Err(error.context("cannot limit the program"));
            }
            Err(error) => {
                self.supervise(rules, &error);
                return Ok(None);
            }
        };
        if let Some(arbiter) = &rules.arbiter {
            self.let_tighten(arbiter.context(), &limited)?;
        }
        let directory = rustix::io::fcntl_dupfd_cloexec(limited.group.as_fd(), 3)
            .context("cannot limit the program")?;
        command.cgroup(directory);
        Ok(Some(limited))
    }

    /// Lets a policy program lower what is limited.
    fn let_tighten(&self, context: &callback::Context, limited: &Limited) -> anyhow::Result<()> {
        let group = || Host::detect()?.open(limited.group.path());
        if let Some(most) = self.pids {
            let group = group()?;
            context.limits_by(Power::Processes, move |fewer| {
                // Init is in it, too.
                let tasks = PidsMax::new(fewer.min(most) + 1).map_err(refused)?;
                Limits::new().pids_max(tasks).apply(&group).map_err(refused)
            });
        }
        if let Some(most) = self.memory {
            let group = group()?;
            context.limits_by(Power::Memory, move |less| {
                let limits = Limits::new().memory_max(Bytes::new(less.min(most.get())));
                limits
                    .check()
                    .map_err(refused)?
                    .apply(&group)
                    .map_err(refused)
            });
        }
        Ok(())
    }

    /// Whether something is asked for that nothing but a cgroup can limit.
    fn needs_cgroup(&self) -> bool {
        self.memory_high.is_some()
            || self.swap.is_some()
            || self.oom_group
            || self.cpus.is_some()
            || self.cpu_weight.is_some()
            || self.cpuset.is_some()
            || !self.io_max.is_empty()
    }

    fn supervise(&self, rules: &mut Rules, why: &anyhow::Error) {
        if let Some(most) = self.pids {
            let option = format!("--pids {most}");
            report::note(format_args!(
                "{option} is enforced by the supervisor, which does not count threads: {why:#}"
            ));
            let mut guard = ProcessLimit::new(most, option);
            if let Some(arbiter) = &rules.arbiter {
                guard = guard.tightened_by(arbiter.context());
            }
            rules.guards.push(Box::new(guard));
        }
        if let Some(size) = self.memory {
            let option = format!("--memory {size}");
            report::note(format_args!(
                "{option} is enforced by the supervisor, which counts what is claimed: {why:#}"
            ));
            let when_full = match self.memory_policy {
                MemoryPolicy::Refuse => WhenFull::Refuse,
                MemoryPolicy::Kill => WhenFull::Kill,
            };
            let mut guard = MemoryLimit::new(size.get(), option, when_full);
            if let Some(arbiter) = &rules.arbiter {
                guard = guard.tightened_by(arbiter.context());
            }
            rules.guards.push(Box::new(guard));
            rules.memory = Some(size.get());
        }
    }

    fn make(&self, limits: &Limits) -> anyhow::Result<Limited> {
        let Found { place, scope } = Found::for_controllers(&limits.controllers())?;
        let group = Group::create(place, limits)?;
        let janitor =
            start_janitor(group.path()).context("cannot start the process that tidies")?;
        Ok(Limited {
            group,
            janitor,
            scope,
            memory: self.memory,
            pids: self.pids,
        })
    }

    fn limits(&self) -> anyhow::Result<Limits> {
        let mut limits = Limits::new();
        if let Some(size) = self.memory {
            limits = limits.memory_max(size).swap_max(Bytes::new(0));
        }
        if let Some(size) = self.memory_high {
            limits = limits.memory_high(size);
        }
        if let Some(size) = self.swap {
            limits = limits.swap_max(size);
        }
        if self.oom_group {
            limits = limits.oom_group();
        }
        if let Some(weight) = self.cpu_weight {
            limits = limits.cpu_weight(weight);
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

/// A cgroup below which a limited one can be made.
pub(crate) struct Found {
    pub(crate) place: Place,
    /// The scope of systemd's that this process has moved to for it.
    pub(crate) scope: Option<String>,
}

impl Found {
    /// Looks at the own cgroup and those above. A user who may use none of them
    /// gets a scope from the user's systemd, once; root has no need of one.
    pub(crate) fn for_controllers(controllers: &BTreeSet<Controller>) -> anyhow::Result<Self> {
        let host = Host::detect()?;
        let none = match Place::find(&host, controllers) {
            Ok(place) => return Ok(Self { place, scope: None }),
            Err(error @ nucleus_cgroup::Error::NoPlace { .. }) => error,
            Err(error) => return Err(error.into()),
        };
        if rustix::process::geteuid().is_root() {
            return Err(none.into());
        }
        match enter_scope(&host) {
            Ok(scope) => Ok(Self {
                place: Place::find(&Host::detect()?, controllers)?,
                scope: Some(scope),
            }),
            Err(error) => {
                let why = anyhow::Error::new(error);
                Err(anyhow::Error::new(none).context(format!("systemd gives no scope ({why:#})")))
            }
        }
    }
}

/// A limit that cannot be, with the whole reason in its words.
fn refused(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::other(format!("{:#}", anyhow::Error::new(error)))
}

fn least<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    one.into_iter().chain(other).min()
}

fn weight(text: &str) -> Result<CpuWeight, String> {
    let number = text
        .parse()
        .map_err(|_not_a_number| format!("{text:?} is no whole number"))?;
    CpuWeight::new(number).map_err(|error| error.to_string())
}

/// A run within limits. Dropped at its end, it says which of them the program
/// met, and removes the cgroup.
#[derive(Debug)]
pub(crate) struct Limited {
    group: Group,
    janitor: Child,
    scope: Option<String>,
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
        // Waiting closes its standard input first, which is what it waits for.
        if let Err(error) = self.janitor.wait() {
            report::note(format_args!(
                "cannot wait for the process that tidies: {error}"
            ));
        }
    }
}

impl Limited {
    /// Where it is, and how that was come by.
    pub(crate) fn describe(&self) -> String {
        let path = self.group.path().display();
        match &self.scope {
            Some(scope) => format!(
                "limits are on cgroup {path}, in {scope}, which systemd has made for this run"
            ),
            None => format!("limits are on cgroup {path}"),
        }
    }

    fn tell(&self, stats: &Stats) {
        let killed = stats.memory.map_or(0, |memory| memory.events.oom_kill);
        if let Some(size) = self.memory.filter(|_| killed > 0) {
            report::note(format_args!(
                "out of memory: {killed} of its processes killed at --memory {size}"
            ));
        }
        let refused = stats.pids.map_or(0, |pids| pids.refused);
        if let Some(tasks) = self.pids.filter(|_| refused > 0) {
            report::note(format_args!("forks refused at --pids {tasks}: {refused}"));
        }
    }
}

/// A process of its own that removes the cgroup if this one is killed.
#[derive(Debug, clap::Args)]
pub(crate) struct JanitorArgs {
    group: PathBuf,
}

/// Waits for the end of standard input, whose other end nucleus holds for as
/// long as it lives, and removes what nucleus has not removed itself.
pub(crate) fn janitor(args: &JanitorArgs) -> anyhow::Result<Exit> {
    std::io::stdin()
        .read_to_end(&mut Vec::new())
        .context("cannot wait for the end of nucleus")?;
    remove_after_maker(&Host::detect()?, &args.group, PATIENCE)?;
    Ok(Exit::SUCCESS)
}

/// In a process group of its own: what ends a job at the terminal must not end
/// what tidies behind it.
fn start_janitor(group: &Path) -> std::io::Result<Child> {
    std::process::Command::new("/proc/self/exe")
        .arg0("nucleus")
        .arg("cgroup-janitor")
        .arg(group)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .current_dir("/")
        .spawn()
}

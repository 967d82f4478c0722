//! `nucleus audit watch`: denials of running processes as they happen.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use nucleus_audit::{
    Belonging, DenialLogger, DenialReport, Denials, LogKind, LogPurpose, LogSource, ProcFs, Scope,
    Selection, Source as _, Stopper, Target,
};
use nucleus_cgroup::Host;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::find_cgroup::{self, Wanted};
use super::line::Human;
use super::target_end::TargetEnd;
use crate::event_json::{Line, Verdict};
use crate::exit::Exit;
use crate::report;
use crate::signals::Signals;

/// Shows the system calls that seccomp filters deny, as they happen
///
/// Reads the kernel's own records, so the processes need not have been started
/// by nucleus; their filters must log (most runtimes' do on request; kills are
/// always logged). Runs until interrupted or the target ends, and ends with
/// the verdict: complete, or what was lost.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nucleus audit watch --all
  nucleus audit watch --pid 4321 --json
  nucleus audit watch --unit nginx
  nucleus audit watch --container 3f2a91c0
  nucleus audit watch --cgroup system.slice/nginx.service")]
pub(crate) struct Args {
    #[command(flatten)]
    selection: SelectionArgs,

    /// With --pid: also every process in its PID namespace, if it has one of its own
    #[arg(long, requires = "pid")]
    namespace: bool,

    /// Stream of the kernel to read
    #[arg(long, value_name = "SOURCE", default_value = "auto")]
    source: SourceArg,

    /// Print one JSON object per denial, the verdict as the last
    #[arg(long)]
    json: bool,

    /// Also show denials that may or may not be the target's
    #[arg(long)]
    unattributed: bool,
}

/// Which processes.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct SelectionArgs {
    /// Watch a process and its descendants
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pid: Option<u32>,

    /// Watch a cgroup and those below it
    #[arg(long, value_name = "PATH")]
    cgroup: Option<PathBuf>,

    /// Watch a systemd unit; a service, where the name has no type
    #[arg(long, value_name = "NAME")]
    unit: Option<String>,

    /// Watch a container of docker, podman or containerd, by the beginning of its id
    #[arg(long, value_name = "ID")]
    container: Option<String>,

    /// Watch every process
    #[arg(long)]
    all: bool,
}

impl SelectionArgs {
    /// The cgroup that is named in whatever way, from the hierarchy's root.
    fn cgroup(&self, root: &Path) -> anyhow::Result<Option<PathBuf>> {
        let wanted = match (&self.cgroup, &self.unit, &self.container) {
            (Some(path), _, _) => return Ok(Some(below(root, path).to_owned())),
            (None, Some(name), _) => Wanted::Unit(name),
            (None, None, Some(id)) => Wanted::Container(id),
            (None, None, None) => return Ok(None),
        };
        find_cgroup::find(root, wanted).map(Some)
    }
}

/// The streams by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum SourceArg {
    /// The best that works here
    Auto,
    /// Audit netlink; needs CAP_AUDIT_READ
    Audit,
    /// The kernel's log: loses records under load, and says so
    Kmsg,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let signals = Signals::block().context("cannot block signals to end in order")?;
    let root = hierarchy(Host::detect()?.mount_points());
    let cgroup = args.selection.cgroup(&root)?;
    let source = open(args.source)?;
    let end = match (args.selection.pid, &cgroup) {
        (Some(pid), _) => TargetEnd::of_process(pid)?,
        (None, Some(cgroup)) => TargetEnd::of_cgroup(&root, cgroup)?,
        (None, None) => TargetEnd::never(),
    };
    let target_pid = args.selection.pid;
    let denials = Denials::new(scope(args, cgroup, &root)?);
    let stopper = source.stopper();
    let (json, unattributed) = (args.json, args.unattributed);
    let logger = DenialLogger::start(source, denials, move |event, belonging| {
        if belonging == Belonging::Unattributed && !unattributed {
            return;
        }
        let written = if json {
            print(&Line::new(event, belonging, target_pid))
        } else {
            print(&Human(event, belonging))
        };
        if written.is_err() {
            stop(&stopper);
        }
    })?;
    wait(&signals, end, logger.stopper())?;
    let report = logger.finish()?;
    conclude(&report, json)?;
    Ok(Exit::SUCCESS)
}

fn open(source: SourceArg) -> anyhow::Result<LogSource> {
    let purpose = LogPurpose::Denials;
    Ok(match source {
        SourceArg::Audit => LogSource::open(LogKind::Audit, purpose)?,
        SourceArg::Kmsg => LogSource::open(LogKind::Kmsg, purpose)?,
        SourceArg::Auto => {
            let (source, refused) = LogSource::open_best(purpose)?;
            for error in refused {
                report::note(format_args!(
                    "reading /dev/kmsg, which may lose records: {error}"
                ));
            }
            report::note(format_args!("source: {}", source.name()));
            source
        }
    })
}

fn scope(args: &Args, cgroup: Option<PathBuf>, root: &Path) -> anyhow::Result<Scope> {
    if args.selection.all {
        return Ok(Scope::All);
    }
    let selection = Selection {
        pid: args.selection.pid,
        cgroup: cgroup.map(|cgroup| Path::new("/").join(cgroup)),
        namespace: args.namespace,
    };
    let processes = ProcFs::default().cgroups_at(root);
    if !processes.is_told_births() {
        report::note(
            "the kernel does not tell of new processes here (CAP_NET_ADMIN, CONFIG_PROC_EVENTS): \
             denials of those that live a few milliseconds may stay unattributed",
        );
    }
    Ok(Scope::Target(Target::new(selection, Box::new(processes))?))
}

/// Where cgroup v2 is mounted for all to use: where it is alone, where systemd
/// has it beside version 1, or elsewhere.
fn hierarchy<'a>(mount_points: impl Iterator<Item = &'a Path>) -> PathBuf {
    const ALONE: &str = "/sys/fs/cgroup";
    const BESIDE: &str = "/sys/fs/cgroup/unified";
    let all: Vec<_> = mount_points.collect();
    let known = [ALONE, BESIDE].map(Path::new);
    let known = known.iter().find(|known| all.contains(known));
    known
        .or(all.first())
        .map_or_else(|| PathBuf::from(ALONE), |path| path.to_path_buf())
}

/// The path below the hierarchy's root, however it was written.
fn below<'a>(root: &Path, cgroup: &'a Path) -> &'a Path {
    let below = cgroup.strip_prefix(root).unwrap_or(cgroup);
    below.strip_prefix("/").unwrap_or(below)
}

fn print(line: &impl std::fmt::Display) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

/// Nobody reads any more: end. A reader that cannot be woken says so itself.
fn stop(stopper: &Stopper) {
    if let Err(error) = stopper.stop() {
        report::note(error);
    }
}

/// Waits for a signal, the end of the target or of the reader.
fn wait(signals: &Signals, mut end: TargetEnd, stopper: Stopper) -> anyhow::Result<()> {
    loop {
        let mut fds = vec![
            PollFd::new(signals, PollFlags::IN),
            PollFd::new(&stopper, PollFlags::IN),
        ];
        fds.extend(end.poll_fd());
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno).context("cannot wait for the target's end"),
        }
        let [signalled, stopped] =
            [0, 1].map(|at| fds.get(at).is_some_and(|fd| !fd.revents().is_empty()));
        drop(fds);
        if stopped || end.has_come()? {
            return Ok(());
        }
        if signalled
            && signals
                .next()
                .context("cannot read the signal that arrived")?
                .is_some()
        {
            return Ok(());
        }
    }
}

fn conclude(report: &DenialReport, json: bool) -> anyhow::Result<()> {
    if json {
        return print(&Verdict(report)).context("cannot write the verdict");
    }
    let total: u64 = report.denials.iter().map(|denial| denial.count).sum();
    report::note(format_args!(
        "{total} denials, {} that may not be the target's; {}",
        report.unattributed,
        report::verdict(&report.completeness)
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hierarchy_is_where_version_2_is_mounted() {
        let check = |mounts: &[&str], expected: &str| {
            let found = hierarchy(mounts.iter().map(Path::new));
            assert_eq!(found, Path::new(expected), "{mounts:?}");
        };
        check(&["/sys/fs/cgroup"], "/sys/fs/cgroup");
        check(
            &["/run/a", "/sys/fs/cgroup/unified"],
            "/sys/fs/cgroup/unified",
        );
        check(&["/mnt", "/run/a"], "/mnt");
        check(&[], "/sys/fs/cgroup");
    }

    #[test]
    fn a_cgroup_may_be_written_in_three_ways() {
        let root = Path::new("/sys/fs/cgroup/unified");
        for written in [
            "a/b.service",
            "/a/b.service",
            "/sys/fs/cgroup/unified/a/b.service",
        ] {
            assert_eq!(below(root, Path::new(written)), Path::new("a/b.service"));
        }
    }
}

//! What a scope asks about processes, and the answers of `/proc`.

use std::fmt;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use super::births::{Births, Subscription};
use super::clock;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::time::ClockId;

/// How many processes are held by descriptor; further ones are looked up.
const MAX_HANDLES: usize = 128;
/// `USER_HZ`, in which `/proc` tells times: 100 on every architecture here.
const TICKS: u64 = 100;

/// A process at one moment. Its id may be another's later; id and start time
/// together are its own.
#[derive(Debug, Clone)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// When it started, in clock ticks since boot: field 22 of `/proc/PID/stat`.
    pub start: u64,
    /// The same on the wall clock, to some 10 ms.
    pub started: SystemTime,
    /// Its parent, or the reaper that adopted it.
    pub parent: u32,
    /// Its cgroup v2, as a path below the root of the hierarchy.
    pub cgroup: Option<PathBuf>,
    /// The inode of its PID namespace.
    pub pid_namespace: Option<u64>,
    handle: Option<Arc<Handle>>,
}

impl Process {
    /// A process as a source other than `/proc` knows it.
    #[must_use]
    pub const fn new(pid: u32, start: u64, started: SystemTime, parent: u32) -> Self {
        Self {
            pid,
            start,
            started,
            parent,
            cgroup: None,
            pid_namespace: None,
            handle: None,
        }
    }
}

/// A source of processes: `/proc`, or a made one in tests.
pub trait Processes: fmt::Debug + Send {
    /// The process that has this id now.
    fn find(&self, pid: u32) -> Option<Process>;

    /// Whether this very process still runs. Must be cheap.
    fn runs(&self, process: &Process) -> bool;

    /// The children of a process.
    fn children(&self, pid: u32) -> Vec<u32>;

    /// The processes in a cgroup and below it.
    fn in_cgroup(&self, cgroup: &Path) -> Vec<u32>;

    /// All processes.
    fn all(&self) -> Vec<u32>;

    /// The processes made since the last call; `None` where the source cannot
    /// tell, so that only those are known that live long enough to be seen.
    fn born(&mut self) -> Option<Births>;

    /// The time now, by the clock that records are stamped with.
    fn now(&self) -> SystemTime;
}

/// Processes as `/proc` and the cgroup v2 hierarchy show them.
#[derive(Debug)]
pub struct ProcFs {
    proc: PathBuf,
    cgroup: PathBuf,
    handles: Arc<AtomicUsize>,
    subscription: Option<Subscription>,
}

impl Default for ProcFs {
    /// Those of this machine. Where the kernel and this process's privileges
    /// allow it, its process events are used too: then a process is known
    /// however short it lives.
    fn default() -> Self {
        Self {
            subscription: Subscription::new().ok(),
            ..Self::new("/proc", "/sys/fs/cgroup")
        }
    }
}

impl ProcFs {
    /// With the roots of the two file systems, and no process events.
    pub fn new(proc: impl Into<PathBuf>, cgroup: impl Into<PathBuf>) -> Self {
        Self {
            proc: proc.into(),
            cgroup: cgroup.into(),
            handles: Arc::default(),
            subscription: None,
        }
    }

    /// With cgroup v2 mounted elsewhere than at `/sys/fs/cgroup`, as on hosts
    /// that have version 1 there.
    #[must_use]
    pub fn cgroups_at(mut self, root: impl Into<PathBuf>) -> Self {
        self.cgroup = root.into();
        self
    }

    /// Whether the kernel tells of every new process. Otherwise one that lives
    /// a few milliseconds may stay [`Unattributed`](crate::Belonging::Unattributed).
    #[must_use]
    pub const fn is_told_births(&self) -> bool {
        self.subscription.is_some()
    }

    fn of(&self, pid: u32, file: &str) -> PathBuf {
        self.proc.join(pid.to_string()).join(file)
    }

    fn stat(&self, pid: u32) -> Option<Stat> {
        Stat::parse(&fs::read(self.of(pid, "stat")).ok()?)
    }

    /// Holds the process, so that its end is seen without a look-up.
    fn handle(&self, pid: u32) -> Option<Arc<Handle>> {
        if self.handles.load(Ordering::Relaxed) >= MAX_HANDLES {
            return None;
        }
        let pid = Pid::from_raw(pid.cast_signed())?;
        let fd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        self.handles.fetch_add(1, Ordering::Relaxed);
        Some(Arc::new(Handle {
            fd,
            count: Arc::clone(&self.handles),
        }))
    }
}

impl Processes for ProcFs {
    fn find(&self, pid: u32) -> Option<Process> {
        // The descriptor first: what is read while it runs is its own.
        let handle = self.handle(pid);
        let stat = self.stat(pid)?;
        let cgroup = fs::read(self.of(pid, "cgroup")).ok();
        let namespace = fs::metadata(self.of(pid, "ns/pid")).ok();
        Some(Process {
            pid,
            start: stat.start,
            started: clock::on_the_wall(
                ClockId::Boottime,
                Duration::from_millis(stat.start.saturating_mul(1000 / TICKS)),
            ),
            parent: stat.parent,
            cgroup: cgroup.as_deref().and_then(unified_cgroup),
            pid_namespace: namespace.map(|namespace| namespace.ino()),
            handle,
        })
    }

    fn runs(&self, process: &Process) -> bool {
        match &process.handle {
            Some(handle) => handle.runs(),
            None => self
                .stat(process.pid)
                .is_some_and(|stat| stat.start == process.start && !stat.ended),
        }
    }

    fn children(&self, pid: u32) -> Vec<u32> {
        let Ok(tasks) = fs::read_dir(self.of(pid, "task")) else {
            return Vec::new();
        };
        let files =
            tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("children")).ok());
        files.flat_map(|file| numbers(&file)).collect()
    }

    fn in_cgroup(&self, cgroup: &Path) -> Vec<u32> {
        let relative = cgroup.strip_prefix("/").unwrap_or(cgroup);
        let mut directories = vec![self.cgroup.join(relative)];
        let mut members = Vec::new();
        while let Some(directory) = directories.pop() {
            if let Ok(file) = fs::read_to_string(directory.join("cgroup.procs")) {
                members.extend(numbers(&file));
            }
            let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
            let children =
                entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            directories.extend(children.map(|entry| entry.path()));
        }
        members
    }

    fn all(&self) -> Vec<u32> {
        let entries = fs::read_dir(&self.proc).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect()
    }

    fn born(&mut self) -> Option<Births> {
        self.subscription.as_ref().map(Subscription::take)
    }

    fn now(&self) -> SystemTime {
        clock::of_records()
    }
}

/// A pidfd, counted.
#[derive(Debug)]
struct Handle {
    fd: OwnedFd,
    count: Arc<AtomicUsize>,
}

impl Handle {
    fn runs(&self) -> bool {
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // Readable once the process has ended.
        let mut fds = [PollFd::from_borrowed_fd(self.fd.as_fd(), PollFlags::IN)];
        matches!(poll(&mut fds, Some(&now)), Ok(0))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Fields of `/proc/PID/stat` (proc(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    parent: u32,
    start: u64,
    ended: bool,
}

impl Stat {
    fn parse(bytes: &[u8]) -> Option<Self> {
        // The name may hold anything, parentheses too: the last one ends it.
        let name_end = bytes.iter().rposition(|&byte| byte == b')')?;
        let rest = str::from_utf8(bytes.get(name_end + 1..)?).ok()?;
        let mut fields = rest.split_ascii_whitespace();
        let state = fields.next()?;
        let parent = fields.next()?.parse().ok()?;
        // Field 22; state was field 3.
        let start = fields.nth(22 - 5)?.parse().ok()?;
        Some(Self {
            parent,
            start,
            ended: matches!(state, "Z" | "X"),
        })
    }
}

/// The `0::` line of `/proc/PID/cgroup`.
fn unified_cgroup(file: &[u8]) -> Option<PathBuf> {
    let mut lines = file.split(|&byte| byte == b'\n');
    let path = lines.find_map(|line| line.strip_prefix(b"0::"))?;
    Some(PathBuf::from(std::ffi::OsStr::from_bytes(path)))
}

fn numbers(file: &str) -> Vec<u32> {
    let words = file.split_ascii_whitespace();
    words.filter_map(|word| word.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_pose_as_fields() {
        let line = b"77 (a) S 1 (b) Z 5 5 5 0 -1 0 1 2 3 4 5 6 7 8 20 0 1 0 4242 9 9";
        let expected = Stat {
            parent: 5,
            start: 4242,
            ended: true,
        };
        assert_eq!(Stat::parse(line), Some(expected));
        assert_eq!(Stat::parse(b"77 (a) S 1"), None);
    }

    #[test]
    fn the_unified_hierarchy_is_found_among_others() {
        let file = b"12:cpu:/other\n0::/user.slice/x\n";
        assert_eq!(unified_cgroup(file), Some("/user.slice/x".into()));
        assert_eq!(unified_cgroup(b"1:name=systemd:/\n"), None);
    }

    #[test]
    fn this_process_is_found_and_runs() {
        let processes = ProcFs::default();
        let own = processes.find(std::process::id()).unwrap();
        assert_eq!(own.parent, std::os::unix::process::parent_id());
        assert!(processes.runs(&own));
        let age = SystemTime::now()
            .duration_since(own.started)
            .unwrap_or_default();
        assert!(age < Duration::from_secs(3600), "{age:?}");

        let mut child = std::process::Command::new("/bin/cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let found = processes.find(child.id()).unwrap();
        assert!(processes.runs(&found));
        assert!(processes.children(std::process::id()).contains(&child.id()));
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(!processes.runs(&found));
        assert!(processes.find(child.id()).is_none());
    }
}

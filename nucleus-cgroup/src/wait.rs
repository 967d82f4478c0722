//! Freezing, killing and waiting: the kernel's notification, no polling.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::OFlags;
use rustix::process::{Pid, PidfdFlags, Signal};

use crate::stats::Keyed;
use crate::{Cgroup, Error};

impl Cgroup {
    /// Stops every process in it and below, and waits until they stand still
    /// (5.2).
    ///
    /// A process frozen by its own cgroup and by a parent's runs only when both
    /// are thawed. SIGKILL works on frozen processes.
    ///
    /// # Errors
    ///
    /// `cgroup.freeze` cannot be written, or a process did not stop in time: one
    /// that sleeps uninterruptibly stops when it wakes.
    pub fn freeze(&self, patience: Duration) -> Result<(), Error> {
        self.settle(true, patience)
    }

    /// Lets them run on, and waits until they do.
    ///
    /// # Errors
    ///
    /// `cgroup.freeze` cannot be written, or a parent is frozen.
    pub fn thaw(&self, patience: Duration) -> Result<(), Error> {
        self.settle(false, patience)
    }

    fn settle(&self, frozen: bool, patience: Duration) -> Result<(), Error> {
        self.write("cgroup.freeze", if frozen { "1" } else { "0" })?;
        if self.wait_event("frozen", u64::from(frozen), patience)? {
            return Ok(());
        }
        Err(Error::NotSettled {
            path: self.path().to_owned(),
            frozen,
            waited: patience,
        })
    }

    /// Whether any process, a zombie's living threads included, is in it or below.
    ///
    /// # Errors
    ///
    /// `cgroup.events` cannot be read: the root cgroup has none.
    pub fn is_populated(&self) -> Result<bool, Error> {
        Ok(!self.wait_event("populated", 0, Duration::ZERO)?)
    }

    /// Waits until the last process in it and below is gone; `false` when some
    /// are left after `patience`.
    ///
    /// # Errors
    ///
    /// `cgroup.events` cannot be read or waited for.
    pub fn wait_empty(&self, patience: Duration) -> Result<bool, Error> {
        self.wait_event("populated", 0, patience)
    }

    /// Waits until a key of `cgroup.events` has a value.
    fn wait_event(&self, key: &str, value: u64, patience: Duration) -> Result<bool, Error> {
        const FILE: &str = "cgroup.events";
        let failed = |source: io::Error| Error::Read {
            path: self.path().join(FILE),
            source,
        };
        let deadline = Instant::now().checked_add(patience);
        let file = self.open_file(FILE, OFlags::RDONLY).map_err(failed)?;
        loop {
            // Reading arms the notification: what changes from here on is told.
            let text = read_from_start(&file).map_err(failed)?;
            let text = String::from_utf8_lossy(&text);
            match Keyed::parse(&text).and_then(|keyed| keyed.get(key)) {
                Some(found) if found == value => return Ok(true),
                Some(_) => {}
                None => return Err(self.malformed(FILE, "populated and frozen", &text)),
            }
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(false);
            }
            let timeout = left.and_then(|left| Timespec::try_from(left).ok());
            let mut polled = [PollFd::new(&file, PollFlags::PRI)];
            match rustix::event::poll(&mut polled, timeout.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(failed(errno.into())),
            }
        }
    }

    /// Sends SIGKILL to every process in it and below.
    ///
    /// By `cgroup.kill` (5.14) where there is one, which no fork escapes; else
    /// frozen first, so that none can fork, and then one by one through a pidfd
    /// that is proved to be the process listed.
    ///
    /// # Errors
    ///
    /// A file cannot be written or read, or a process may not be killed.
    pub fn kill(&self) -> Result<(), Error> {
        match self.write("cgroup.kill", "1") {
            Err(Error::Write { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                self.kill_each()
            }
            outcome => outcome,
        }
    }

    fn kill_each(&self) -> Result<(), Error> {
        // Without waiting: a process that sleeps in the kernel cannot fork
        // before it wakes, and finds itself frozen then.
        self.write("cgroup.freeze", "1")?;
        let killed = self.kill_listed();
        // Killed processes end without being thawed; this is for the next user.
        self.write("cgroup.freeze", "0")?;
        killed
    }

    fn kill_listed(&self) -> Result<(), Error> {
        for child in self.children()? {
            match self.child(&child) {
                Ok(child) => child.kill_listed()?,
                // Removed since it was listed.
                Err(Error::Open { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        // A fork that was under way when the freeze began shows in the next list.
        let mut done = Vec::new();
        loop {
            let listed = self.processes()?;
            let fresh: Vec<i32> = listed
                .into_iter()
                .filter(|pid| !done.contains(pid))
                .collect();
            if fresh.is_empty() {
                return Ok(());
            }
            for &pid in &fresh {
                self.kill_one(pid)?;
            }
            done.extend(fresh);
        }
    }

    fn kill_one(&self, pid: i32) -> Result<(), Error> {
        let failed = |errno: rustix::io::Errno| Error::Kill {
            path: self.path().to_owned(),
            pid,
            source: errno.into(),
        };
        // 0: a process that this PID namespace cannot name.
        let named = Pid::from_raw(pid).ok_or(rustix::io::Errno::SRCH);
        let pidfd = match rustix::process::pidfd_open(named.map_err(failed)?, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(rustix::io::Errno::SRCH) => return Ok(()),
            Err(errno) => return Err(failed(errno)),
        };
        // The number may have passed to another process between list and open,
        // but not while the pidfd's process is in the list.
        if !self.processes()?.contains(&pid) {
            return Ok(());
        }
        match rustix::process::pidfd_send_signal(&pidfd, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(errno) => Err(failed(errno)),
        }
    }

    /// Kills what is in it and below, waits until it is gone, and removes the
    /// cgroups, children first.
    ///
    /// # Errors
    ///
    /// [`Error::StillPopulated`] with the processes when some outlive SIGKILL
    /// for longer than `patience`; a cgroup cannot be removed.
    pub(crate) fn clear(&self, patience: Duration) -> Result<(), Error> {
        self.kill()?;
        if !self.wait_empty(patience)? {
            return Err(Error::StillPopulated {
                path: self.path().to_owned(),
                waited: patience,
                pids: self.all_processes()?,
            });
        }
        self.remove_children()
    }

    fn remove_children(&self) -> Result<(), Error> {
        for name in self.children()? {
            self.child(&name)?.remove_children()?;
            self.remove_child(&name)?;
        }
        Ok(())
    }

    /// The processes in it and below.
    fn all_processes(&self) -> Result<Vec<i32>, Error> {
        let mut pids = self.processes()?;
        for name in self.children()? {
            pids.extend(self.child(&name)?.all_processes()?);
        }
        pids.sort_unstable();
        Ok(pids)
    }
}

/// The kernel writes these files in one piece of less than a page.
fn read_from_start(file: &OwnedFd) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 4096];
    let length = rustix::io::pread(file, &mut bytes[..], 0)?;
    bytes.truncate(length);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::fake;

    const INSTANT: Duration = Duration::ZERO;

    #[test]
    fn the_state_is_read_before_any_wait() {
        let tree = tempfile::tempdir().expect("a directory");
        let cgroup = fake(
            tree.path(),
            "a",
            &[
                ("cgroup.events", "populated 1\nfrozen 1\n"),
                ("cgroup.freeze", "0\n"),
            ],
        );
        assert!(cgroup.is_populated().expect("readable"));
        assert!(!cgroup.wait_empty(INSTANT).expect("readable"));
        cgroup.freeze(INSTANT).expect("frozen already");
        assert_eq!(cgroup.read("cgroup.freeze").expect("there"), b"1");
        let error = cgroup.thaw(INSTANT).expect_err("stays frozen");
        assert!(error.to_string().contains("did not thaw"), "{error}");
    }

    #[test]
    fn a_wait_ends_at_its_time() {
        let tree = tempfile::tempdir().expect("a directory");
        let cgroup = fake(tree.path(), "a", &[("cgroup.events", "populated 1\n")]);
        let start = Instant::now();
        let patience = Duration::from_millis(30);
        assert!(!cgroup.wait_empty(patience).expect("readable"));
        assert!(start.elapsed() >= patience);
    }

    #[test]
    fn events_without_the_key_are_malformed() {
        let tree = tempfile::tempdir().expect("a directory");
        let cgroup = fake(tree.path(), "a", &[("cgroup.events", "populated 1\n")]);
        fake(tree.path(), "a", &[("cgroup.freeze", "")]);
        let error = cgroup.freeze(INSTANT).expect_err("no frozen line");
        assert!(matches!(error, Error::Malformed { .. }), "{error}");
    }

    #[test]
    fn without_cgroup_kill_each_process_is_killed() {
        use std::os::unix::process::ExitStatusExt;
        let tree = tempfile::tempdir().expect("a directory");
        let mut children: Vec<_> = (0..3)
            .map(|_| {
                std::process::Command::new("sleep")
                    .arg("1000")
                    .spawn()
                    .expect("spawned")
            })
            .collect();
        let pid = |index: usize| children[index].id();
        let cgroup = fake(
            tree.path(),
            "a",
            &[
                ("cgroup.freeze", "0"),
                ("cgroup.procs", &format!("{}\n", pid(0))),
            ],
        );
        let below = [("cgroup.procs", format!("{}\n{}\n", pid(1), pid(2)))];
        fake(
            tree.path(),
            "a/b",
            &below.each_ref().map(|(f, c)| (*f, c.as_str())),
        );
        // A cgroup without cgroup.kill: creating the file is not for us, which
        // is what a write without O_CREAT finds.
        cgroup.kill().expect("killed");
        for child in &mut children {
            let status = child.wait().expect("reaped");
            assert_eq!(status.signal(), Some(9));
        }
        assert_eq!(cgroup.read("cgroup.freeze").expect("there"), b"0");
    }

    #[test]
    fn a_process_of_another_pid_namespace_cannot_be_killed_one_by_one() {
        let tree = tempfile::tempdir().expect("a directory");
        let files = [("cgroup.freeze", "0"), ("cgroup.procs", "0\n")];
        let cgroup = fake(tree.path(), "a", &files);
        assert!(matches!(cgroup.kill(), Err(Error::Kill { pid: 0, .. })));
    }
}

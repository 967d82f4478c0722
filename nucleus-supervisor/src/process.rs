//! The processes under supervision, each with a state that dies with it.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, epoll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};

use crate::{Error, Failure, Request, Task};

const WATCHER: &str = "nucleus-exits";

/// The key of the watcher's own event; those of processes begin behind it.
const STOP: u64 = 0;

/// Which process: a number is given to another one when its process is gone,
/// but never with the same start time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId {
    /// The thread group's id in this PID namespace.
    pub pid: i32,
    /// Clock ticks since boot (`/proc/PID/stat`, field 22).
    pub start_time: u64,
}

/// A process that was seen, with what its handlers keep about it.
#[derive(Debug)]
pub struct Process<T> {
    id: ProcessId,
    pidfd: OwnedFd,
    /// What is kept about it.
    pub state: T,
}

impl<T> Process<T> {
    /// Which one.
    #[must_use]
    pub const fn id(&self) -> ProcessId {
        self.id
    }

    /// Whether it has not ended yet; a zombie has.
    fn is_alive(&self) -> Result<bool, Errno> {
        let mut polled = [PollFd::new(&self.pidfd, PollFlags::IN)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let ready = rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, Some(&now)))?;
        Ok(ready == 0)
    }
}

impl<T> AsFd for Process<T> {
    /// The pidfd.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// Processes by their numbers. The end of each is seen at once, by its pidfd.
#[derive(Debug)]
pub struct ProcessTable<T> {
    shared: Arc<Shared<T>>,
    watcher: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared<T> {
    known: Mutex<Known<T>>,
    epoll: OwnedFd,
    stop: OwnedFd,
}

#[derive(Debug)]
struct Known<T> {
    by_pid: BTreeMap<i32, Arc<Process<T>>>,
    /// By the key of their events: one that has ended is in it until its end
    /// was told, though its number may be another's by then.
    watched: BTreeMap<u64, Arc<Process<T>>>,
    last_key: u64,
}

impl<T: Default + Send + Sync + 'static> ProcessTable<T> {
    /// An empty one; `on_exit` is called once for each process that ends, on a
    /// thread of the table.
    ///
    /// # Errors
    ///
    /// No epoll descriptor or no thread is to be had.
    pub fn new(on_exit: impl Fn(&Process<T>) + Send + 'static) -> Result<Self, Error> {
        let failed = |source| Error::Watch { source };
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(failed)?;
        let stop = rustix::event::eventfd(0, EventfdFlags::CLOEXEC).map_err(failed)?;
        epoll::add(
            &epoll,
            &stop,
            epoll::EventData::new_u64(STOP),
            epoll::EventFlags::IN,
        )
        .map_err(failed)?;
        let shared = Arc::new(Shared {
            known: Mutex::new(Known {
                by_pid: BTreeMap::new(),
                watched: BTreeMap::new(),
                last_key: STOP,
            }),
            epoll,
            stop,
        });
        let watched = Arc::clone(&shared);
        let watcher = thread::Builder::new()
            .name(WATCHER.to_owned())
            .spawn(move || watched.watch(&on_exit))
            .map_err(|source| Error::Thread {
                name: WATCHER,
                source,
            })?;
        Ok(Self {
            shared,
            watcher: Some(watcher),
        })
    }

    /// The process of a request's caller; new ones begin with `T::default()`.
    ///
    /// # Errors
    ///
    /// The caller is gone (EINTR), cannot be named in this PID namespace
    /// (ESRCH), or cannot be watched.
    pub fn of(&self, request: &Request) -> Result<Arc<Process<T>>, Failure> {
        let thread = request.thread();
        // A thread whose id is a living process's is that process's first.
        if let Some(process) = self.living(thread)? {
            return Ok(process);
        }
        let pid = thread_group(thread).ok_or(Errno::SRCH)?;
        let process = match self.living(pid)? {
            Some(process) => process,
            None => self.enter(pid)?,
        };
        // What was read under the numbers was the caller's if it still waits.
        if request.is_waiting()? {
            Ok(process)
        } else {
            Err(Failure(Errno::INTR))
        }
    }

    /// How many are known and whose end has not been told.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.lock().watched.len()
    }

    /// Whether none is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn living(&self, pid: i32) -> Result<Option<Arc<Process<T>>>, Errno> {
        let known = self.shared.lock().by_pid.get(&pid).cloned();
        match known {
            Some(process) if process.is_alive()? => Ok(Some(process)),
            _ => Ok(None),
        }
    }

    fn enter(&self, pid: i32) -> Result<Arc<Process<T>>, Errno> {
        let number = Pid::from_raw(pid).ok_or(Errno::SRCH)?;
        let pidfd = rustix::process::pidfd_open(number, PidfdFlags::empty())?;
        let start_time = start_time(pid).ok_or(Errno::SRCH)?;
        let fresh = Arc::new(Process {
            id: ProcessId { pid, start_time },
            pidfd,
            state: T::default(),
        });
        let mut known = self.shared.lock();
        // Another thread may have been faster.
        if let Some(other) = known.by_pid.get(&pid).filter(|other| other.id == fresh.id) {
            return Ok(Arc::clone(other));
        }
        let key = known.last_key + 1;
        let data = epoll::EventData::new_u64(key);
        epoll::add(
            &self.shared.epoll,
            &fresh.pidfd,
            data,
            epoll::EventFlags::IN,
        )?;
        known.last_key = key;
        known.by_pid.insert(pid, Arc::clone(&fresh));
        known.watched.insert(key, Arc::clone(&fresh));
        Ok(fresh)
    }
}

impl<T> Drop for ProcessTable<T> {
    fn drop(&mut self) {
        // Adding to a counter at 0 cannot fail, and a watcher that has ended
        // needs no word.
        let _sent: Result<usize, Errno> =
            rustix::io::write(&self.shared.stop, &1_u64.to_ne_bytes());
        if let Some(watcher) = self.watcher.take() {
            let _panicked: Result<(), _> = watcher.join();
        }
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, Known<T>> {
        // Nothing panics between the changes that belong together.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch(&self, on_exit: &impl Fn(&Process<T>)) {
        let mut events = Vec::with_capacity(64);
        loop {
            events.clear();
            let buffer = rustix::buffer::spare_capacity(&mut events);
            match epoll::wait(&self.epoll, buffer, None) {
                Ok(_) | Err(Errno::INTR) => {}
                // The descriptors are ours and valid: this does not happen, and
                // ended processes are found dead when they are looked up.
                Err(_) => return,
            }
            for event in &events {
                let key = event.data.u64();
                if key == STOP {
                    return;
                }
                if let Some(process) = self.take(key) {
                    on_exit(&process);
                }
            }
        }
    }

    /// Forgets the process of an event.
    fn take(&self, key: u64) -> Option<Arc<Process<T>>> {
        let mut known = self.lock();
        let ended = known.watched.remove(&key)?;
        let pid = ended.id.pid;
        if known.by_pid.get(&pid).is_some_and(|it| it.id == ended.id) {
            known.by_pid.remove(&pid);
        }
        // The pidfd may live on with a handler: no further event of it.
        let _already_closed: Result<(), Errno> = epoll::delete(&self.epoll, &ended.pidfd);
        Some(ended)
    }
}

/// The process of a thread, in this PID namespace.
pub(crate) fn thread_group(thread: i32) -> Option<i32> {
    let status = std::fs::read(format!("/proc/{thread}/status")).ok()?;
    parse_thread_group(&status)
}

fn parse_thread_group(status: &[u8]) -> Option<i32> {
    status_field(status, b"Tgid:").and_then(number)
}

/// The process that a process or a thread comes from: the parent, or its own.
pub(crate) fn comes_from(task: Task) -> Option<Task> {
    let process = if task.leads() {
        let status = std::fs::read(format!("/proc/{}/status", task.thread)).ok()?;
        status_field(&status, b"PPid:").and_then(number)?
    } else {
        task.process
    };
    Some(Task {
        thread: process,
        process,
    })
}

/// What stands behind a name in `/proc/PID/status`, at the begin of a line.
pub(crate) fn status_field<'s>(status: &'s [u8], name: &[u8]) -> Option<&'s [u8]> {
    status
        .split(|&byte| byte == b'\n')
        .find_map(|line| line.strip_prefix(name))
}

fn start_time(pid: i32) -> Option<u64> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    parse_start_time(&stat)
}

/// Field 22.
fn parse_start_time(stat: &[u8]) -> Option<u64> {
    after_name(stat)
        .filter(|word| !word.is_empty())
        .nth(19)
        .and_then(number)
}

/// The words from field 3 on; the second one holds the program's name in
/// brackets, and that may hold blanks and brackets.
pub(crate) fn after_name(stat: &[u8]) -> impl Iterator<Item = &[u8]> {
    let end = stat.iter().rposition(|&byte| byte == b')');
    let rest = end.map_or(&[][..], |end| &stat[end + 1..]);
    rest.split(|&byte| byte == b' ')
}

pub(crate) fn number<N: std::str::FromStr>(bytes: &[u8]) -> Option<N> {
    std::str::from_utf8(bytes.trim_ascii()).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_program_does_not_shift_the_fields() {
        let fields: Vec<String> = (3..=52).map(|n| n.to_string()).collect();
        for name in ["sh", "a b", ") 1 2 3 (", ")"] {
            let stat = format!("7 ({name}) {}\n", fields.join(" "));
            assert_eq!(parse_start_time(stat.as_bytes()), Some(22), "{name}");
        }
        assert_eq!(parse_start_time(b"7 (sh) S 1 2"), None);
        assert_eq!(parse_start_time(b""), None);
    }

    #[test]
    fn a_process_comes_from_its_parent_and_a_thread_from_its_process() {
        let process = std::process::id();
        let own = Task {
            thread: process,
            process,
        };
        let thread = rustix::thread::gettid()
            .as_raw_nonzero()
            .get()
            .cast_unsigned();
        assert_eq!(comes_from(Task { thread, process }), Some(own));
        let parent = rustix::process::getppid().expect("a parent");
        let parent = parent.as_raw_nonzero().get().cast_unsigned();
        let found = comes_from(own).expect("a status");
        assert_eq!((found.thread, found.process), (parent, parent));
    }

    #[test]
    fn the_thread_group_is_found_behind_a_hostile_name() {
        let status = b"Name:\tTgid:\t1\nUmask:\t0022\nTgid:\t42\nPid:\t43\n";
        assert_eq!(parse_thread_group(status), Some(42));
        let own = i32::try_from(std::process::id()).expect("a process id");
        let thread = rustix::thread::gettid().as_raw_nonzero().get();
        assert_eq!(thread_group(thread), Some(own));
    }
}

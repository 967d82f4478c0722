//! One call that waits for its answer.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Arc, OnceLock};
use std::thread;

use nucleus_seccomp::{SeccompData, Syscall};
use rustix::io::Errno;

use crate::engine::Counters;
use crate::reply::{FdResult, NewFd, Reply};
use crate::{Denial, Error, Listener, Memory, sys};

/// A system call of a thread that stands still until it is answered.
///
/// A request cannot be forgotten: dropped without an answer it is denied with
/// EPERM.
#[derive(Debug)]
pub struct Request {
    listener: Arc<Listener>,
    id: u64,
    thread: i32,
    data: SeccompData,
    answered: bool,
    denial: OnceLock<Denial>,
    /// Where a panic of its holder is counted.
    counters: Option<Arc<Counters>>,
}

/// What became of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// The caller has it.
    Delivered,
    /// The caller had died or been interrupted.
    Gone,
}

impl Request {
    pub(crate) fn new(listener: Arc<Listener>, notification: &libc::seccomp_notif) -> Self {
        let data = &notification.data;
        Self {
            listener,
            id: notification.id,
            thread: i32::try_from(notification.pid).unwrap_or(0),
            data: SeccompData {
                nr: data.nr.cast_unsigned(),
                arch: data.arch,
                instruction_pointer: data.instruction_pointer,
                args: data.args,
            },
            answered: false,
            denial: OnceLock::new(),
            counters: None,
        }
    }

    /// For whoever takes it out of its handler.
    pub(crate) fn held(mut self, counters: Arc<Counters>) -> Self {
        self.counters = Some(counters);
        self
    }

    /// The kernel's number of this notification, unique for its listener.
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// The calling thread's id in the receiver's PID namespace; 0 when it cannot
    /// be named there.
    #[must_use]
    pub const fn thread(&self) -> i32 {
        self.thread
    }

    /// The registers of the call.
    #[must_use]
    pub const fn data(&self) -> &SeccompData {
        &self.data
    }

    /// The call, or `None` when it is of an architecture without a table.
    #[must_use]
    pub const fn call(&self) -> Option<Syscall> {
        self.data.syscall()
    }

    /// An argument as the kernel takes one of type `int` or `unsigned int`: the
    /// upper half of the register does not count.
    ///
    /// # Panics
    ///
    /// There is no argument of this index.
    #[must_use]
    pub fn int(&self, index: usize) -> u32 {
        #[allow(
            clippy::cast_possible_truncation,
            reason = "what the kernel does with such an argument"
        )]
        let low = self.data.args[index] as u32;
        low
    }

    /// Whether the caller still waits. Only then does a thread id still mean the
    /// caller, and was what has been read its memory.
    ///
    /// # Errors
    ///
    /// The listener is closed.
    pub fn is_waiting(&self) -> Result<bool, Errno> {
        match sys::id_valid(self.listener.as_fd(), self.id) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// Says why the call will be denied, for who wants to tell of it:
    /// [`Registry::on_denial`](crate::Registry::on_denial). The first reason
    /// counts.
    pub fn denied_because(&self, denial: Denial) {
        // A second reason is one too many.
        let _first: Result<(), Denial> = self.denial.set(denial);
    }

    pub(crate) fn denial(&self) -> Option<&Denial> {
        self.denial.get()
    }

    /// The caller's memory.
    #[must_use]
    pub fn memory(&self) -> Memory<'_> {
        Memory::new(self)
    }

    /// Answers. That the caller is gone is no error.
    ///
    /// # Errors
    ///
    /// The kernel refuses for another reason; the caller is denied then.
    pub fn answer(mut self, reply: Reply) -> Result<Delivery, Error> {
        let sent = match reply {
            Reply::Continue(_) => self.send(0, 0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE),
            Reply::Value(value) => self.send(value, 0, 0),
            Reply::Errno(errno) => self.deny(errno),
            Reply::Fd(new) => self.give(new),
            Reply::Kill => {
                let killed = self.kill();
                // It does not return to the program whatever the answer is.
                self.deny(Errno::PERM).and(killed)
            }
        };
        match sent {
            Ok(()) => Ok(Delivery::Delivered),
            Err(Errno::NOENT | Errno::SRCH) => Ok(Delivery::Gone),
            Err(source) => Err(Error::Answer {
                id: self.id,
                source,
            }),
        }
    }

    fn send(&mut self, value: i64, error: i32, flags: libc::c_ulong) -> Result<(), Errno> {
        let response = libc::seccomp_notif_resp {
            id: self.id,
            val: value,
            error,
            flags: u32::try_from(flags).map_err(|_too_large| Errno::INVAL)?,
        };
        let size = self.listener.response_size();
        let sent = sys::send(self.listener.as_fd(), size, response);
        // Gone counts as answered: there is nobody to deny anything to.
        self.answered = matches!(sent, Ok(()) | Err(Errno::NOENT));
        sent
    }

    fn deny(&mut self, errno: Errno) -> Result<(), Errno> {
        self.send(0, -errno.raw_os_error(), 0)
    }

    fn give(&mut self, new: NewFd) -> Result<(), Errno> {
        let mut flags = 0;
        if new.number.is_some() {
            flags |= libc::SECCOMP_ADDFD_FLAG_SETFD;
        }
        let mut add = libc::seccomp_notif_addfd {
            id: self.id,
            flags: 0,
            srcfd: new.fd.as_raw_fd().cast_unsigned(),
            newfd: new.number.unwrap_or(0),
            newfd_flags: if new.close_on_exec {
                libc::O_CLOEXEC.cast_unsigned()
            } else {
                0
            },
        };
        let mut give = |flags: libc::c_ulong| {
            add.flags = u32::try_from(flags).map_err(|_too_large| Errno::INVAL)?;
            sys::add_fd(self.listener.as_fd(), add)
        };
        let given = match new.result {
            FdResult::Number => match give(flags | libc::SECCOMP_ADDFD_FLAG_SEND) {
                Ok(number) => {
                    self.answered = true;
                    Ok(number)
                }
                // Before 5.14 in two steps; in between the caller can be
                // interrupted and keep a descriptor that it was not told of.
                Err(Errno::INVAL) => give(flags),
                failed => failed,
            },
            FdResult::Value(_) => give(flags),
        };
        // EMFILE and EBADF are the caller's own: as open(2) and dup2(2) say.
        let number = match given {
            Ok(number) => number,
            Err(Errno::NOENT) => {
                self.answered = true;
                return Err(Errno::NOENT);
            }
            Err(errno) => return self.deny(errno),
        };
        if let Some(told) = new.told {
            told(number);
        }
        match new.result {
            FdResult::Number if self.answered => Ok(()),
            FdResult::Number => self.send(number.into(), 0, 0),
            FdResult::Value(value) => self.send(value, 0, 0),
        }
    }

    /// SIGKILL for the caller's process.
    fn kill(&self) -> Result<(), Errno> {
        let tgid = crate::process::thread_group(self.thread).ok_or(Errno::SRCH)?;
        let pid = rustix::process::Pid::from_raw(tgid).ok_or(Errno::SRCH)?;
        let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?;
        // The caller waits, so the number was its process's when it was opened.
        match self.is_waiting()? {
            true => rustix::process::pidfd_send_signal(pidfd, rustix::process::Signal::KILL),
            false => Err(Errno::NOENT),
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        if !self.answered {
            // Before the answer, which may be the last that the program waits
            // for: who asks for the sums then shall find this in them.
            if let Some(counters) = &self.counters
                && thread::panicking()
            {
                counters.panicked();
            }
            // A failure means that the caller is gone or the listener is
            // closed, and then the kernel answers with ENOSYS.
            let _gone: Result<(), Errno> = self.deny(Errno::PERM);
        }
    }
}

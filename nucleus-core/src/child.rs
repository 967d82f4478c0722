//! A program that was started.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{ChildStderr, ChildStdin, ChildStdout, ExitStatus, Output};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown};
use rustix::process::PidfdGetfdFlags;

use crate::autopsy::Autopsy;
use crate::error::{ChangesError, LaunchError};
use crate::hear::{await_hangup, reap, receive_fds, receive_pid};
use crate::message::Message;
use crate::overlay::{Changes, Layers};
use crate::plan::Reaping;
use crate::sys;

/// A program in its sandbox, as [`std::process::Child`].
///
/// Unlike std's, it takes the program along: when a `Child` is dropped, or
/// the process that holds it ends in whatever way, everything that the
/// program started is killed.
#[derive(Debug)]
pub struct Child {
    /// The parent's end of the program's stdin, when it is piped.
    pub stdin: Option<ChildStdin>,
    /// The parent's end of the program's stdout, when it is piped.
    pub stdout: Option<ChildStdout>,
    /// The parent's end of the program's stderr, when it is piped.
    pub stderr: Option<ChildStderr>,

    /// The init process.
    init: OwnedFd,
    /// The program's process and its number here.
    program: OwnedFd,
    pid: u32,
    /// The socket to init.
    status: OwnedFd,
    /// The near end of the program's terminal.
    terminal: Option<OwnedFd>,
    /// The socket to the program, until its exec has closed the other end.
    gate: Option<OwnedFd>,
    autopsy: Autopsy,
    /// The upper layer of a folder that is not to change by itself.
    written: Option<(OwnedFd, Layers)>,
    /// Nobody else may use the layer that is kept until then.
    _kept: Option<OwnedFd>,
    /// How the program ended, once init has said it.
    ended: Option<Message>,
    /// Init has been waited for.
    reaped: bool,
    /// It was killed by SIGKILL.
    init_killed: bool,
}

/// What is known once init is running.
#[derive(Debug)]
pub(crate) struct Launched {
    pub(crate) init: OwnedFd,
    pub(crate) status: OwnedFd,
    pub(crate) gate: OwnedFd,
    pub(crate) autopsy: Autopsy,
    pub(crate) layers: Option<Layers>,
    /// What locks the layer that is kept.
    pub(crate) kept: Option<OwnedFd>,
    pub(crate) parent_ends: [Option<OwnedFd>; 3],
    /// The program gets a terminal of its own.
    pub(crate) terminal: bool,
}

impl Child {
    /// Waits until init has made the program's process, and until that is
    /// held or executing.
    pub(crate) fn meet(launched: Launched, hold: bool) -> Result<Self, LaunchError> {
        let Launched {
            init,
            status,
            gate,
            autopsy,
            layers,
            kept,
            parent_ends: [stdin, stdout, stderr],
            terminal,
        } = launched;
        if !hold {
            // One wake-up instead of three: the gate hangs up at exec, and at
            // every failure before.
            await_hangup(&gate);
        }
        let (program, upper) = match receive_fds(&status, Message::SIZE) {
            Ok(Some(received)) => received,
            failed => {
                drop((gate, status));
                reap(&init);
                return Err(match failed {
                    Err(source) => LaunchError::Parent {
                        what: "hear from the init process",
                        source,
                    },
                    Ok(_) => autopsy.failure().unwrap_or(LaunchError::InitDied),
                });
            }
        };
        let mut child = Self {
            stdin: stdin.map(Into::into),
            stdout: stdout.map(Into::into),
            stderr: stderr.map(Into::into),
            init,
            pid: 0,
            program,
            status,
            terminal: None,
            gate: Some(gate),
            autopsy,
            written: upper.zip(layers),
            _kept: kept,
            ended: None,
            reaped: false,
            init_killed: false,
        };
        if terminal {
            child.terminal = child.receive_terminal()?;
            if child.terminal.is_none() {
                return Err(child.never_started());
            }
        }
        match child.next_of_gate()? {
            Some(pid) => child.pid = pid,
            None => return Err(child.never_started()),
        }
        if !hold {
            child.await_exec()?;
        }
        Ok(child)
    }

    /// The program's process number in this process's PID namespace.
    ///
    /// Another process may get it once the program has ended:
    /// [`Child::signal`] and [`Child::pidfd`] are safe from that.
    #[must_use]
    pub const fn program_pid(&self) -> u32 {
        self.pid
    }

    /// The program's process as a descriptor: readable when it has ended.
    #[must_use]
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.program.as_fd()
    }

    /// The near end of the terminal that [`Terminal::New`](crate::Terminal::New)
    /// gave the program: what is written to it is typed, what is read is shown.
    /// `None` without such a terminal, and from the second time on.
    pub fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.terminal.take()
    }

    /// Lets a held program go on, and waits until it is executing.
    ///
    /// With a tracer that runs on the calling thread this would wait forever,
    /// because the program stops for the tracer on its way to exec: call
    /// [`Child::let_go`] there. A program that is not held is left alone.
    ///
    /// # Errors
    ///
    /// Why the program could not be executed.
    pub fn release(&mut self) -> Result<(), LaunchError> {
        self.let_go()?;
        self.await_exec()
    }

    /// Lets a held program go on and returns at once. When it then cannot be
    /// executed, [`Child::wait`] says why.
    ///
    /// # Errors
    ///
    /// When the program is no longer there to hear it.
    pub fn let_go(&mut self) -> Result<(), LaunchError> {
        let Some(gate) = &self.gate else {
            return Ok(());
        };
        match rustix::net::send(gate, b"g", SendFlags::NOSIGNAL) {
            Ok(_) => Ok(()),
            Err(Errno::PIPE | Errno::CONNRESET) => Err(self.never_started()),
            Err(errno) => Err(LaunchError::Parent {
                what: "release the program",
                source: errno.into(),
            }),
        }
    }

    /// Lets a program of [`Command::listen`](crate::Command::listen) install
    /// its filter, and takes the listener for the filter's `Notify` verdicts.
    ///
    /// Returns before exec, which may be such a call itself: answer it. When
    /// the program then cannot be executed, [`Child::wait`] says why.
    ///
    /// # Errors
    ///
    /// Why the program did not come to its filter, or pidfd_getfd(2) (5.6)
    /// failed: a filter on this process forbids it, or Yama's `ptrace_scope`.
    pub fn take_listener(&mut self) -> Result<OwnedFd, LaunchError> {
        self.let_go()?;
        let number = loop {
            if let Some(number) = self.autopsy.report().offered() {
                break number;
            }
            let mut fds = [PollFd::new(&self.program, PollFlags::IN)];
            if rustix::event::poll(&mut fds, Some(&Timespec::default())) != Ok(0) {
                return Err(self.never_started());
            }
            // The other side is some microseconds away and cannot wake anyone.
            std::thread::yield_now();
        };
        let listener =
            rustix::process::pidfd_getfd(&self.program, number, PidfdGetfdFlags::empty());
        match listener {
            Ok(listener) => {
                self.autopsy.report().taken();
                Ok(listener)
            }
            Err(errno) => {
                // It waits for ever otherwise.
                drop(self.kill());
                Err(LaunchError::Parent {
                    what: "take the filter's listener from the program with pidfd_getfd",
                    source: errno.into(),
                })
            }
        }
    }

    /// Sends a signal to the program alone. One that has ended gets none.
    ///
    /// # Errors
    ///
    /// EPERM when the program has become another user, EINVAL for a number
    /// that is no signal.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        match sys::pidfd_send_signal(self.program.as_fd(), signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Kills the program and everything that it has started. [`Child::wait`]
    /// returns when all of it is gone.
    ///
    /// # Errors
    ///
    /// None that is known.
    pub fn kill(&mut self) -> io::Result<()> {
        match rustix::net::shutdown(&self.status, Shutdown::Write) {
            Ok(()) | Err(Errno::NOTCONN) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Waits for the program: in a sandbox until it has ended, in the host's
    /// view until its last descendant has too. Closes stdin first, as std does.
    ///
    /// # Errors
    ///
    /// When the program never came to its start, the reason.
    pub fn wait(&mut self) -> Result<ExitStatus, LaunchError> {
        drop(self.stdin.take());
        while !self.reaped {
            self.receive_end(RecvFlags::empty())?;
        }
        self.conclude()
    }

    /// As [`Child::wait`], but `None` when that would block.
    ///
    /// # Errors
    ///
    /// As for [`Child::wait`].
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>, LaunchError> {
        while !self.reaped {
            if !self.receive_end(RecvFlags::DONTWAIT)? {
                return Ok(None);
            }
        }
        self.conclude().map(Some)
    }

    /// Readable when [`Child::try_wait`] has something new to look at: for
    /// programs that wait for several things at once.
    #[must_use]
    pub fn status_fd(&self) -> BorrowedFd<'_> {
        self.status.as_fd()
    }

    /// Waits, and collects what the program writes to piped streams meanwhile.
    ///
    /// # Errors
    ///
    /// As for [`Child::wait`], and what reading a pipe fails with.
    pub fn wait_with_output(mut self) -> Result<Output, LaunchError> {
        drop(self.stdin.take());
        let mut stderr = self.stderr.take();
        let mut stdout = self.stdout.take();
        let collected = std::thread::scope(|scope| {
            let errors = scope.spawn(|| collect(stderr.as_mut()));
            let output = collect(stdout.as_mut())?;
            let errors = errors
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            Ok((output, errors))
        });
        let (stdout, stderr) = collected.map_err(|source| LaunchError::Parent {
            what: "read the program's output",
            source,
        })?;
        Ok(Output {
            status: self.wait()?,
            stdout,
            stderr,
        })
    }

    /// What the program has changed in the folder that it got as
    /// [`Isolation::copy_on_write`](crate::Isolation::copy_on_write). `None`
    /// without one, when it was asked for before, and until [`Child::wait`]
    /// has returned: before, the program could still write there.
    ///
    /// # Errors
    ///
    /// What of it could not be read.
    pub fn changes(&mut self) -> Result<Option<Changes>, ChangesError> {
        if !self.reaped {
            return Ok(None);
        }
        let written = self.written.take();
        written
            .map(|(upper, layers)| Changes::read(upper, layers))
            .transpose()
    }

    /// Waits until exec has closed the program's end of the gate.
    fn await_exec(&mut self) -> Result<(), LaunchError> {
        while self.next_of_gate()?.is_some() {}
        self.gate = None;
        if self.autopsy.has_failed() || self.autopsy.filter_kills_exec() {
            // It is ending; the reason is complete once init has seen it end.
            while !self.reaped && self.ended.is_none() {
                self.receive_end(RecvFlags::empty())?;
            }
        }
        match self.autopsy.diagnose(self.ended) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// The process number that comes with the program's next byte, or `None`
    /// once exec, or its end, has closed the gate.
    fn next_of_gate(&mut self) -> Result<Option<u32>, LaunchError> {
        let Some(gate) = &self.gate else {
            return Ok(None);
        };
        receive_pid(gate).map_err(|source| LaunchError::Parent {
            what: "hear from the program's process",
            source,
        })
    }

    /// What the program's process sends when it has made its terminal.
    fn receive_terminal(&mut self) -> Result<Option<OwnedFd>, LaunchError> {
        let Some(gate) = &self.gate else {
            return Ok(None);
        };
        let received = receive_fds(gate, 1).map_err(|source| LaunchError::Parent {
            what: "take the program's terminal",
            source,
        })?;
        Ok(received.map(|(terminal, _none)| terminal))
    }

    /// The reason why a program ended before exec.
    fn never_started(&mut self) -> LaunchError {
        match self.wait() {
            Err(error) => error,
            Ok(_status) => LaunchError::InitDied,
        }
    }

    /// Takes init's next message, and reaps init when there is none left.
    /// False when `flags` say not to wait and there is nothing yet.
    fn receive_end(&mut self, flags: RecvFlags) -> Result<bool, LaunchError> {
        let mut bytes = [0; Message::SIZE];
        match rustix::io::retry_on_intr(|| rustix::net::recv(&self.status, &mut bytes, flags)) {
            Ok((Message::SIZE, _)) => {
                self.ended = Message::from_bytes(bytes).or(self.ended);
            }
            // A reset is how the end looks when init died with mail unread.
            Ok(_) | Err(Errno::CONNRESET) => {
                self.init_killed = reap(&self.init);
                self.reaped = true;
            }
            Err(Errno::AGAIN) => return Ok(false),
            Err(errno) => {
                return Err(LaunchError::Parent {
                    what: "hear from the init process",
                    source: errno.into(),
                });
            }
        }
        Ok(true)
    }

    fn conclude(&self) -> Result<ExitStatus, LaunchError> {
        if let Some(error) = self.autopsy.diagnose(self.ended) {
            return Err(error);
        }
        match self.ended.and_then(Message::exit_status) {
            Some(status) => Ok(status),
            // With the init of a namespace the kernel kills all of it, by the
            // same signal: for want of memory, mostly.
            None if self.init_killed
                && self.gate.is_none()
                && self.autopsy.plan.reaping == Reaping::Namespace =>
            {
                Ok(ExitStatus::from_raw(libc::SIGKILL))
            }
            None => Err(LaunchError::InitDied),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.reaped {
            return;
        }
        // Both ends are closed to init, which then kills everything.
        drop(self.gate.take());
        if self.kill().is_ok() {
            reap(&self.init);
        }
    }
}

fn collect<R: Read>(stream: Option<&mut R>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        stream.read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

//! Waiting for a program: signals are passed on to it, and its time runs out.

use std::fmt;
use std::os::fd::OwnedFd;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::Context;
use nucleus_core::Child;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::exit::Ended;
use crate::report;
use crate::session::Job;
use crate::signals::Signals;
use crate::terminal::Joined;
use crate::workspace::{self, OnExit};

/// How long a program may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimeLimit {
    /// Until it is asked to end, by SIGTERM.
    pub(crate) after: Duration,
    /// From then on until all of it is killed.
    pub(crate) kill_after: Duration,
}

/// A program that was started.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) child: Child,
    signals: Signals,
    own_session: bool,
    on_exit: OnExit,
    terminal: Option<Joined>,
    clock: Option<Clock>,
    /// The reading end of a pipe: closed without a word, it says that whoever
    /// answered the program's calls is gone.
    answering: Option<OwnedFd>,
}

impl Running {
    /// Starts the job. Threads that were started since `signals` was made
    /// leave the signals to it.
    pub(crate) fn start(job: &mut Job, signals: Signals) -> anyhow::Result<Self> {
        let mut child = job.command.give_code_back(true).spawn()?;
        let terminal = child.take_terminal().map(Joined::new).transpose()?;
        Ok(Self {
            child,
            terminal,
            signals,
            own_session: job.own_session,
            on_exit: job.on_exit,
            clock: job.time_limit.map(Clock::start),
            answering: None,
        })
    }

    /// The program lives no longer than the other end of this pipe, unless a
    /// byte comes first.
    pub(crate) fn tie_to(&mut self, answering: OwnedFd) {
        self.answering = Some(answering);
    }

    /// Waits for the program's end, and passes on what arrives meanwhile.
    pub(crate) fn wait(&mut self) -> anyhow::Result<Ended> {
        nucleus_core::give_back_code();
        loop {
            if let Some(status) = self.child.try_wait()? {
                self.show_the_rest()?;
                let ended = self.ended(status);
                workspace::end(&mut self.child, self.on_exit)?;
                return Ok(ended);
            }
            self.sleep()?;
            self.look_for_answers()?;
            self.pass_signals_on()?;
            if let Some(clock) = &mut self.clock {
                clock.look(&mut self.child)?;
            }
        }
    }

    fn ended(&self, status: ExitStatus) -> Ended {
        match &self.clock {
            Some(clock) if clock.stage != Stage::Running => {
                report::note(format_args!("timed out after {clock}"));
                Ended::TimedOut
            }
            _ => Ended::Itself(status),
        }
    }

    /// Shows what the program has left on its terminal. A screen that stands
    /// still must not hold nucleus for ever: a signal does without.
    fn show_the_rest(&mut self) -> anyhow::Result<()> {
        let Some(mut terminal) = self.terminal.take() else {
            return Ok(());
        };
        terminal.finish();
        let mut fds = [
            PollFd::new(terminal.shown(), PollFlags::IN),
            PollFd::new(&self.signals, PollFlags::IN),
        ];
        rustix::io::retry_on_intr(|| poll(&mut fds, None))
            .context("cannot wait for the terminal")?;
        Ok(())
    }

    /// Until there is something to do.
    fn sleep(&mut self) -> anyhow::Result<()> {
        let mut fds = vec![
            PollFd::from_borrowed_fd(self.child.status_fd(), PollFlags::IN),
            PollFd::new(&self.signals, PollFlags::IN),
        ];
        if let Some(terminal) = &self.terminal {
            fds.push(PollFd::new(terminal.shown(), PollFlags::IN));
        }
        fds.extend(
            self.answering
                .iter()
                .map(|it| PollFd::new(it, PollFlags::IN)),
        );
        let mut left = None;
        if let Some(clock) = &self.clock {
            left = clock.left();
            if clock.stage == Stage::Asked {
                fds.push(PollFd::from_borrowed_fd(self.child.pidfd(), PollFlags::IN));
            }
        }
        let left = left.map(Timespec::try_from).transpose();
        let left = left.context("cannot wait for that long")?;
        match poll(&mut fds, left.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno).context("cannot wait for the program"),
        }
        let unseen =
            self.terminal.is_some() && fds.get(2).is_some_and(|fd| !fd.revents().is_empty());
        if unseen {
            // The program learns it as from any terminal that goes away.
            self.terminal = None;
        }
        Ok(())
    }

    /// Kills a program whose calls nobody answers any more.
    fn look_for_answers(&mut self) -> anyhow::Result<()> {
        let Some(pipe) = &self.answering else {
            return Ok(());
        };
        let mut fds = [PollFd::new(pipe, PollFlags::IN)];
        let ready = poll(&mut fds, Some(&Timespec::default()));
        if ready.context("cannot look at who answers the program")? == 0 {
            return Ok(());
        }
        if !fds[0].revents().contains(PollFlags::IN) {
            self.child
                .kill()
                .context("cannot kill a program that nobody answers")?;
        }
        self.answering = None;
        Ok(())
    }

    fn pass_signals_on(&mut self) -> anyhow::Result<()> {
        while let Some(arrived) = self
            .signals
            .next()
            .context("cannot read the signals to pass on")?
        {
            let ended = has_ended(&self.child)?;
            match (&self.terminal, arrived.signal) {
                (Some(terminal), libc::SIGWINCH) => terminal
                    .resize()
                    .context("cannot give the program's terminal its size")?,
                (None, libc::SIGWINCH) if ended => {}
                // Only what the program has left running is still waited for.
                _ if ended => self
                    .child
                    .kill()
                    .context("cannot kill what the program left running")?,
                // What the terminal sends has reached the program already, if
                // it is in the same session.
                _ if arrived.from_kernel && !self.own_session => {}
                _ => self.child.signal(arrived.signal).with_context(|| {
                    format!("cannot pass signal {} on to the program", arrived.signal)
                })?,
            }
        }
        Ok(())
    }
}

/// Whether the program itself has ended, whatever it has left running.
fn has_ended(child: &Child) -> anyhow::Result<bool> {
    let mut fds = [PollFd::from_borrowed_fd(child.pidfd(), PollFlags::IN)];
    let ready = poll(&mut fds, Some(&Timespec::default())).context("cannot look at the program")?;
    Ok(ready > 0)
}

/// A time limit that runs.
#[derive(Debug)]
struct Clock {
    limit: TimeLimit,
    stage: Stage,
    /// When the next stage comes.
    next: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Running,
    /// It was sent SIGTERM.
    Asked,
    /// It has ended, and what it had left running was killed.
    Swept,
    /// It was still there after that.
    Killed,
}

impl Clock {
    fn start(limit: TimeLimit) -> Self {
        Self {
            limit,
            stage: Stage::Running,
            next: Instant::now() + limit.after,
        }
    }

    /// How long until there is something to do; `None` when there is nothing.
    fn left(&self) -> Option<Duration> {
        match self.stage {
            Stage::Running | Stage::Asked => {
                Some(self.next.saturating_duration_since(Instant::now()))
            }
            Stage::Swept | Stage::Killed => None,
        }
    }

    /// Does what it is time for.
    fn look(&mut self, child: &mut Child) -> anyhow::Result<()> {
        let is_over = Instant::now() >= self.next;
        self.stage = match self.stage {
            Stage::Running if is_over && !self.limit.kill_after.is_zero() => {
                self.next += self.limit.kill_after;
                // A program that stands still must go on, to see it.
                for signal in [libc::SIGTERM, libc::SIGCONT] {
                    child
                        .signal(signal)
                        .context("cannot ask the program to end")?;
                }
                Stage::Asked
            }
            Stage::Asked if has_ended(child)? => {
                child
                    .kill()
                    .context("cannot kill what the program left running")?;
                Stage::Swept
            }
            Stage::Running | Stage::Asked if is_over => {
                child.kill().context("cannot kill the program")?;
                Stage::Killed
            }
            stage => stage,
        };
        Ok(())
    }
}

impl fmt::Display for Clock {
    /// How the time limit ended the program.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TimeLimit { after, kill_after } = self.limit;
        write!(f, "{after:?}: ")?;
        match self.stage {
            Stage::Killed if kill_after.is_zero() => f.write_str("killed"),
            Stage::Killed => write!(f, "killed, {kill_after:?} after SIGTERM"),
            Stage::Running | Stage::Asked | Stage::Swept => f.write_str("ended by SIGTERM"),
        }
    }
}

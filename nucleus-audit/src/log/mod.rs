//! Sources that read the kernel's own records: audit netlink and the log.

mod kmsg;
mod marker;
mod netlink;
mod serials;

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nucleus_seccomp::Completeness;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;

use crate::{Error, Event, SeccompRecord, Source};
use marker::{Emission, Marker, check_logged};

/// How many markers are sent before the stream counts as cut.
const MARKERS: u32 = 5;
/// How much longer a marker may take while other records keep coming: it is
/// behind them.
const BEHIND_OTHERS: Duration = Duration::from_secs(10);
/// How long a record may be behind one that was written later.
const STRAGGLERS: Duration = Duration::from_millis(10);

/// Which of the kernel's streams to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogKind {
    /// The audit netlink multicast group; needs `CAP_AUDIT_READ`.
    Audit,
    /// `/dev/kmsg`: loses records under load, and says so.
    Kmsg,
}

/// Which records the reader is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogPurpose {
    /// Denials: errno, trap and kill.
    Denials,
    /// Calls that a filter lets go on with `SECCOMP_RET_LOG`.
    Logged,
}

impl LogPurpose {
    const fn actions(self) -> &'static [&'static str] {
        match self {
            Self::Denials => &["errno", "trap", "kill_thread", "kill_process"],
            // The marker is an errno.
            Self::Logged => &["log", "errno"],
        }
    }
}

/// What one read of a stream gave.
#[derive(Debug)]
enum Reading {
    Record(SeccompRecord),
    /// Something that is no seccomp record.
    Other,
    /// Nothing is there now.
    Empty,
}

trait Reader: fmt::Debug + Send {
    fn name(&self) -> &'static str;
    fn fd(&self) -> BorrowedFd<'_>;
    fn read(&mut self) -> Result<Reading, Error>;
    /// How long nothing may come before a marker counts as lost, that many
    /// having been sent.
    fn patience(&self, sent: u32) -> Duration;
    /// What was lost until now was of no concern.
    fn begin(&mut self);
    /// Whether an earlier record may still be on its way.
    fn awaits(&self) -> bool;
    fn losses(&self, verdict: &mut Completeness);
}

/// The kernel's seccomp records of the whole machine, from now on.
///
/// Every process's records come: pass them through a [`Scope`](crate::Scope).
/// The source ends when its [`Stopper`] is used: it then reads what the
/// kernel still holds, up to a record that it has the kernel write for this.
#[derive(Debug)]
pub struct LogSource {
    reader: Box<dyn Reader>,
    marker: Marker,
    stop: Arc<Stop>,
    phase: Phase,
    /// Processes that were started to make markers.
    emissions: Vec<Emission>,
    /// Whether a marker of the end did not come back.
    cut: bool,
    /// Whether the kernel numbers this process as it knows itself.
    numbers_as_here: bool,
}

#[derive(Debug)]
enum Phase {
    Live,
    /// Until the marker comes back.
    Draining {
        until: Instant,
        sent: u32,
    },
    /// The marker is back; stragglers may come until then.
    Waiting {
        until: Instant,
    },
    Ended,
}

#[derive(Debug)]
struct Stop {
    asked: AtomicBool,
    wake: OwnedFd,
}

/// Ends a [`LogSource`] from another thread, or from the same one.
#[derive(Debug, Clone)]
pub struct Stopper(Arc<Stop>);

impl AsFd for Stopper {
    /// Readable once the source was asked to stop.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.wake.as_fd()
    }
}

impl Stopper {
    /// Makes the source read what is there already, and end.
    ///
    /// # Errors
    ///
    /// When the reader cannot be woken.
    pub fn stop(&self) -> Result<(), Error> {
        self.0.asked.store(true, Ordering::Release);
        match rustix::io::write(&self.0.wake, &1_u64.to_ne_bytes()) {
            Ok(_) => Ok(()),
            // Full: it is awake.
            Err(Errno::AGAIN) => Ok(()),
            Err(errno) => Err(Error::Wake(errno.into())),
        }
    }
}

impl LogSource {
    /// Opens one of the streams and proves by a record of its own that
    /// seccomp records arrive.
    ///
    /// # Errors
    ///
    /// Where the privilege is missing, the kernel does not log these actions,
    /// or nothing arrives; with the remedy.
    pub fn open(kind: LogKind, purpose: LogPurpose) -> Result<Self, Error> {
        check_logged(purpose.actions())?;
        let reader: Box<dyn Reader> = match kind {
            LogKind::Audit => Box::new(netlink::Netlink::open()?),
            LogKind::Kmsg => Box::new(kmsg::Kmsg::open()?),
        };
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let wake = eventfd(0, flags).map_err(|errno| Error::Wake(errno.into()))?;
        let mut source = Self {
            reader,
            marker: Marker::new()?,
            stop: Arc::new(Stop {
                asked: AtomicBool::new(false),
                wake,
            }),
            phase: Phase::Live,
            emissions: Vec::new(),
            cut: false,
            numbers_as_here: false,
        };
        source.prove(kind)?;
        Ok(source)
    }

    /// Opens the best stream that works, and says why better ones do not.
    ///
    /// # Errors
    ///
    /// [`Error::NoLog`] with the reasons of all.
    pub fn open_best(purpose: LogPurpose) -> Result<(Self, Vec<Error>), Error> {
        let audit = match Self::open(LogKind::Audit, purpose) {
            Ok(source) => return Ok((source, Vec::new())),
            Err(error) => error,
        };
        match Self::open(LogKind::Kmsg, purpose) {
            Ok(source) => Ok((source, vec![audit])),
            Err(kmsg) => Err(Error::NoLog {
                audit: Box::new(audit),
                kmsg: Box::new(kmsg),
            }),
        }
    }

    /// What ends this source.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper(Arc::clone(&self.stop))
    }

    /// Whether process ids in the events mean what they mean here. Records
    /// hold those of the initial PID namespace; in another one
    /// [`Scope::Target`](crate::Scope::Target) would take one process for
    /// another.
    #[must_use]
    pub const fn numbers_as_here(&self) -> bool {
        self.numbers_as_here
    }

    /// Waits for a marker; drops the records of others on the way, which were
    /// made before anybody asked.
    fn prove(&mut self, kind: LogKind) -> Result<(), Error> {
        let emission = self.marker.emit()?;
        let mut made = false;
        let patience = self.reader.patience(1);
        let until = Instant::now() + patience;
        loop {
            match self.reader.read()? {
                Reading::Record(record) if self.marker.is(&record) => {
                    self.numbers_as_here = record.pid == emission.pid();
                    self.emissions.push(emission);
                    self.reader.begin();
                    return Ok(());
                }
                Reading::Record(_) | Reading::Other => {}
                Reading::Empty => {
                    made = made || emission.is_done()?;
                    self.wait(Some(until), (!made).then(|| emission.fd()))?;
                }
            }
            if Instant::now() >= until {
                return Err(match kind {
                    _ if !(made || emission.is_done()?) => Error::Stuck { patience },
                    LogKind::Audit => Error::SilentAudit { patience },
                    LogKind::Kmsg => Error::SilentKmsg { patience },
                });
            }
        }
    }

    /// Sleeps until there is something to read, `other` is readable, or it is
    /// time.
    fn wait(&self, until: Option<Instant>, other: Option<BorrowedFd<'_>>) -> Result<(), Error> {
        let timeout = until.map(|until| {
            let left = until.saturating_duration_since(Instant::now());
            // Some seconds at most, so the conversion cannot fail.
            Timespec::try_from(left).unwrap_or_default()
        });
        let stream = self.reader.fd();
        let mut both =
            [stream, other.unwrap_or(stream)].map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        match poll(&mut both, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(Error::Wake(errno.into())),
        }
    }

    /// Goes on to the next phase when it is time. `empty`: nothing is there
    /// to read now, and until `rest` it may be waited for.
    fn advance(&mut self, empty: bool, rest: Option<Instant>) -> Result<(), Error> {
        match self.phase {
            Phase::Live => {
                if self.stop.asked.load(Ordering::Acquire) {
                    self.send_marker(1)?;
                } else if empty {
                    self.wait(rest, Some(self.stop.wake.as_fd()))?;
                }
            }
            Phase::Draining { until, sent } => {
                let patience = if empty { until } else { until + BEHIND_OTHERS };
                if Instant::now() < patience {
                    if empty {
                        self.wait(Some(until), None)?;
                    }
                } else if sent < MARKERS {
                    self.send_marker(sent + 1)?;
                } else {
                    self.cut = true;
                    self.phase = Phase::Ended;
                }
            }
            Phase::Waiting { until } => {
                if !self.reader.awaits() || Instant::now() >= until {
                    self.phase = Phase::Ended;
                } else if empty {
                    self.wait(Some(until), None)?;
                }
            }
            Phase::Ended => {}
        }
        Ok(())
    }

    fn send_marker(&mut self, sent: u32) -> Result<(), Error> {
        // One that could not make its record is told of here.
        for emission in std::mem::take(&mut self.emissions) {
            if !emission.is_done()? {
                self.emissions.push(emission);
            }
        }
        let emission = self.marker.emit()?;
        self.emissions.push(emission);
        self.phase = Phase::Draining {
            until: Instant::now() + self.reader.patience(sent),
            sent,
        };
        Ok(())
    }

    /// As [`Source::next`], but does not wait longer than until `rest`.
    pub(crate) fn next_before(&mut self, rest: Option<Instant>) -> Result<Next, Error> {
        while !matches!(self.phase, Phase::Ended) {
            let empty = match self.reader.read()? {
                Reading::Record(record) if !self.marker.is(&record) => {
                    // Under an endless stream the time must pass too.
                    if !matches!(self.phase, Phase::Live) || self.stop.asked.load(Ordering::Acquire)
                    {
                        self.advance(false, None)?;
                    }
                    return Ok(Next::Event(record.into()));
                }
                Reading::Record(_marker) => {
                    if matches!(self.phase, Phase::Draining { .. }) {
                        self.phase = Phase::Waiting {
                            until: Instant::now() + STRAGGLERS,
                        };
                    }
                    false
                }
                Reading::Other => false,
                Reading::Empty => true,
            };
            let live = matches!(self.phase, Phase::Live);
            if empty && live && rest.is_some_and(|rest| Instant::now() >= rest) {
                return Ok(Next::Nothing);
            }
            self.advance(empty, rest)?;
        }
        Ok(Next::End)
    }
}

/// What a wait for the next event came to.
#[derive(Debug)]
pub(crate) enum Next {
    Event(Event),
    /// Nothing until the given time.
    Nothing,
    End,
}

impl Source for LogSource {
    fn name(&self) -> &'static str {
        self.reader.name()
    }

    fn next(&mut self) -> Result<Option<Event>, Error> {
        loop {
            match self.next_before(None)? {
                Next::Event(event) => return Ok(Some(event)),
                Next::Nothing => {}
                Next::End => return Ok(None),
            }
        }
    }

    fn completeness(&self) -> Completeness {
        let mut verdict = Completeness::Complete;
        self.reader.losses(&mut verdict);
        if self.cut {
            verdict.lose(
                None,
                "a record that marks the end did not come back, so others may be missing too",
            );
        }
        verdict
    }
}

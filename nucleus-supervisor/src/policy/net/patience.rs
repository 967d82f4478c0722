//! Waiting in a caller's place: it ends when the caller would have been
//! interrupted.

use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::net::sockopt::{self, Timeout};

use super::caller::Socket;
use crate::Request;
use crate::process::status_field;

/// `ERESTARTSYS` (`include/linux/errno.h`): the kernel makes EINTR of it for
/// the program, or the call anew, as the signal's handler is set up.
pub(in crate::policy) const RESTART: Errno = Errno::from_raw_os_error(512);

/// How soon an interrupted caller is seen.
const LOOK: Duration = Duration::from_millis(50);

/// Longest pause where nothing says when to try again.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// The wait of one call.
#[derive(Debug)]
pub(super) struct Patience<'a> {
    request: &'a Request,
    until: Option<Instant>,
    pause: Duration,
}

impl<'a> Patience<'a> {
    /// For a call that sends or connects: as long as `SO_SNDTIMEO` says.
    pub(super) fn new(request: &'a Request, socket: &Socket) -> Result<Self, Errno> {
        let timeout = sockopt::socket_timeout(socket, Timeout::Send)?;
        Ok(Self {
            request,
            until: timeout.map(|timeout| Instant::now() + timeout),
            pause: Duration::from_micros(100),
        })
    }

    /// Waits until a socket may take more.
    ///
    /// # Errors
    ///
    /// The caller was interrupted or is gone ([`RESTART`]); its time-out is
    /// over (EAGAIN).
    pub(super) fn writable(&self, socket: &Socket) -> Result<(), Errno> {
        loop {
            let wait = self.next(LOOK)?;
            let wait = Timespec::try_from(wait).map_err(|_too_long| Errno::INVAL)?;
            let mut fds = [PollFd::new(socket, PollFlags::OUT)];
            let ready = rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, Some(&wait)))?;
            if ready > 0 {
                return Ok(());
            }
        }
    }

    /// Waits a little, more each time: for what no event tells of.
    ///
    /// # Errors
    ///
    /// As [`writable`](Self::writable).
    pub(super) fn pause(&mut self) -> Result<(), Errno> {
        thread::sleep(self.next(self.pause)?);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }

    fn next(&self, most: Duration) -> Result<Duration, Errno> {
        if !self.request.is_waiting()? || has_signal(self.request.thread()) {
            return Err(RESTART);
        }
        match self.until {
            None => Ok(most),
            Some(until) => match until.saturating_duration_since(Instant::now()) {
                left if left.is_zero() => Err(Errno::AGAIN),
                left => Ok(left.min(most)),
            },
        }
    }
}

/// Whether a call of this socket waits, but for its own flags.
pub(super) fn is_blocking(socket: &Socket) -> Result<bool, Errno> {
    Ok(!rustix::fs::fcntl_getfl(socket.as_fd())?.contains(OFlags::NONBLOCK))
}

/// Whether a thread has a signal to handle. While its call is at the
/// supervisor the kernel interrupts it for a deadly one alone.
pub(in crate::policy) fn has_signal(thread: i32) -> bool {
    std::fs::read(format!("/proc/{thread}/status"))
        .ok()
        .and_then(|status| pending(&status))
        // It is gone, or as good as.
        .unwrap_or(true)
}

fn pending(status: &[u8]) -> Option<bool> {
    let set = |name: &[u8]| {
        let text = str::from_utf8(status_field(status, name)?).ok()?;
        u64::from_str_radix(text.trim(), 16).ok()
    };
    let arrived = set(b"SigPnd:")? | set(b"ShdPnd:")?;
    Some(arrived & !set(b"SigBlk:")? & !set(b"SigIgn:")? != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_counts_unless_it_is_blocked_or_ignored() {
        let check = |sets: [u64; 4], expected| {
            let [own, shared, blocked, ignored] = sets;
            let status = format!(
                "SigPnd:\t{own:016x}\nShdPnd:\t{shared:016x}\nSigBlk:\t{blocked:016x}\n\
                 SigIgn:\t{ignored:016x}\n"
            );
            assert_eq!(pending(status.as_bytes()), Some(expected), "{sets:?}");
        };
        check([0, 0, 0, 0], false);
        check([1, 0, 0, 0], true);
        check([0, 2, 0, 0], true);
        check([1, 2, 1, 2], false);
        assert_eq!(pending(b""), None);
    }
}

//! The caller's terminal, joined to the one that the program has in its
//! sandbox: keys go in, what is shown comes out, and the size follows.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, Once};
use std::thread;

use anyhow::{Context, ensure};
use nucleus_core::TerminalSize;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::pty::OpenptFlags;
use rustix::stdio::{stdin, stdout};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetwinsize};

/// The size of the terminal that a program's own will be joined to.
pub(crate) fn size() -> anyhow::Result<TerminalSize> {
    ensure!(
        isatty(stdin()),
        "-t needs a terminal to join the program's to, and standard input is none; leave -t out"
    );
    let size = tcgetwinsize(stdin()).context("cannot read the size of the terminal")?;
    Ok(TerminalSize {
        rows: size.ws_row,
        columns: size.ws_col,
    })
}

/// Both terminals, joined for as long as this lives.
#[derive(Debug)]
pub(crate) struct Joined {
    near: Arc<OwnedFd>,
    /// An open far end: without one, the near end would fail for as long as the
    /// program has all its own closed.
    far: Option<OwnedFd>,
    /// Closed to tell both threads that the program has ended.
    running: Option<OwnedFd>,
    /// At its end of file, everything is shown.
    shown: OwnedFd,
    _raw: Raw,
}

impl Joined {
    /// Joins the terminal of this process to the one with this near end.
    pub(crate) fn new(near: OwnedFd) -> anyhow::Result<Self> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let far = rustix::pty::ioctl_tiocgptpeer(&near, flags)
            .context("cannot open the program's terminal")?;
        let near = Arc::new(near);
        let pipe = || pipe_with(PipeFlags::CLOEXEC).context("cannot make a pipe");
        let (stop, running) = pipe()?;
        let stop = Arc::new(stop);
        let (shown, showing) = pipe()?;
        let raw = Raw::enter()?;
        let (from, until) = (near.clone(), stop.clone());
        thread::Builder::new()
            .name("terminal-out".into())
            .spawn(move || {
                // With the screen gone there is nothing to tell it.
                drop(copy(&from, stdout(), &until, Rest::Copied));
                drop(showing);
            })
            .context("cannot start a thread")?;
        let to = near.clone();
        thread::Builder::new()
            .name("terminal-in".into())
            .spawn(move || drop(copy(stdin(), &to, &stop, Rest::Left)))
            .context("cannot start a thread")?;
        Ok(Self {
            near,
            far: Some(far),
            running: Some(running),
            shown,
            _raw: raw,
        })
    }

    /// Gives the program's terminal the size of this one.
    pub(crate) fn resize(&self) -> io::Result<()> {
        let size = tcgetwinsize(stdin())?;
        Ok(tcsetwinsize(&*self.near, size)?)
    }

    /// At its end of file nothing is shown any more: at the end, or earlier
    /// when nobody reads what nucleus writes.
    pub(crate) const fn shown(&self) -> &OwnedFd {
        &self.shown
    }

    /// Lets what is left be shown, once the program has ended.
    pub(crate) fn finish(&mut self) {
        drop(self.far.take());
        drop(self.running.take());
    }
}

/// What happens at the end to what is there to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    Copied,
    Left,
}

/// Copies until the source ends or `stop` is closed at its other end.
fn copy(source: impl AsFd, sink: impl AsFd, stop: &OwnedFd, rest: Rest) -> io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    loop {
        let mut fds = [
            PollFd::new(&source, PollFlags::IN),
            PollFd::new(stop, PollFlags::IN),
        ];
        retry_on_intr(|| poll(&mut fds, None))?;
        let [readable, stopped] = fds.map(|fd| !fd.revents().is_empty());
        if stopped && (rest == Rest::Left || !has_more(&source)?) {
            return Ok(());
        }
        if !readable {
            continue;
        }
        let length = match retry_on_intr(|| rustix::io::read(&source, &mut buffer)) {
            // The far end is closed.
            Ok(0) | Err(Errno::IO) => return Ok(()),
            Ok(length) => length,
            Err(errno) => return Err(errno.into()),
        };
        let mut left = buffer.get(..length).unwrap_or_default();
        while !left.is_empty() {
            let written = retry_on_intr(|| rustix::io::write(&sink, left))?;
            left = left.get(written..).unwrap_or_default();
        }
    }
}

/// Whether there is something to read now. For a terminal the kernel moves
/// what is under way first.
fn has_more(source: impl AsFd) -> io::Result<bool> {
    let mut fds = [PollFd::new(&source, PollFlags::IN)];
    retry_on_intr(|| poll(&mut fds, Some(&Timespec::default())))?;
    let [source] = fds;
    Ok(source.revents().contains(PollFlags::IN))
}

/// The modes to go back to, while the terminal is raw.
static ORIGINAL: Mutex<Option<Termios>> = Mutex::new(None);

/// Whether a line that nucleus says must bring its own carriage return.
pub(crate) fn is_raw() -> bool {
    ORIGINAL.lock().is_ok_and(|original| original.is_some())
}

/// The terminal passes every key on, until this is dropped or nucleus panics.
#[derive(Debug)]
struct Raw(());

impl Raw {
    fn enter() -> anyhow::Result<Self> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                restore();
                before(panic);
            }));
        });
        let original = tcgetattr(stdin()).context("cannot read the terminal's modes")?;
        let mut raw = original.clone();
        raw.make_raw();
        if let Ok(mut slot) = ORIGINAL.lock() {
            *slot = Some(original);
        }
        let entered = Self(());
        rustix::termios::tcsetattr(stdin(), OptionalActions::Now, &raw)
            .context("cannot set the terminal's modes")?;
        Ok(entered)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

/// Gives the terminal its modes back. A terminal that is gone needs none.
fn restore() {
    if let Ok(mut original) = ORIGINAL.try_lock()
        && let Some(original) = original.take()
    {
        let _gone = rustix::termios::tcsetattr(stdin(), OptionalActions::Now, &original);
    }
}

//! Endless pipes of random bytes.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::thread;

use rustix::event::{EventfdFlags, PollFd, PollFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use super::seed::Stream;
use crate::Error;

const FEEDER: &str = "nucleus-random";

/// Keeps pipes full, on a thread of its own, until nobody can read them.
#[derive(Debug)]
pub(super) struct Feeder {
    pipes: Sender<Fed>,
    wake: OwnedFd,
}

/// A pipe, and what it is filled with.
#[derive(Debug)]
struct Fed {
    pipe: OwnedFd,
    stream: Stream,
    /// Drawn from the stream, and not written yet.
    rest: Vec<u8>,
}

impl Feeder {
    pub(super) fn start() -> Result<Self, Error> {
        let failed = |errno: Errno| Error::Thread {
            name: FEEDER,
            source: errno.into(),
        };
        let wake = rustix::event::eventfd(0, EventfdFlags::CLOEXEC).map_err(failed)?;
        let woken = wake.try_clone();
        let (pipes, new) = mpsc::channel();
        woken
            .and_then(|woken| {
                thread::Builder::new()
                    .name(FEEDER.to_owned())
                    .spawn(move || feed(&woken, &new))
            })
            .map_err(|source| Error::Thread {
                name: FEEDER,
                source,
            })?;
        Ok(Self { pipes, wake })
    }

    /// The end of a new pipe to read a stream from; what fits is there already.
    pub(super) fn pipe(&self, stream: Stream) -> Result<OwnedFd, Errno> {
        let (read, pipe) = pipe_with(PipeFlags::CLOEXEC)?;
        // The flag is one of this end alone.
        rustix::io::ioctl_fionbio(&pipe, true)?;
        let mut fed = Fed {
            pipe,
            stream,
            rest: Vec::new(),
        };
        if fed.fill() {
            self.pipes.send(fed).map_err(|_ended| Errno::IO)?;
            rustix::io::write(&self.wake, &1_u64.to_ne_bytes())?;
        }
        Ok(read)
    }
}

impl Drop for Feeder {
    /// The thread finds that no more pipes come.
    fn drop(&mut self) {
        let (none, _) = mpsc::channel();
        self.pipes = none;
        // It cannot be full: each number in it was written by `pipe`.
        let _woken: Result<usize, Errno> = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }
}

impl Fed {
    /// Writes what fits; false when nobody can read it any more.
    fn fill(&mut self) -> bool {
        loop {
            if self.rest.is_empty() {
                self.rest.resize(4096, 0);
                self.stream.fill(&mut self.rest);
            }
            match rustix::io::write(&self.pipe, &self.rest) {
                Ok(written) => drop(self.rest.drain(..written)),
                Err(Errno::AGAIN) => return true,
                Err(Errno::INTR) => {}
                Err(_nobody) => return false,
            }
        }
    }
}

fn feed(woken: &OwnedFd, new: &Receiver<Fed>) {
    let mut pipes: Vec<Fed> = Vec::new();
    loop {
        let mut fds = vec![PollFd::new(woken, PollFlags::IN)];
        fds.extend(
            pipes
                .iter()
                .map(|fed| PollFd::new(&fed.pipe, PollFlags::OUT)),
        );
        let polled = rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, None));
        if polled.is_err() {
            // Without memory for it: readers find the end of their pipes.
            return;
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        let mut ready = ready.into_iter();
        let is_woken = ready.next() == Some(true);
        pipes.retain_mut(|fed| ready.next() != Some(true) || fed.fill());
        if !is_woken {
            continue;
        }
        let mut count = [0; 8];
        if rustix::io::read(woken.as_fd(), &mut count).is_err() {
            return;
        }
        loop {
            match new.try_recv() {
                Ok(fed) => pipes.push(fed),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::determinism::seed::Streams;
    use std::io::Read as _;

    fn stream() -> Stream {
        let seed = "7".parse().expect("a seed");
        Streams::new(seed).common()
    }

    #[test]
    fn a_pipe_never_ends_and_is_the_same_again() {
        let feeder = Feeder::start().expect("a thread");
        let read = || {
            let pipe = feeder.pipe(stream()).expect("a pipe");
            let mut bytes = vec![0; 300_000];
            std::fs::File::from(pipe)
                .read_exact(&mut bytes)
                .expect("endless");
            bytes
        };
        let (one, other) = (read(), read());
        let mut expected = vec![0; one.len()];
        let mut direct = stream();
        for chunk in expected.chunks_mut(4096) {
            direct.fill(chunk);
        }
        assert!(one == expected && other == expected);
    }

    #[test]
    fn the_thread_ends_with_the_feeder() {
        let feeder = Feeder::start().expect("a thread");
        let pipe = feeder.pipe(stream()).expect("a pipe");
        drop(feeder);
        let mut bytes = Vec::new();
        std::fs::File::from(pipe)
            .read_to_end(&mut bytes)
            .expect("an end");
        assert!(!bytes.is_empty());
    }
}

//! Runs that see the same time and the same random numbers again.
//!
//! Not a wall: a program that wants the true time finds it. It is for those
//! that ask in the usual ways.

mod clock;
mod device;
mod feeder;
mod image;
mod seed;
mod time;
mod vdso;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

pub use self::device::RandomFiles;
pub use self::seed::{RandomSeed, SeedError};
pub use self::time::{TimeError, TimeStart};

use self::clock::Clock;
use self::seed::Streams;
use crate::limits::everywhere;
use crate::{
    Enforced, Enforcer, Guard, Refusal, Task, TracedCall, TrapError, Traps, Verdict, When,
    memory_of,
};

/// Lets the wall clock start at a given moment, and derives random numbers
/// from a seed: what the tracer does about it.
///
/// The files of random numbers are for [`RandomFiles`], as a listener.
///
/// ```
/// use nucleus_supervisor::{Determinism, Guard as _, Traps};
///
/// let guard = Determinism::new(Some("2020-01-01T00:00:00Z".parse()?), Some("7".parse()?));
/// let mut traps = Traps::for_tracer();
/// guard.trap(&mut traps)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Determinism {
    clock: Option<Clock>,
    random: Option<(RandomSeed, SharedStreams)>,
    /// How many programs were killed, and why the first.
    failed: Option<(u64, io::Error)>,
}

/// The streams, which the tracer and the listener use.
#[derive(Debug, Clone)]
struct SharedStreams(Arc<Mutex<Streams>>);

impl SharedStreams {
    /// A stream is never left half changed.
    fn lock(&self) -> MutexGuard<'_, Streams> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `GRND_NONBLOCK`, `GRND_RANDOM` and `GRND_INSECURE`.
const GETRANDOM_FLAGS: u32 = 7;
/// `GRND_RANDOM | GRND_INSECURE`, which make no sense together.
const GETRANDOM_BOTH: u32 = 6;
/// Most bytes of one call. The kernel, too, gives less than was asked for.
const MOST: u64 = 32 << 20;

impl Determinism {
    /// With a start of the clock, a seed, or both.
    #[must_use]
    pub fn new(start: Option<TimeStart>, seed: Option<RandomSeed>) -> Self {
        let streams = |seed| SharedStreams(Arc::new(Mutex::new(Streams::new(seed))));
        Self {
            clock: start.map(Clock::new),
            random: seed.map(|seed| (seed, streams(seed))),
            failed: None,
        }
    }

    /// The other half, for a listener; `None` without a seed.
    #[must_use]
    pub fn random_files(&self) -> Option<RandomFiles> {
        let (_seed, streams) = self.random.as_ref()?;
        Some(RandomFiles::new(streams.clone()))
    }

    /// Fills the caller's memory from its thread's stream, in pieces.
    fn getrandom(streams: &SharedStreams, call: &TracedCall) -> Result<u64, Errno> {
        let [place, length, ..] = call.data.args;
        let flags = call.int(2);
        if flags & !GETRANDOM_FLAGS != 0 || flags & GETRANDOM_BOTH == GETRANDOM_BOTH {
            return Err(Errno::INVAL);
        }
        let length = length.min(MOST);
        let mut streams = streams.lock();
        let stream = streams.of(call.task.thread);
        let mut chunk = [0; 4096];
        let mut done = 0;
        while done < length {
            let left = usize::try_from(length - done).unwrap_or(chunk.len());
            let size = left.min(chunk.len());
            let chunk = &mut chunk[..size];
            stream.fill(chunk);
            let place = place.checked_add(done).ok_or(Errno::FAULT)?;
            memory_of(call)
                .write(place, chunk)
                .map_err(|error| error.errno())?;
            done += u64::try_from(size).unwrap_or(0);
        }
        Ok(length)
    }

    /// Changes a program before its first instruction. A vDSO that cannot be
    /// changed is taken away.
    fn change(&mut self, process: u32, former: u32) -> io::Result<()> {
        let program = image::Program::open(process)?;
        if let Some((_seed, streams)) = &self.random {
            let mut streams = streams.lock();
            streams.executed(process, former);
            let mut bytes = [0; 16];
            streams.of(process).fill(&mut bytes);
            program.set_random(bytes)?;
        }
        let wish = vdso::Wish {
            shift: self.clock.as_mut().map(Clock::shift),
            no_random: self.random.is_some(),
        };
        let mut changed = None;
        if program.has_vdso() {
            let vdso = program.vdso().ok();
            let patches = vdso.and_then(|it| Some((vdso::patches(&it.bytes, it.base, wish)?, it)));
            match patches {
                Some((patches, vdso)) => {
                    program.patch(vdso.base, &patches)?;
                    let length = u64::try_from(vdso.bytes.len()).unwrap_or(0);
                    changed = Some(vdso.base..vdso.base + length);
                }
                None => program.hide_vdso()?,
            }
        }
        if let Some(clock) = &mut self.clock {
            clock.executed(process, former, changed);
        }
        Ok(())
    }
}

impl Guard for Determinism {
    fn enforced(&self) -> Vec<Enforced> {
        let rule = |rule: String| Enforced {
            rule,
            by: Enforcer::Tracer,
        };
        let start = self.clock.as_ref().map(Clock::start);
        let start = start.map(|start| rule(format!("wall clock from {start} on")));
        let seed = self.random.as_ref().map(|(seed, _streams)| seed);
        let seed = seed.map(|seed| rule(format!("random numbers from the seed {seed}")));
        start.into_iter().chain(seed).collect()
    }

    fn trap(&self, traps: &mut Traps) -> Result<(), TrapError> {
        if self.clock.is_some() {
            Clock::trap(traps)?;
        }
        if self.random.is_some() {
            for call in everywhere("getrandom") {
                traps.add(call, When::Always)?;
            }
        }
        // Its requests run no filter: it waits by the wall clock and opens files.
        for call in everywhere("io_uring_setup") {
            traps.refuse(call, Refusal::Of(When::Always, Errno::NOSYS))?;
        }
        Ok(())
    }

    fn enter(&mut self, call: &TracedCall) -> Verdict {
        let name = call.data.syscall().and_then(nucleus_seccomp::Syscall::name);
        match (&mut self.random, &mut self.clock) {
            (Some((_seed, streams)), _) if name == Some("getrandom") => {
                match Self::getrandom(streams, call) {
                    Ok(length) => Verdict::Value(length.cast_signed()),
                    Err(errno) => Verdict::Errno(errno),
                }
            }
            (_, Some(clock)) => clock.enter(call),
            _ => Verdict::Go,
        }
    }

    fn over(&mut self, thread: u32) {
        if let Some(clock) = &mut self.clock {
            clock.over(thread);
        }
    }

    fn born(&mut self, child: Task, parent: Option<Task>) {
        // One whose parent has not told of it: that stands still until it has,
        // and has made no other meanwhile.
        let parent = parent.or_else(|| crate::process::comes_from(child));
        if let Some((_seed, streams)) = &self.random {
            streams.lock().born(child, parent);
        }
        if let (Some(clock), Some(parent), true) = (&mut self.clock, parent, child.leads()) {
            clock.born(child.process, parent.process);
        }
    }

    fn executed(&mut self, process: u32, former: u32) -> bool {
        match self.change(process, former) {
            Ok(()) => true,
            Err(error) => {
                // One that was killed meanwhile is no failure.
                let killed = [Some(libc::ESRCH), Some(libc::ENOENT)];
                if !killed.contains(&error.raw_os_error()) {
                    let (count, _) = self.failed.get_or_insert((0, error));
                    *count += 1;
                }
                false
            }
        }
    }

    fn ended(&mut self, task: Task) {
        if let Some((_seed, streams)) = &self.random {
            streams.lock().ended(task.thread);
        }
        if let Some(clock) = &mut self.clock {
            clock.ended(task.thread, task.leads());
        }
    }

    fn report(&self) -> Vec<String> {
        let failed = self.failed.iter().map(|(count, error)| {
            format!(
                "{count} programs were killed because their clocks or random numbers could not be \
                 replaced: {error}; an executable file that cannot be read is one reason"
            )
        });
        failed.collect()
    }
}

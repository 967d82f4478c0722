//! Random numbers that are the same in every run.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng as _, SeedableRng as _};

use crate::Task;

/// What all random numbers of a run are derived from.
///
/// ```
/// use nucleus_supervisor::RandomSeed;
///
/// assert_eq!("255".parse::<RandomSeed>()?, "0xff".parse()?);
/// # Ok::<(), nucleus_supervisor::SeedError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RandomSeed([u8; 32]);

/// A text that is no seed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no seed; one is written 42, or 0x and at most 64 hexadecimal digits")]
pub struct SeedError(String);

impl FromStr for RandomSeed {
    type Err = SeedError;

    /// A number below 2^64 in decimal, or one below 2^256 in hexadecimal.
    fn from_str(text: &str) -> Result<Self, SeedError> {
        let error = || SeedError(text.to_owned());
        let mut key = [0; 32];
        let Some(digits) = text.strip_prefix("0x") else {
            let decimal = text.bytes().all(|byte| byte.is_ascii_digit());
            let number: u64 = decimal
                .then(|| text.parse().ok())
                .flatten()
                .ok_or_else(error)?;
            key[..8].copy_from_slice(&number.to_le_bytes());
            return Ok(Self(key));
        };
        if digits.is_empty() || digits.len() > 64 {
            return Err(error());
        }
        for (at, digit) in digits.chars().rev().enumerate() {
            let value = digit.to_digit(16).ok_or_else(error)?;
            let shift = if at % 2 == 0 { 0 } else { 4 };
            key[at / 2] |= u8::try_from(value << shift).map_err(|_more| error())?;
        }
        Ok(Self(key))
    }
}

impl fmt::Display for RandomSeed {
    /// In hexadecimal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits: String = self
            .0
            .iter()
            .rev()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let digits = digits.trim_start_matches('0');
        write!(f, "0x{}", if digits.is_empty() { "0" } else { digits })
    }
}

/// What a key is used for: the stream number of its ChaCha.
#[derive(Debug, Clone, Copy)]
enum Use {
    Bytes = 0,
    Threads = 1,
    Files = 2,
}

/// A sequence of random bytes, and the keys of those derived from it.
pub(super) struct Stream {
    key: [u8; 32],
    bytes: ChaCha20Rng,
    threads: u64,
    files: u64,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("threads", &self.threads)
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl Stream {
    fn new(key: [u8; 32]) -> Self {
        Self {
            key,
            bytes: generator(&key, Use::Bytes),
            threads: 0,
            files: 0,
        }
    }

    /// The next bytes.
    pub(super) fn fill(&mut self, bytes: &mut [u8]) {
        self.bytes.fill_bytes(bytes);
    }

    fn thread(&mut self) -> Self {
        let derived = self.derive(Use::Threads, self.threads);
        self.threads += 1;
        derived
    }

    /// That of the next file of random bytes which this one opens.
    pub(super) fn file(&mut self) -> Self {
        let derived = self.derive(Use::Files, self.files);
        self.files += 1;
        derived
    }

    /// Each block of ChaCha's output, 64 bytes, has one key in its first half.
    fn derive(&self, what: Use, number: u64) -> Self {
        let mut generator = generator(&self.key, what);
        generator.set_block_pos(number);
        let mut key = [0; 32];
        generator.fill_bytes(&mut key);
        Self::new(key)
    }
}

fn generator(key: &[u8; 32], what: Use) -> ChaCha20Rng {
    let mut generator = ChaCha20Rng::from_seed(*key);
    generator.set_stream(what as u64);
    generator
}

/// The stream of each thread.
///
/// That of a new one is derived from the stream of the thread that made it, and
/// from how many that had made before: what other threads do meanwhile, and
/// when, makes no difference.
#[derive(Debug)]
pub(super) struct Streams {
    root: Stream,
    by_thread: BTreeMap<u32, Stream>,
}

impl Streams {
    pub(super) fn new(seed: RandomSeed) -> Self {
        Self {
            root: Stream::new(seed.0),
            by_thread: BTreeMap::new(),
        }
    }

    /// One whose maker is not known, because it is the first or its maker is
    /// dead, gets the next stream of the seed itself.
    pub(super) fn born(&mut self, child: Task, maker: Option<Task>) {
        let maker = maker.and_then(|maker| self.by_thread.get_mut(&maker.thread));
        let stream = maker.unwrap_or(&mut self.root).thread();
        self.by_thread.insert(child.thread, stream);
    }

    pub(super) fn ended(&mut self, thread: u32) {
        self.by_thread.remove(&thread);
    }

    /// The thread that executes a program takes the process's id.
    pub(super) fn executed(&mut self, process: u32, former: u32) {
        if let Some(stream) = self.by_thread.remove(&former) {
            self.by_thread.insert(process, stream);
        }
    }

    /// That of a thread, which is known before it runs.
    pub(super) fn of(&mut self, thread: u32) -> &mut Stream {
        let root = &mut self.root;
        self.by_thread
            .entry(thread)
            .or_insert_with(|| root.thread())
    }

    /// One for what belongs to no thread.
    pub(super) fn common(&self) -> Stream {
        self.root.derive(Use::Files, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(thread: u32) -> Task {
        Task {
            thread,
            process: thread,
        }
    }

    fn bytes(streams: &mut Streams, thread: u32) -> [u8; 8] {
        let mut bytes = [0; 8];
        streams.of(thread).fill(&mut bytes);
        bytes
    }

    #[test]
    fn seeds_are_numbers() {
        let check = |text: &str, expected: Option<&str>| {
            let seed = text.parse::<RandomSeed>().map(|seed| seed.to_string());
            assert_eq!(seed.ok().as_deref(), expected, "{text}");
        };
        check("0", Some("0x0"));
        check("258", Some("0x102"));
        check("0xABC", Some("0xabc"));
        let longest = format!("0x{}", "f".repeat(64));
        check(&longest, Some(longest.as_str()));
        let too_long = format!("0x1{}", "0".repeat(64));
        for wrong in [
            "",
            "0x",
            "-1",
            "+1",
            "1x",
            "0xg",
            "18446744073709551616",
            &too_long,
        ] {
            check(wrong, None);
        }
    }

    #[test]
    fn the_bytes_are_those_of_chacha20() {
        // RFC 8439, appendix A.1, test vector 1: key and nonce zero, block 0.
        let mut bytes = [0; 8];
        Stream::new([0; 32]).fill(&mut bytes);
        assert_eq!(bytes, [0x76, 0xb8, 0xe0, 0xad, 0xa0, 0xf1, 0x3d, 0x90]);
    }

    #[test]
    fn a_stream_depends_on_who_made_the_thread_and_not_on_when() {
        let seed = "7".parse().expect("a seed");
        let run = |order: [u32; 2]| {
            let mut streams = Streams::new(seed);
            streams.born(task(1), None);
            streams.born(task(2), Some(task(1)));
            streams.born(task(3), Some(task(1)));
            for maker in order {
                streams.born(task(maker + 10), Some(task(maker)));
            }
            [1, 2, 3, 12, 13].map(|thread| bytes(&mut streams, thread))
        };
        let one = run([2, 3]);
        assert_eq!(one, run([3, 2]));
        let different: std::collections::BTreeSet<_> = one.iter().collect();
        assert_eq!(different.len(), one.len());
    }

    #[test]
    fn a_new_program_goes_on_with_the_stream_of_the_thread_that_executed_it() {
        let mut streams = Streams::new("7".parse().expect("a seed"));
        streams.born(task(1), None);
        streams.born(task(2), Some(task(1)));
        let mut copy = streams.of(2).derive(Use::Files, 0);
        streams.executed(1, 2);
        let mut file = streams.of(1).file();
        let (mut a, mut b) = ([0; 4], [0; 4]);
        copy.fill(&mut a);
        file.fill(&mut b);
        assert_eq!(a, b);
    }
}

//! A program that was just executed: its auxiliary vector and its vDSO.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use rustix::io::Errno;

use super::vdso::{self, Patch};

/// `AT_IGNORE`, `include/uapi/linux/auxvec.h`.
const AT_IGNORE: u64 = 1;
/// `AT_RANDOM`: where 16 random bytes are.
const AT_RANDOM: u64 = 25;
/// `AT_SYSINFO_EHDR`: where the vDSO is.
const AT_SYSINFO_EHDR: u64 = 33;

/// The memory of a program that stands before its first instruction.
#[derive(Debug)]
pub(super) struct Program {
    process: u32,
    memory: File,
    /// The auxiliary vector: types and values.
    auxiliary: Vec<(u64, u64)>,
    /// Bytes of a word of it.
    word: usize,
}

/// A vDSO as it is in memory.
#[derive(Debug)]
pub(super) struct Vdso {
    pub(super) base: u64,
    pub(super) bytes: Vec<u8>,
}

impl Program {
    pub(super) fn open(process: u32) -> io::Result<Self> {
        let auxiliary = std::fs::read(format!("/proc/{process}/auxv"))?;
        if auxiliary.is_empty() {
            // The memory of a process that was killed.
            return Err(Errno::SRCH.into());
        }
        let memory = File::options()
            .read(true)
            .write(true)
            .open(format!("/proc/{process}/mem"))?;
        let word = word_of(&auxiliary);
        let pairs = auxiliary.chunks_exact(2 * word).map(|pair| {
            let (name, value) = pair.split_at(word);
            (number(name), number(value))
        });
        Ok(Self {
            process,
            memory,
            auxiliary: pairs.collect(),
            word,
        })
    }

    fn value(&self, wanted: u64) -> Option<u64> {
        let mut found = self.auxiliary.iter().filter(|(name, _)| *name == wanted);
        found.next().map(|(_, value)| *value)
    }

    /// Whether the kernel has given it a vDSO.
    pub(super) fn has_vdso(&self) -> bool {
        self.value(AT_SYSINFO_EHDR).is_some_and(|base| base != 0)
    }

    /// Its vDSO, if that is one of 64 bits.
    pub(super) fn vdso(&self) -> io::Result<Vdso> {
        let base = self.value(AT_SYSINFO_EHDR).ok_or(Errno::NOENT)?;
        let mut bytes = vec![0; vdso::HEAD];
        self.memory.read_exact_at(&mut bytes, base)?;
        let length = vdso::length(&bytes).ok_or(Errno::NOEXEC)?;
        let length = usize::try_from(length).map_err(|_wide| Errno::NOEXEC)?;
        bytes.resize(length, 0);
        self.memory.read_exact_at(&mut bytes, base)?;
        Ok(Vdso { base, bytes })
    }

    /// The kernel gives a tracer a private copy of what it writes to.
    pub(super) fn patch(&self, base: u64, patches: &[Patch]) -> io::Result<()> {
        for patch in patches {
            self.memory
                .write_all_at(&patch.bytes, base + patch.offset)?;
        }
        Ok(())
    }

    /// Replaces the 16 bytes that the C library seeds itself with.
    pub(super) fn set_random(&self, bytes: [u8; 16]) -> io::Result<()> {
        match self.value(AT_RANDOM) {
            Some(place) => self.memory.write_all_at(&bytes, place),
            None => Ok(()),
        }
    }

    /// Takes the vDSO away: its address is no longer in the vector that the
    /// program is given, and libraries make calls instead.
    pub(super) fn hide_vdso(&self) -> io::Result<()> {
        let vector = self.vector()?;
        for (index, (name, _)) in self.auxiliary.iter().enumerate() {
            if *name == AT_SYSINFO_EHDR {
                let place = vector + u64::try_from(index * 2 * self.word).unwrap_or(u64::MAX);
                let word = AT_IGNORE.to_le_bytes();
                self.memory.write_all_at(&word[..self.word], place)?;
            }
        }
        Ok(())
    }

    /// Where the vector is: on the stack, behind the number of arguments,
    /// these, a zero, the environment, and a zero.
    fn vector(&self) -> io::Result<u64> {
        let stack = nucleus_tracer::stack_pointer(self.process)?;
        let word = u64::try_from(self.word).unwrap_or(8);
        let mut count = [0; 8];
        self.memory.read_exact_at(&mut count[..self.word], stack)?;
        let arguments = u64::from_le_bytes(count);
        let mut place = arguments
            .checked_add(2)
            .and_then(|words| stack.checked_add(words.checked_mul(word)?))
            .ok_or(Errno::FAULT)?;
        let mut chunk = [0; 4096];
        loop {
            // The stack's end may be nearer than the chunk's.
            let read = self.memory.read_at(&mut chunk, place)?;
            let words = chunk[..read].chunks_exact(self.word);
            let mut before = 0;
            for value in words {
                before += word;
                if number(value) == 0 {
                    return Ok(place + before);
                }
            }
            if before == 0 {
                return Err(Errno::FAULT.into());
            }
            place += before;
        }
    }
}

/// The types of the vector's entries are small: in one of 64-bit words the
/// second half of the first word is zero.
fn word_of(auxiliary: &[u8]) -> usize {
    match auxiliary.get(4..8) {
        Some([0, 0, 0, 0]) | None => 8,
        Some(_) => 4,
    }
}

fn number(bytes: &[u8]) -> u64 {
    let mut value = [0; 8];
    value[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vector_of_this_process_is_read() {
        let program = Program::open(std::process::id()).expect("this process");
        assert_eq!(program.word, size_of::<usize>());
        let page = u64::try_from(rustix::param::page_size()).expect("a size");
        assert_eq!(program.value(6), Some(page));
        assert_eq!(program.value(12_345), None);
    }

    #[test]
    fn words_of_the_vector_are_told_apart() {
        let wide = [33_u64.to_le_bytes(), 0x7fff_0000_u64.to_le_bytes()].concat();
        let narrow = [32_u32.to_le_bytes(), 0xf7ff_0000_u32.to_le_bytes()].concat();
        assert_eq!((word_of(&wide), word_of(&narrow)), (8, 4));
    }
}

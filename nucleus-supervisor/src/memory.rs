//! The caller's memory, read and written with its limits and page borders.
//!
//! What is read can be changed by another thread right after: it may be judged
//! only if the call is then made with the copy, or not made at all.

use nucleus_seccomp::Arch;
use rustix::io::Errno;

use crate::{Request, sys};

/// Longest path with its NUL (`PATH_MAX`, `include/uapi/linux/limits.h`).
pub const PATH_MAX: usize = 4096;

/// Most pieces of one vectored call (`UIO_MAXIOV`).
const IOV_MAX: u64 = 1024;

/// `sizeof(struct sockaddr_storage)`: more is EINVAL for the kernel.
const SOCKADDR_MAX: u32 = 128;

/// Why the caller's memory could not be used; [`errno`](MemoryError::errno) is
/// what the call would have failed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// Nothing there, or not readable or writable.
    #[error("address {address:#x} of thread {thread} cannot be accessed")]
    Fault {
        /// The calling thread.
        thread: i32,
        /// The address.
        address: u64,
    },
    /// Longer than what the kernel takes.
    #[error("what is at {address:#x} of thread {thread} is longer than {most}")]
    TooLong {
        /// The calling thread.
        thread: i32,
        /// The address.
        address: u64,
        /// The most that is taken.
        most: usize,
        /// What the kernel says then.
        errno: Errno,
    },
    /// The caller was gone when it had been read: it may have been somebody
    /// else's memory.
    #[error("thread {thread} does not wait any more")]
    Gone {
        /// The calling thread.
        thread: i32,
    },
    /// The kernel does not let us look (`PTRACE_MODE_ATTACH`, Yama).
    #[error("no access to the memory of thread {thread}")]
    Denied {
        /// The calling thread.
        thread: i32,
        /// The reason.
        errno: Errno,
    },
}

impl MemoryError {
    /// What the call fails with.
    #[must_use]
    pub const fn errno(&self) -> Errno {
        match self {
            Self::Fault { .. } => Errno::FAULT,
            Self::TooLong { errno, .. } => *errno,
            Self::Gone { .. } => Errno::INTR,
            Self::Denied { .. } => Errno::PERM,
        }
    }
}

/// A piece of the caller's memory, as `struct iovec` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Where it begins.
    pub address: u64,
    /// Its length in bytes.
    pub length: u64,
}

/// `struct msghdr` of the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageHeader {
    /// `msg_name`: the peer's address; length 0 for none.
    pub name: Piece,
    /// `msg_iov`: where the vector of pieces is, and how many there are.
    pub pieces: Piece,
    /// `msg_control`.
    pub control: Piece,
    /// `msg_flags`.
    pub flags: u32,
}

/// Access to the memory of a thread that waits for an answer, or that stands
/// in a stop of its tracer.
#[derive(Debug, Clone, Copy)]
pub struct Memory<'a> {
    thread: i32,
    arch: Option<Arch>,
    /// What proves that the thread is still the caller; a tracee needs none.
    request: Option<&'a Request>,
}

impl<'a> Memory<'a> {
    pub(crate) fn new(request: &'a Request) -> Self {
        Self {
            thread: request.thread(),
            arch: request.call().map(nucleus_seccomp::Syscall::arch),
            request: Some(request),
        }
    }

    /// Of a thread in a stop of its tracer, whose id cannot become another's.
    pub(crate) const fn of_tracee(thread: i32, arch: Option<Arch>) -> Self {
        Self {
            thread,
            arch,
            request: None,
        }
    }

    /// Fills `bytes`, all of it.
    ///
    /// # Errors
    ///
    /// A byte cannot be read; the caller is gone.
    pub fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), MemoryError> {
        self.fill(address, bytes)?;
        self.confirm()
    }

    /// A string up to its NUL, which is not part of the result; never reads
    /// beyond the page that holds the NUL.
    ///
    /// # Errors
    ///
    /// No NUL within `most` bytes (ENAMETOOLONG); a byte cannot be read; the
    /// caller is gone.
    pub fn c_string(&self, address: u64, most: usize) -> Result<Vec<u8>, MemoryError> {
        let string = self.string(address, most, Errno::NAMETOOLONG)?;
        self.confirm()?;
        Ok(string)
    }

    /// A path: a string of at most [`PATH_MAX`] bytes with its NUL.
    ///
    /// # Errors
    ///
    /// As [`c_string`](Self::c_string).
    pub fn path(&self, address: u64) -> Result<Vec<u8>, MemoryError> {
        self.c_string(address, PATH_MAX)
    }

    /// The strings of a NULL-terminated vector of pointers, as `argv` is one;
    /// at most `most` bytes in all, NULs counted. A vector at NULL is empty.
    ///
    /// # Errors
    ///
    /// More than `most` bytes (E2BIG); something cannot be read; the caller is
    /// gone.
    pub fn strings(&self, address: u64, most: usize) -> Result<Vec<Vec<u8>>, MemoryError> {
        let mut strings = Vec::new();
        let mut left = most;
        let mut at = address;
        while at != 0 {
            let pointer = self.pointer(at)?;
            if pointer == 0 {
                break;
            }
            // An empty string takes its NUL and its pointer as well, so the
            // number of strings is bounded too.
            let string = self.string(pointer, left, Errno::TOOBIG)?;
            left = left.saturating_sub(string.len() + 1 + self.word());
            strings.push(string);
            at = self.advance(at, self.word())?;
        }
        self.confirm()?;
        Ok(strings)
    }

    /// A socket address of a given length.
    ///
    /// # Errors
    ///
    /// Longer than any (EINVAL); it cannot be read; the caller is gone.
    pub fn socket_address(&self, address: u64, length: u32) -> Result<Vec<u8>, MemoryError> {
        if length > SOCKADDR_MAX {
            return Err(self.too_long(address, 128, Errno::INVAL));
        }
        let mut bytes = vec![0; length as usize];
        self.read(address, &mut bytes)?;
        Ok(bytes)
    }

    /// The pieces of a `struct iovec` vector.
    ///
    /// # Errors
    ///
    /// More than 1024 (EMSGSIZE); it cannot be read; the caller is gone.
    pub fn pieces(&self, address: u64, count: u64) -> Result<Vec<Piece>, MemoryError> {
        if count > IOV_MAX {
            return Err(self.too_long(address, 1024, Errno::MSGSIZE));
        }
        let mut pieces = Vec::new();
        let mut at = address;
        for _ in 0..count {
            let address = self.pointer(at)?;
            at = self.advance(at, self.word())?;
            let length = self.pointer(at)?;
            at = self.advance(at, self.word())?;
            pieces.push(Piece { address, length });
        }
        self.confirm()?;
        Ok(pieces)
    }

    /// `struct msghdr`, in the layout of the caller's architecture.
    ///
    /// # Errors
    ///
    /// It cannot be read; the caller is gone.
    pub fn message_header(&self, address: u64) -> Result<MessageHeader, MemoryError> {
        // Seven members, each in a word of its own: namelen and flags are int
        // with padding behind them.
        let word = self.word();
        let mut bytes = vec![0; 7 * word];
        self.read(address, &mut bytes)?;
        let member = |index: usize| {
            let mut value = [0; 8];
            value[..word].copy_from_slice(&bytes[index * word..(index + 1) * word]);
            u64::from_le_bytes(value)
        };
        let int = |index: usize| member(index) & u64::from(u32::MAX);
        Ok(MessageHeader {
            name: Piece {
                address: member(0),
                length: int(1),
            },
            pieces: Piece {
                address: member(2),
                length: member(3),
            },
            control: Piece {
                address: member(4),
                length: member(5),
            },
            flags: u32::try_from(int(6)).unwrap_or(u32::MAX),
        })
    }

    /// Writes all of `bytes`. Before that the caller is proved to wait, so that
    /// nobody else is written to.
    ///
    /// # Errors
    ///
    /// A byte cannot be written, those before it may have been; the caller is
    /// gone.
    pub fn write(&self, address: u64, bytes: &[u8]) -> Result<(), MemoryError> {
        self.confirm()?;
        let mut done = 0;
        while done < bytes.len() {
            let at = self.advance(address, done)?;
            match sys::write_memory(self.thread, at, &bytes[done..]) {
                Ok(0) => return Err(self.fault(at)),
                Ok(count) => done += count,
                Err(errno) => return Err(self.failed(at, errno)),
            }
        }
        self.confirm()
    }

    fn fill(&self, address: u64, bytes: &mut [u8]) -> Result<(), MemoryError> {
        let mut done = 0;
        while done < bytes.len() {
            let at = self.advance(address, done)?;
            // Short where the next page is not there: the next round says so.
            match sys::read_memory(self.thread, at, &mut bytes[done..]) {
                Ok(0) => return Err(self.fault(at)),
                Ok(count) => done += count,
                Err(errno) => return Err(self.failed(at, errno)),
            }
        }
        Ok(())
    }

    fn string(&self, address: u64, most: usize, errno: Errno) -> Result<Vec<u8>, MemoryError> {
        const FIRST: usize = 256;
        let mut string = Vec::new();
        let mut chunk = [0; 4096];
        let mut wanted = FIRST;
        while string.len() < most {
            let at = self.advance(address, string.len())?;
            // 4096 is the smallest page: no chunk crosses a border.
            let to_border = 4096 - usize::try_from(at % 4096).unwrap_or(0);
            let length = wanted.min(to_border).min(most - string.len());
            self.fill(at, &mut chunk[..length])?;
            if let Some(end) = chunk[..length].iter().position(|&byte| byte == 0) {
                string.extend_from_slice(&chunk[..end]);
                return Ok(string);
            }
            string.extend_from_slice(&chunk[..length]);
            wanted = chunk.len();
        }
        Err(self.too_long(address, most, errno))
    }

    /// A pointer or a `size_t` of the caller's architecture.
    fn pointer(&self, address: u64) -> Result<u64, MemoryError> {
        let mut bytes = [0; 8];
        self.fill(address, &mut bytes[..self.word()])?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn word(&self) -> usize {
        match self.arch {
            Some(Arch::I386 | Arch::X32) => 4,
            _ => 8,
        }
    }

    fn advance(&self, address: u64, by: usize) -> Result<u64, MemoryError> {
        u64::try_from(by)
            .ok()
            .and_then(|by| address.checked_add(by))
            .ok_or_else(|| self.fault(address))
    }

    fn confirm(&self) -> Result<(), MemoryError> {
        match self.request.map_or(Ok(true), Request::is_waiting) {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(MemoryError::Gone {
                thread: self.thread,
            }),
        }
    }

    const fn fault(&self, address: u64) -> MemoryError {
        MemoryError::Fault {
            thread: self.thread,
            address,
        }
    }

    const fn too_long(&self, address: u64, most: usize, errno: Errno) -> MemoryError {
        MemoryError::TooLong {
            thread: self.thread,
            address,
            most,
            errno,
        }
    }

    const fn failed(&self, address: u64, errno: Errno) -> MemoryError {
        let thread = self.thread;
        match errno {
            Errno::FAULT => MemoryError::Fault { thread, address },
            Errno::SRCH => MemoryError::Gone { thread },
            _ => MemoryError::Denied { thread, errno },
        }
    }
}

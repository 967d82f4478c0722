//! One trapped call: its arguments, copied once, and its caller.

use std::sync::Arc;

use rustix::io::Errno;

use super::rules::Marks;
use super::subject::Subject;
use super::walk::{Asking, Beyond, Spot, Walk};
use crate::{Decision, Failure, PATH_MAX, Reply, Request};

/// Longest value of an extended attribute, and longest list of their names
/// (`XATTR_SIZE_MAX`, `XATTR_LIST_MAX`).
pub(super) const XATTR_MAX: usize = 65536;

/// A call that is done in its caller's place.
///
/// Its methods that read arguments come before [`act`](Self::act), those that
/// write results after it: in between this thread is the caller, who may not
/// look into itself from outside.
pub(super) struct Scene<'a> {
    pub(super) request: &'a Request,
    pub(super) subject: Subject<'a>,
    pub(super) marks: Arc<Marks>,
    beyond: Beyond<'a>,
}

impl<'a> Scene<'a> {
    pub(super) const fn new(
        request: &'a Request,
        subject: Subject<'a>,
        marks: Arc<Marks>,
        beyond: Beyond<'a>,
    ) -> Self {
        Self {
            request,
            subject,
            marks,
            beyond,
        }
    }

    pub(super) fn int(&self, index: usize) -> u32 {
        self.request.int(index)
    }

    pub(super) fn long(&self, index: usize) -> u64 {
        self.request.data().args[index]
    }

    /// Whether an argument has some of these bits.
    pub(super) fn has(&self, index: usize, bits: i32) -> bool {
        self.int(index).cast_signed() & bits != 0
    }

    /// The path of an argument, relative to the working directory.
    pub(super) fn spot(&self, path: usize) -> Result<Spot, Failure> {
        self.spot_from(libc::AT_FDCWD, path)
    }

    /// The path of an argument, relative to the folder of another one.
    pub(super) fn spot_at(&self, folder: usize, path: usize) -> Result<Spot, Failure> {
        self.spot_from(self.int(folder).cast_signed(), path)
    }

    fn spot_from(&self, folder: i32, path: usize) -> Result<Spot, Failure> {
        let path = self.request.memory().path(self.long(path))?;
        if path.is_empty() {
            return Err(Failure(Errno::NOENT));
        }
        self.begin(folder, path)
    }

    /// As [`spot_at`](Self::spot_at), where `flags` may have `AT_EMPTY_PATH`:
    /// then a path that is empty, or NULL (6.11), means the folder itself.
    pub(super) fn spot_or_empty(
        &self,
        folder: usize,
        path: usize,
        flags: usize,
    ) -> Result<Spot, Failure> {
        if !self.has(flags, libc::AT_EMPTY_PATH) {
            return self.spot_at(folder, path);
        }
        let path = match self.long(path) {
            0 => Vec::new(),
            address => self.request.memory().path(address)?,
        };
        self.begin(self.int(folder).cast_signed(), path)
    }

    fn begin(&self, folder: i32, path: Vec<u8>) -> Result<Spot, Failure> {
        // An absolute path needs no folder, which may then be anything; but
        // openat2(2) can restrict it to one.
        let base = match self.subject.base(folder) {
            Ok(base) => Some(base),
            Err(_none) if path.starts_with(b"/") => None,
            Err(errno) => return Err(Failure(errno)),
        };
        Ok(Spot { base, path })
    }

    /// A string of at most `most` bytes with its NUL.
    pub(super) fn string(&self, index: usize, most: usize) -> Result<Vec<u8>, Failure> {
        Ok(self.request.memory().c_string(self.long(index), most)?)
    }

    /// What a symbolic link is to contain.
    pub(super) fn text(&self, index: usize) -> Result<Vec<u8>, Failure> {
        let text = self.string(index, PATH_MAX)?;
        if text.is_empty() {
            return Err(Failure(Errno::NOENT));
        }
        Ok(text)
    }

    pub(super) fn bytes<const N: usize>(&self, address: u64) -> Result<[u8; N], Failure> {
        let mut bytes = [0; N];
        self.request.memory().read(address, &mut bytes)?;
        Ok(bytes)
    }

    /// Does something as the caller.
    pub(super) fn act<R>(
        &self,
        act: impl FnOnce(&mut Walk<'_>) -> Result<R, Errno>,
    ) -> Result<R, Failure> {
        let call = self.request.call().and_then(nucleus_seccomp::Syscall::name);
        let asking = Asking {
            call: call.ok_or(Errno::NOSYS)?,
            beyond: self.beyond,
        };
        let done = self.subject.act(|acting| {
            let mut walk = Walk::new(&self.subject, acting, &self.marks, asking);
            act(&mut walk)
        });
        Ok(done?)
    }

    /// Writes a result.
    pub(super) fn give(&self, address: u64, bytes: &[u8]) -> Result<(), Failure> {
        Ok(self.request.memory().write(address, bytes)?)
    }
}

/// The answer 0.
pub(super) fn done() -> Result<Decision, Failure> {
    value(0)
}

pub(super) fn value(value: i64) -> Result<Decision, Failure> {
    Ok(Decision::Answer(Reply::Value(value)))
}

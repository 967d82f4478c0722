//! A second thread of a process that may not allocate.

use std::cell::UnsafeCell;
use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::io::Errno;
use rustix::thread::futex;

use super::Stack;
use super::clone::{Tids, clone_onto};

/// A piece of work that runs beside the process that begins it.
///
/// All it needs is set aside before, by the parent; the process that runs it is
/// a copy of that.
#[derive(Debug)]
pub(crate) struct Errand<T> {
    stack: Stack,
    work: fn() -> T,
    outcome: UnsafeCell<Option<T>>,
    /// Not zero from the beginning of the work until its thread has ended.
    running: AtomicU32,
}

// SAFETY: the outcome is written by the thread alone while `running`, and read
// when it is over.
unsafe impl<T: Send> Sync for Errand<T> {}

impl<T: Send> Errand<T> {
    /// Prepares to do `work`. The thread shares everything with the one that
    /// begins it, the C library's own memory too, so `work` must neither
    /// allocate, nor take a lock, nor use errno or other thread-local memory.
    pub(crate) fn new(work: fn() -> T) -> Result<Self, Errno> {
        Ok(Self {
            stack: Stack::new()?,
            work,
            outcome: UnsafeCell::new(None),
            running: AtomicU32::new(0),
        })
    }

    /// Begins the work on a thread of its own, once. In a child, for which
    /// `self` lives as long as it does.
    pub(crate) fn begin(&self) -> Result<(), Errno> {
        self.running.store(1, Ordering::Relaxed);
        let flags = libc::CLONE_VM
            | libc::CLONE_FS
            | libc::CLONE_FILES
            | libc::CLONE_SIGHAND
            | libc::CLONE_THREAD
            | libc::CLONE_SYSVSEM
            | libc::CLONE_CHILD_CLEARTID;
        let tids = Tids {
            parent: ptr::null_mut(),
            child: self.running.as_ptr(),
        };
        // SAFETY: the stack is for this thread alone, and lives, as `self`
        // does, until the process ends; `run` finds a reference to it there.
        // No thread-local memory is set up: the work uses none.
        let begun = unsafe { clone_onto(&self.stack, self, flags, run::<T>, &tids) };
        if begun.is_err() {
            self.running.store(0, Ordering::Relaxed);
        }
        begun.map(drop)
    }

    /// Waits for the thread to end; its outcome, if there was one.
    pub(crate) fn finish(&self) -> Option<T> {
        loop {
            // The kernel stores the zero.
            let running = self.running.load(Ordering::Acquire);
            if running == 0 {
                break;
            }
            // Whatever it returns with, the word is looked at again.
            let _woken = futex::wait(&self.running, futex::Flags::empty(), running, None);
        }
        // SAFETY: the thread has ended or was never begun, and this process
        // has no other one.
        unsafe { (*self.outcome.get()).take() }
    }
}

/// The life of the thread.
extern "C" fn run<T>(errand: *mut c_void) -> c_int {
    // SAFETY: `begin` puts a reference there that lives as long as the process.
    let errand = unsafe { *errand.cast::<&Errand<T>>() };
    let outcome = (errand.work)();
    // SAFETY: nobody else looks at it before this thread has ended.
    unsafe { *errand.outcome.get() = Some(outcome) };
    0
}

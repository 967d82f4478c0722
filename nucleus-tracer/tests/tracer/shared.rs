//! Counters that children share with the test.

use std::ptr::null_mut;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// A counter in memory of its own, which is never unmapped.
pub(crate) fn counter() -> &'static Counter {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    // SAFETY: a fresh mapping where the kernel wants it.
    let page = unsafe { libc::mmap(null_mut(), 4096, protection, flags, -1, 0) };
    assert_ne!(page, libc::MAP_FAILED);
    // SAFETY: a page of zeroes, which is aligned for a number that is only used
    // as an atomic one.
    unsafe { &*page.cast::<Counter>() }
}

#[repr(transparent)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    /// What it was before.
    pub(crate) fn add(&self, number: u64) -> u64 {
        self.0.fetch_add(number, Ordering::SeqCst)
    }

    pub(crate) fn take(&self, number: u64) {
        self.0.fetch_sub(number, Ordering::SeqCst);
    }

    /// Until it has gone further.
    pub(crate) fn goes_on(&self) {
        let before = self.get();
        while self.get() == before {
            thread::yield_now();
        }
    }
}

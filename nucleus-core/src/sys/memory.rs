//! Memory that outlives a copy, or must not.

use std::mem;
use std::ops::Range;
use std::ptr::{self, NonNull};
use std::sync::atomic::AtomicU32;

use rustix::io::Errno;

/// Fills memory of this process that nothing refers to any more with zeroes.
///
/// For a copy of a process: `range` is where the kernel says that its arguments
/// are, which the copy does not read.
pub(crate) fn overwrite(range: Range<usize>) {
    let start: *mut u8 = ptr::with_exposed_provenance_mut(range.start);
    // SAFETY: the kernel has written the arguments there, on the stack, above
    // every frame; only this thread is left, and it has no reference to them.
    unsafe { ptr::write_bytes(start, 0, range.len()) };
}

/// Words of memory that this process and its later copies share.
#[derive(Debug)]
pub(crate) struct SharedWords<const N: usize>(NonNull<[AtomicU32; N]>);

// SAFETY: the memory is only reached through atomics.
unsafe impl<const N: usize> Send for SharedWords<N> {}
// SAFETY: as above.
unsafe impl<const N: usize> Sync for SharedWords<N> {}

impl<const N: usize> SharedWords<N> {
    /// Zeroes.
    pub(crate) fn new() -> Result<Self, Errno> {
        // SAFETY: a fresh mapping at an address of the kernel's choice.
        let page = unsafe {
            rustix::mm::mmap_anonymous(
                ptr::null_mut(),
                mem::size_of::<[AtomicU32; N]>(),
                rustix::mm::ProtFlags::READ | rustix::mm::ProtFlags::WRITE,
                rustix::mm::MapFlags::SHARED,
            )
        }?;
        NonNull::new(page.cast()).map(Self).ok_or(Errno::NOMEM)
    }

    pub(crate) fn words(&self) -> &[AtomicU32; N] {
        // SAFETY: mapped for as long as `self` lives, zeroed, page-aligned.
        unsafe { self.0.as_ref() }
    }
}

impl<const N: usize> Drop for SharedWords<N> {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length; no reference outlives self.
        // A failure would leave the page mapped, which harms nobody.
        let _unmapped =
            unsafe { rustix::mm::munmap(self.0.as_ptr().cast(), mem::size_of::<[AtomicU32; N]>()) };
    }
}

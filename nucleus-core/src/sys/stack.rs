//! Memory for what runs beside a process that may not allocate.

use std::ffi::c_void;
use std::mem;
use std::ptr::{self, NonNull};

use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};

/// What the steps of a plan may use of a stack, with much to spare.
const SIZE: usize = 64 << 10;

/// A stack, set aside by the parent.
#[derive(Debug)]
pub(crate) struct Stack(NonNull<c_void>);

// SAFETY: nothing of it is used through a reference; see `begin_with`.
unsafe impl Sync for Stack {}

impl Stack {
    pub(crate) fn new() -> Result<Self, Errno> {
        let flags = MapFlags::PRIVATE | MapFlags::STACK;
        // SAFETY: a fresh mapping at an address of the kernel's choice.
        let start = unsafe {
            rustix::mm::mmap_anonymous(
                ptr::null_mut(),
                SIZE,
                ProtFlags::READ | ProtFlags::WRITE,
                flags,
            )
        }?;
        NonNull::new(start).map(Self).ok_or(Errno::NOMEM)
    }

    /// Where the stack begins, above which the first thing on it has been put.
    ///
    /// For one user at a time: whoever ran on the stack before has ended.
    pub(super) fn begin_with<T>(&self, first: T) -> *mut T {
        const ALIGN: usize = 16;
        const {
            assert!(mem::align_of::<T>() <= ALIGN);
            assert!(mem::size_of::<T>() <= SIZE / 16);
        }
        let room = mem::size_of::<T>().next_multiple_of(ALIGN);
        // SAFETY: less than the length of the mapping.
        let place = unsafe { self.0.as_ptr().byte_add(SIZE - room) }.cast::<T>();
        // SAFETY: the room is mapped, aligned, and nobody else's.
        unsafe { place.write(first) };
        place
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length; what runs on it belongs to
        // a copy of this process, which does not come here.
        // A failure would leave it mapped, which harms nobody.
        let _unmapped = unsafe { rustix::mm::munmap(self.0.as_ptr(), SIZE) };
    }
}

//! Becoming the program, or ending.

use std::convert::Infallible;
use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr;

use rustix::io::Errno;
use syscalls::{Sysno, syscall};

use super::result;

/// Strings for execve with the array of pointers to them that it wants.
#[derive(Debug)]
pub(crate) struct CStringArray {
    /// Keeps what `pointers` points to alive.
    _strings: Vec<CString>,
    pointers: Vec<*const c_char>,
}

// SAFETY: the pointers point into the strings, which nobody changes.
unsafe impl Send for CStringArray {}
// SAFETY: as above.
unsafe impl Sync for CStringArray {}

impl CStringArray {
    /// For the parent: allocates.
    pub(crate) fn new(strings: Vec<CString>) -> Self {
        let pointers = strings
            .iter()
            .map(|string| string.as_ptr())
            .chain([ptr::null()])
            .collect();
        Self {
            _strings: strings,
            pointers,
        }
    }
}

/// Replaces the program of this process; returns only when that failed.
pub(crate) fn execve(path: &CStr, argv: &CStringArray, envp: &CStringArray) -> Errno {
    // SAFETY: both arrays are null-terminated arrays of C strings that live.
    let ret = unsafe {
        syscall!(
            Sysno::execve,
            path.as_ptr(),
            argv.pointers.as_ptr(),
            envp.pointers.as_ptr()
        )
    };
    // It does not return otherwise.
    result(ret).err().unwrap_or(Errno::INVAL)
}

/// Ends this process without running any of the parent's exit code.
pub(crate) fn exit(code: c_int) -> Infallible {
    // SAFETY: ends the process at once; async-signal-safe.
    unsafe { libc::_exit(code) }
}

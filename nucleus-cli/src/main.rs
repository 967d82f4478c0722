//! The `nucleus` binary: everything is in the library, so that the man pages
//! and completions are made from the same definitions.
//!
//! Its `main` is C's: Rust's own start costs a start of `nucleus run` 0.1 ms,
//! most of it to tell a stack overflow from other faults. std has the arguments
//! without it where the C library is glibc (`std::env::args`).

#![deny(unsafe_code)]
#![cfg_attr(all(target_env = "gnu", not(test)), no_main)]

#[cfg(all(target_env = "gnu", not(test)))]
#[expect(unsafe_code, reason = "the C library calls what has this name")]
#[unsafe(no_mangle)]
extern "C" fn main() -> std::ffi::c_int {
    nucleus_cli::main()
}

#[cfg(any(not(target_env = "gnu"), test))]
fn main() {
    nucleus_cli::main()
}

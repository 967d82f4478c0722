//! Races a supervisor of execs: `exec-race KIND TRIES ALLOWED DENIED`. Of the
//! two programs the denied one ends with 77. Says how the tries ended.
//!
//! - `path`: another thread rewrites the path
//! - `argument`: another thread rewrites the argument that is denied as `q`
//! - `link`: another thread swaps the link that is executed
//! - `fork`: another thread forks, and the children execute the denied program

#![allow(unsafe_code, reason = "attacks are raw system calls")]
#![allow(clippy::print_stdout, reason = "the results")]
#![allow(clippy::unwrap_used, reason = "a probe that cannot go on has failed")]

use std::collections::BTreeMap;
use std::ffi::{CString, c_char};
use std::os::unix::fs::symlink;
use std::ptr::{null, null_mut};
use std::sync::mpsc;
use std::thread;

/// With what the denied program ends, and an exec that failed otherwise.
const THROUGH: i32 = 77;
const DENIED_ARGUMENT: i32 = b'q' as i32;
const ODD: i32 = 99;

/// Executes, or ends this process by what the failure was.
fn execute(path: *const c_char, argument: *const c_char) -> ! {
    let argv = [path, argument, null()];
    // SAFETY: the strings live as long as the process.
    unsafe { libc::execve(path, argv.as_ptr(), null()) };
    let refused = std::io::Error::last_os_error().raw_os_error() == Some(libc::EACCES);
    // SAFETY: ends this process, which may have been forked from one with
    // threads.
    unsafe { libc::_exit(if refused { libc::EACCES } else { ODD }) }
}

/// Memory that children share with this process; nobody frees it.
fn shared() -> *mut u8 {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    // SAFETY: a fresh mapping where the kernel wants it.
    let place = unsafe { libc::mmap(null_mut(), 4096, protection, flags, -1, 0) };
    assert_ne!(place, libc::MAP_FAILED);
    place.cast()
}

/// A string that a thread keeps changing to the other and back.
fn flipping(one: &[u8], other: &[u8]) -> *const c_char {
    assert_eq!(one.len(), other.len(), "the change must be a single byte's");
    let differs = (0..one.len()).find(|&at| one[at] != other[at]).unwrap();
    let place = shared();
    // SAFETY: a page is longer than any path of a test.
    unsafe { place.copy_from_nonoverlapping(one.as_ptr(), one.len()) };
    let address = place.expose_provenance() + differs;
    let (a, b) = (one[differs], other[differs]);
    thread::spawn(move || {
        let byte = std::ptr::with_exposed_provenance_mut::<u8>(address);
        loop {
            for value in [b, a] {
                // SAFETY: a byte of that page; the race is the point.
                unsafe { byte.write_volatile(value) };
                std::hint::spin_loop();
            }
        }
    });
    place.cast_const().cast()
}

/// Runs children one after the other, and says how many ended how; whatever
/// they leave behind counts, too.
fn count(tries: u64, child: impl Fn()) {
    let mut ends: BTreeMap<&str, u64> = BTreeMap::new();
    // SAFETY: plain values.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
    for _ in 0..tries {
        // SAFETY: the child does nothing but system calls.
        let started = unsafe { libc::fork() };
        if started == 0 {
            child();
            // SAFETY: ends the child.
            unsafe { libc::_exit(ODD) };
        }
        loop {
            let mut status = 0;
            // SAFETY: the status can be written.
            if unsafe { libc::waitpid(-1, &raw mut status, 0) } < 0 {
                break;
            }
            let name = match libc::WEXITSTATUS(status) {
                _ if libc::WIFSIGNALED(status) => match libc::WTERMSIG(status) {
                    libc::SIGKILL => "killed",
                    _ => "odd",
                },
                libc::EACCES => "refused",
                THROUGH | DENIED_ARGUMENT => "through",
                0 => "ran",
                end if end == i32::from(b'p') => "ran",
                _ => "odd",
            };
            *ends.entry(name).or_default() += 1;
        }
    }
    for name in ["ran", "refused", "killed", "through", "odd"] {
        println!("{name}: {}", ends.get(name).unwrap_or(&0));
    }
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [kind, tries, allowed, denied] = &words[..] else {
        std::process::exit(2);
    };
    let tries = tries.parse().unwrap();
    let (yes, no) = (string(allowed), string(denied));
    match kind.as_str() {
        "path" => {
            let path = flipping(yes.as_bytes_with_nul(), no.as_bytes_with_nul());
            count(tries, || execute(path, c"p".as_ptr()));
        }
        "argument" => {
            let argument = flipping(b"p\0", b"q\0");
            count(tries, || execute(yes.as_ptr(), argument));
        }
        "link" => {
            let (allowed, denied) = (allowed.clone(), denied.clone());
            symlink(&allowed, "race").unwrap();
            thread::spawn(move || {
                for target in [&denied, &allowed].into_iter().cycle() {
                    symlink(target, "next").unwrap();
                    std::fs::rename("next", "race").unwrap();
                }
            });
            count(tries, || execute(c"race".as_ptr(), c"p".as_ptr()));
        }
        // A program of its own, because threads after fork(2) are no good.
        "fork" => {
            let own = string(&std::env::current_exe().unwrap().display().to_string());
            let argv = [own.as_ptr(), c"forking".as_ptr(), c"1".as_ptr()];
            let argv = [&argv[..], &[yes.as_ptr(), no.as_ptr(), null()]].concat();
            count(tries, || {
                // SAFETY: the strings live as long as this process.
                unsafe { libc::execve(own.as_ptr(), argv.as_ptr(), null()) };
            });
        }
        "forking" => {
            let denied = no.clone();
            let (begin, begun) = mpsc::sync_channel(1);
            thread::spawn(move || {
                loop {
                    // SAFETY: the child does nothing but system calls.
                    if unsafe { libc::fork() } == 0 {
                        execute(denied.as_ptr(), c"p".as_ptr());
                    }
                    // The first is what somebody waits for.
                    begin.try_send(()).ok();
                    thread::yield_now();
                }
            });
            // On one processor it might never have its turn before the exec.
            begun.recv().unwrap();
            execute(yes.as_ptr(), c"p".as_ptr());
        }
        _ => std::process::exit(2),
    }
}

fn string(text: &str) -> CString {
    CString::new(text).unwrap()
}

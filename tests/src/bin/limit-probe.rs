//! Takes what it can get, and prints how much that was.
//!
//! - `limit-probe forks`: processes at a time, twice; then what a fork fails with
//! - `limit-probe memory ROUTE`: MiB by this route, and the errno at the end
//! - `limit-probe again`: takes and gives back 64 MiB fifty times
//! - `limit-probe storm`: threads at a time
//! - `limit-probe swap`: MiB of memory that were claimed as a file
//! - `limit-probe small`: KiB by small claims of many threads, and the errno at
//!   the end; then the KiB that the kernel counts
//! - `limit-probe hidden`: KiB that the kernel counts at the end, after a heap
//!   was claimed that the kernel refused at first
//! - `limit-probe signals`: small claims of many threads that failed while
//!   signals came whose handler lacks `SA_RESTART`, and the last errno; then how
//!   many claims and signals there were

#![allow(unsafe_code, reason = "limits are met by raw system calls")]
#![allow(clippy::print_stdout, reason = "the results")]
#![allow(clippy::unwrap_used, reason = "a probe that cannot go on has failed")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::ptr::{null, null_mut};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;

const MIB: usize = 1 << 20;
/// More than any test allows.
const MOST: usize = 4096;

fn errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(-1)
}

fn map(length: usize, protection: i32, flags: i32) -> Result<*mut u8, i32> {
    // SAFETY: a fresh mapping where the kernel wants it.
    let place = unsafe { libc::mmap(null_mut(), length, protection, flags, -1, 0) };
    if place == libc::MAP_FAILED {
        Err(errno())
    } else {
        Ok(place.cast())
    }
}

const WRITE: i32 = libc::PROT_READ | libc::PROT_WRITE;
const PRIVATE: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;

fn zero_or_errno(result: i32) -> Result<(), i32> {
    if result == 0 { Ok(()) } else { Err(errno()) }
}

/// One more MiB by a route; `count` were had before.
fn take(route: &str, count: usize, place: &mut *mut u8) -> Result<(), i32> {
    match route {
        "private" => map(MIB, WRITE, PRIVATE).map(drop),
        "shared" => map(MIB, WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS).map(drop),
        "shared-read" => {
            let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
            map(MIB, libc::PROT_READ, flags).map(drop)
        }
        "mprotect" => {
            if place.is_null() {
                *place = map(MOST * MIB, libc::PROT_NONE, PRIVATE | libc::MAP_NORESERVE)?;
            }
            // SAFETY: within that mapping.
            zero_or_errno(unsafe {
                libc::mprotect(place.wrapping_add(count * MIB).cast(), MIB, WRITE)
            })
        }
        "mremap" => {
            if place.is_null() {
                *place = map(MIB, WRITE, PRIVATE)?;
            }
            let (before, after) = ((count + 1) * MIB, (count + 2) * MIB);
            // SAFETY: the mapping is this one's alone and of that length.
            let moved = unsafe { libc::mremap(place.cast(), before, after, libc::MREMAP_MAYMOVE) };
            if moved == libc::MAP_FAILED {
                return Err(errno());
            }
            *place = moved.cast();
            Ok(())
        }
        "dontunmap" => {
            if place.is_null() {
                *place = map(MIB, WRITE, PRIVATE)?;
            }
            let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_DONTUNMAP;
            // SAFETY: the mapping stays, and is empty then.
            let moved = unsafe { libc::mremap(place.cast(), MIB, MIB, flags, null_mut::<u8>()) };
            result_of(moved)
        }
        "grows-down" => map(4096, WRITE, PRIVATE | libc::MAP_GROWSDOWN).map(drop),
        // MAP_DROPPABLE.
        "droppable" => map(MIB, WRITE, 8 | libc::MAP_ANONYMOUS).map(drop),
        "zero-device" => {
            let zero = zero_device();
            // SAFETY: a fresh mapping where the kernel wants it.
            let place = unsafe {
                libc::mmap(
                    null_mut(),
                    MIB,
                    WRITE,
                    libc::MAP_SHARED,
                    zero.as_raw_fd(),
                    0,
                )
            };
            result_of(place)
        }
        "brk" => {
            // SAFETY: the heap grows; nobody else uses the new part.
            let before = unsafe { libc::sbrk(MIB.cast_signed()) };
            if before.addr() == usize::MAX {
                Err(errno())
            } else {
                Ok(())
            }
        }
        "shmget" => {
            // SAFETY: plain values.
            match unsafe { libc::shmget(libc::IPC_PRIVATE, MIB, 0o600) } {
                -1 => Err(errno()),
                id => {
                    // SAFETY: a segment of this process; it goes with its last user.
                    let attached = unsafe { libc::shmat(id, null(), 0) };
                    // SAFETY: the same.
                    unsafe { libc::shmctl(id, libc::IPC_RMID, null_mut()) };
                    if attached.addr() == usize::MAX {
                        Err(errno())
                    } else {
                        Ok(())
                    }
                }
            }
        }
        "memfd" => {
            // SAFETY: the name ends with a NUL.
            match unsafe { libc::memfd_create(c"probe".as_ptr(), 0) } {
                -1 => Err(errno()),
                _ => Ok(()),
            }
        }
        "fork" => {
            if place.is_null() {
                *place = map(32 * MIB, WRITE, PRIVATE)?;
            }
            child_that_waits().map(drop)
        }
        _ => Err(-1),
    }
}

fn result_of(place: *mut libc::c_void) -> Result<(), i32> {
    if place == libc::MAP_FAILED {
        Err(errno())
    } else {
        Ok(())
    }
}

fn zero_device() -> File {
    let mut options = File::options();
    options.read(true).write(true).open("/dev/zero").unwrap()
}

/// Maps what is a file at one moment and /dev/zero at the other, until there
/// are so many MiB of the latter; says so then.
fn swap() {
    let path = std::env::temp_dir().join(format!("{}-swapped", std::process::id()));
    let mut options = File::options();
    options.read(true).write(true).create_new(true);
    let file = options.open(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    file.set_len(16 * MIB as u64).unwrap();
    let zero = zero_device();
    // SAFETY: plain values.
    let target = unsafe { libc::dup(file.as_raw_fd()) };
    let (one, other) = (file.as_raw_fd(), zero.as_raw_fd());
    thread::spawn(move || {
        loop {
            for from in [other, one] {
                // SAFETY: the descriptor that is replaced is nobody else's.
                unsafe { libc::dup2(from, target) };
            }
        }
    });
    let mut through = 0;
    while through < 1024 {
        // SAFETY: a fresh mapping where the kernel wants it.
        let place = unsafe { libc::mmap(null_mut(), 16 * MIB, WRITE, libc::MAP_SHARED, target, 0) };
        if place == libc::MAP_FAILED {
            continue;
        }
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        through = 16 * maps.matches("/dev/zero (deleted)").count();
        let start = format!("{:x}-", place.addr());
        if maps
            .lines()
            .any(|line| line.starts_with(&start) && line.ends_with("swapped (deleted)"))
        {
            // SAFETY: the mapping that was just made.
            unsafe { libc::munmap(place, 16 * MIB) };
        }
    }
    println!("{through}");
}

fn memory(route: &str) {
    let mut place = null_mut();
    let mut count = 0;
    let ended = loop {
        match take(route, count, &mut place) {
            Ok(()) if count == MOST => break 0,
            Ok(()) => count += 1,
            Err(errno) => break errno,
        }
    };
    println!("{count} {ended}");
}

/// A child that ends with this process.
fn child_that_waits() -> Result<i32, i32> {
    let parent = std::process::id();
    // SAFETY: the child makes system calls and waits for its end.
    match unsafe { libc::fork() } {
        -1 => Err(errno()),
        0 => {
            // SAFETY: plain values.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            // A parent that was gone before sends no signal.
            // SAFETY: no arguments.
            if unsafe { libc::getppid() }.unsigned_abs() != parent {
                // SAFETY: ends the process.
                unsafe { libc::_exit(0) };
            }
            // SAFETY: waits for a signal, for some time at most.
            unsafe { libc::alarm(60) };
            loop {
                // SAFETY: waits for a signal.
                unsafe { libc::pause() };
            }
        }
        child => Ok(child),
    }
}

/// Children that wait, until there can be no more.
fn fork_all() -> (Vec<i32>, i32) {
    let mut children = Vec::new();
    loop {
        if children.len() == MOST {
            return (children, 0);
        }
        match child_that_waits() {
            Ok(child) => children.push(child),
            Err(errno) => return (children, errno),
        }
    }
}

fn forks() {
    for _ in 0..2 {
        let (children, ended) = fork_all();
        println!("{} {ended}", children.len());
        for child in children {
            // SAFETY: a child that nobody has waited for.
            unsafe { libc::kill(child, libc::SIGKILL) };
            // SAFETY: the same.
            unsafe { libc::waitpid(child, null_mut(), 0) };
        }
    }
}

fn again() {
    for _ in 0..50 {
        let place = map(64 * MIB, WRITE, PRIVATE).unwrap();
        // SAFETY: the mapping that was just made.
        assert_eq!(unsafe { libc::munmap(place.cast(), 64 * MIB) }, 0);
    }
    println!("done");
}

/// Threads that claim at the same time.
const THREADS: usize = 8;
/// A small claim: below a 256th of what the tests allow.
const SMALL: usize = 64 << 10;

fn small() {
    let start = Barrier::new(THREADS);
    let take_all = || {
        start.wait();
        // A cgroup lets be claimed what nobody uses.
        for count in 0..MOST * MIB / SMALL / THREADS {
            if let Err(errno) = map(SMALL, WRITE, PRIVATE) {
                return (count, errno);
            }
        }
        (MOST * MIB / SMALL / THREADS, 0)
    };
    let taken: Vec<(usize, i32)> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(take_all)).collect();
        let threads = threads.into_iter().map(|thread| thread.join().unwrap());
        threads.collect()
    });
    let count: usize = taken.iter().map(|it| it.0).sum();
    let other = taken.iter().find(|it| it.1 != libc::ENOMEM);
    let ended = other.map_or(libc::ENOMEM, |it| it.1);
    println!("{} {ended}", count * SMALL / 1024);
    println!("{} 0", counted());
}

/// KiB of writable memory of one's own, as the kernel counts.
fn counted() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(5).unwrap().parse().unwrap();
    pages * 4
}

fn limit_data(most: libc::rlim_t) {
    let limit = libc::rlimit {
        rlim_cur: most,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: a structure of this frame.
    let set = unsafe { libc::setrlimit(libc::RLIMIT_DATA, &raw const limit) };
    assert_eq!(set, 0);
}

/// Claims a heap which the kernel refuses, has the counts put right, and claims
/// it again; then whatever else can be had.
fn hidden() {
    const HEAP: isize = 100 << 20;
    limit_data(1 << 20);
    // SAFETY: nobody uses the new part.
    let refused = unsafe { libc::sbrk(HEAP) };
    assert_eq!(refused.addr(), usize::MAX);
    limit_data(libc::RLIM_INFINITY);
    for _ in 0..64 {
        let place = map(MIB, WRITE, PRIVATE).unwrap();
        // SAFETY: the mapping that was just made.
        unsafe { libc::munmap(place.cast(), MIB) };
    }
    // SAFETY: nobody uses the new part.
    unsafe { libc::sbrk(HEAP) };
    let more = (0..MOST).take_while(|_| map(MIB, WRITE, PRIVATE).is_ok());
    assert!(more.count() < MOST);
    println!("{} 0", counted());
}

static SIGNALS: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count_signal(_signal: libc::c_int) {
    SIGNALS.fetch_add(1, Ordering::Relaxed);
}

/// Claims of one's own, each small; how many have failed, and with what at last.
fn claim_often(rounds: usize) -> (usize, i32) {
    let place = map(2 * SMALL, WRITE, PRIVATE).unwrap();
    let (mut failed, mut last) = (0, 0);
    for _ in 0..rounds {
        // SAFETY: within that mapping, which is this thread's own.
        let changed = unsafe { libc::mprotect(place.cast(), SMALL, WRITE) };
        let claims = [
            zero_or_errno(changed),
            map(SMALL, WRITE, PRIVATE).map(|place| {
                // SAFETY: the mapping that was just made.
                unsafe { libc::munmap(place.cast(), SMALL) };
            }),
        ];
        for errno in claims.into_iter().filter_map(Result::err) {
            (failed, last) = (failed + 1, errno);
        }
    }
    (failed, last)
}

fn signals() {
    const ROUNDS: usize = 200;
    let handler: extern "C" fn(libc::c_int) = count_signal;
    // SAFETY: an action of zeroes has no flags and an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as libc::sighandler_t;
    // SAFETY: the handler only counts.
    unsafe { libc::sigaction(libc::SIGUSR1, &raw const action, null_mut()) };
    let working = AtomicUsize::new(THREADS);
    let end = Barrier::new(THREADS + 1);
    let (say, hear) = channel();
    let results: Vec<(usize, i32)> = thread::scope(|scope| {
        let claims = || {
            // SAFETY: no arguments.
            say.send(unsafe { libc::pthread_self() }).unwrap();
            let result = claim_often(ROUNDS);
            working.fetch_sub(1, Ordering::Relaxed);
            // No signal is sent to a thread that is gone.
            end.wait();
            result
        };
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(claims)).collect();
        let ids: Vec<libc::pthread_t> = hear.iter().take(THREADS).collect();
        while working.load(Ordering::Relaxed) > 0 {
            for &id in &ids {
                // SAFETY: they end only once all have done their work.
                unsafe { libc::pthread_kill(id, libc::SIGUSR1) };
            }
        }
        end.wait();
        let threads = threads.into_iter().map(|thread| thread.join().unwrap());
        threads.collect()
    });
    let failed: usize = results.iter().map(|it| it.0).sum();
    let last = results.iter().map(|it| it.1).max().unwrap_or(0);
    println!("{failed} {last}");
    let claims = 2 * ROUNDS * THREADS;
    println!("{claims} {}", SIGNALS.load(Ordering::Relaxed));
}

fn storm() {
    let mut threads = 0;
    while threads < MOST {
        let started = thread::Builder::new().spawn(|| {
            loop {
                thread::park();
            }
        });
        if started.is_err() {
            break;
        }
        threads += 1;
    }
    println!("{threads}");
    // SAFETY: the other threads only wait.
    unsafe { libc::_exit(0) };
}

fn main() {
    let mut words = std::env::args().skip(1);
    let (what, route) = (words.next(), words.next());
    match (what.as_deref(), route.as_deref()) {
        (Some("forks"), _) => forks(),
        (Some("memory"), Some(route)) => memory(route),
        (Some("again"), _) => again(),
        (Some("storm"), _) => storm(),
        (Some("swap"), _) => swap(),
        (Some("small"), _) => small(),
        (Some("hidden"), _) => hidden(),
        (Some("signals"), _) => signals(),
        _ => std::process::exit(2),
    }
}

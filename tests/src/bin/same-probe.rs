//! Asks for the time and for random numbers in every way, and waits for
//! moments of the wall clock.
//!
//! - `same-probe times`: each way to ask, and the seconds that it says
//! - `same-probe steady TIMES`: asks by turns in two ways; fails if time goes back
//! - `same-probe waits`: each way to wait for 200 ms, and how long that was
//! - `same-probe random`: what each of two threads and two children is given

#![allow(unsafe_code, reason = "libraries would ask in one way only")]
#![allow(
    clippy::multiple_unsafe_ops_per_block,
    reason = "a wait takes several calls on the same objects"
)]
#![allow(clippy::print_stdout, reason = "the results")]
#![allow(clippy::unwrap_used, reason = "a probe that cannot go on has failed")]

use std::fs::File;
use std::io::Read as _;
use std::mem::zeroed;
use std::ptr::{null, null_mut};
use std::thread;
use std::time::Instant;

use libc::{c_int, c_long, itimerspec, timespec};

fn zero() -> timespec {
    timespec {
        tv_sec: 0,
        tv_nsec: 0,
    }
}

/// By the C library, which asks the vDSO.
fn clock(clock: c_int) -> timespec {
    let mut time = zero();
    // SAFETY: `time` can be written.
    assert_eq!(unsafe { libc::clock_gettime(clock, &raw mut time) }, 0);
    time
}

/// By a system call.
fn clock_call(clock: c_int) -> timespec {
    let mut time = zero();
    // SAFETY: `time` can be written.
    let result = unsafe { libc::syscall(libc::SYS_clock_gettime, clock, &raw mut time) };
    assert_eq!(result, 0);
    time
}

fn times() {
    let clocks = [
        ("realtime", libc::CLOCK_REALTIME),
        ("coarse", libc::CLOCK_REALTIME_COARSE),
        ("tai", libc::CLOCK_TAI),
    ];
    for (name, id) in clocks {
        println!("{name} {}", clock(id).tv_sec);
        println!("{name}-call {}", clock_call(id).tv_sec);
    }
    let mut day = libc::timeval {
        tv_sec: 0,
        tv_usec: 0,
    };
    // SAFETY: `day` can be written.
    assert_eq!(unsafe { libc::gettimeofday(&raw mut day, null_mut()) }, 0);
    println!("gettimeofday {}", day.tv_sec);
    let mut seconds = 0;
    // SAFETY: `seconds` can be written.
    let said = unsafe { libc::time(&raw mut seconds) };
    assert_eq!(said, seconds);
    println!("time {seconds}");
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: `day` can be written.
        let result = unsafe {
            libc::syscall(
                libc::SYS_gettimeofday,
                &raw mut day,
                null_mut::<libc::timeval>(),
            )
        };
        assert_eq!(result, 0);
        println!("gettimeofday-call {}", day.tv_sec);
        // SAFETY: no place for the result is given.
        let said = unsafe { libc::syscall(libc::SYS_time, null_mut::<c_long>()) };
        println!("time-call {said}");
    }
    // SAFETY: address 8 is not mapped: the call must fail.
    let result = unsafe { libc::syscall(libc::SYS_clock_gettime, 0, 8) };
    let error = std::io::Error::last_os_error();
    assert_eq!((result, error.raw_os_error()), (-1, Some(libc::EFAULT)));
}

fn steady(times: u32) {
    let key = |time: timespec| {
        assert!(
            (0..1_000_000_000).contains(&time.tv_nsec),
            "{}",
            time.tv_nsec
        );
        (time.tv_sec, time.tv_nsec)
    };
    let mut last = (0, 0);
    for turn in 0..times {
        let now = match turn % 100 {
            0 => clock_call(libc::CLOCK_REALTIME),
            1 => clock(libc::CLOCK_REALTIME_COARSE),
            _ => clock(libc::CLOCK_REALTIME),
        };
        let now = key(now);
        assert!(now >= last, "{now:?} after {last:?}");
        last = now;
    }
}

/// 200 ms from now, by the wall clock.
fn soon() -> timespec {
    let now = clock(libc::CLOCK_REALTIME);
    let nanoseconds = now.tv_nsec + 200_000_000;
    timespec {
        tv_sec: now.tv_sec + nanoseconds / 1_000_000_000,
        tv_nsec: nanoseconds % 1_000_000_000,
    }
}

fn timed(name: &str, wait: impl FnOnce(timespec)) {
    let start = Instant::now();
    wait(soon());
    println!("{name} {}", start.elapsed().as_millis());
}

fn futex(operation: c_int, until: &timespec) -> c_long {
    let word = 0_u32;
    // SAFETY: the word and the time are readable for the length of the call.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            &raw const word,
            operation,
            0,
            std::ptr::from_ref(until),
            null::<u32>(),
            u32::MAX,
        )
    }
}

fn waits() {
    timed("clock_nanosleep", |until| {
        // SAFETY: the time is readable.
        let result = unsafe {
            libc::clock_nanosleep(
                libc::CLOCK_REALTIME,
                libc::TIMER_ABSTIME,
                &raw const until,
                null_mut(),
            )
        };
        assert_eq!(result, 0);
    });
    timed("futex", |until| {
        let operation = libc::FUTEX_WAIT_BITSET | libc::FUTEX_CLOCK_REALTIME;
        assert_eq!(futex(operation | libc::FUTEX_PRIVATE_FLAG, &until), -1);
    });
    timed("futex_waitv", |until| {
        let word = 0_u32;
        let place = (&raw const word).expose_provenance();
        // struct futex_waitv: value, address, FUTEX2_SIZE_U32.
        let waiter = [0, u64::try_from(place).unwrap(), 2];
        // SAFETY: one waiter and the time are readable.
        let result = unsafe {
            libc::syscall(
                libc::SYS_futex_waitv,
                &raw const waiter,
                1,
                0,
                &raw const until,
                0,
            )
        };
        let error = std::io::Error::last_os_error();
        assert_eq!((result, error.raw_os_error()), (-1, Some(libc::ETIMEDOUT)));
    });
    timed("cond_timedwait", |until| {
        // SAFETY: both are initialised statically and used by this thread alone.
        let result = unsafe {
            let mut mutex = libc::PTHREAD_MUTEX_INITIALIZER;
            let mut condition = libc::PTHREAD_COND_INITIALIZER;
            libc::pthread_mutex_lock(&raw mut mutex);
            libc::pthread_cond_timedwait(&raw mut condition, &raw mut mutex, &raw const until)
        };
        assert_eq!(result, libc::ETIMEDOUT);
    });
    timed("timerfd", |until| {
        // SAFETY: plain values.
        let timer = unsafe { libc::timerfd_create(libc::CLOCK_REALTIME, 0) };
        let once = itimerspec {
            it_interval: zero(),
            it_value: until,
        };
        // SAFETY: the time is readable; the old one is not asked for.
        let result = unsafe {
            libc::timerfd_settime(timer, libc::TFD_TIMER_ABSTIME, &raw const once, null_mut())
        };
        assert_eq!(result, 0);
        let mut count = 0_u64;
        // SAFETY: eight bytes can be written.
        assert_eq!(unsafe { libc::read(timer, (&raw mut count).cast(), 8) }, 8);
    });
    timed("timer", |until| {
        // SAFETY: a structure of plain values.
        let mut set = unsafe { zeroed() };
        let mut timer: libc::timer_t = null_mut();
        let once = itimerspec {
            it_interval: zero(),
            it_value: until,
        };
        // SAFETY: all that is pointed to lives here; SIGALRM is what a timer
        // without a sigevent sends.
        unsafe {
            libc::sigemptyset(&raw mut set);
            libc::sigaddset(&raw mut set, libc::SIGALRM);
            libc::sigprocmask(libc::SIG_BLOCK, &raw const set, null_mut());
            assert_eq!(
                libc::timer_create(libc::CLOCK_REALTIME, null_mut(), &raw mut timer),
                0
            );
            let result =
                libc::timer_settime(timer, libc::TIMER_ABSTIME, &raw const once, null_mut());
            assert_eq!(result, 0);
            assert_eq!(libc::sigwaitinfo(&raw const set, null_mut()), libc::SIGALRM);
        }
    });
    timed("monotonic", |_until| {
        let now = clock(libc::CLOCK_MONOTONIC);
        let nanoseconds = now.tv_nsec + 200_000_000;
        let until = timespec {
            tv_sec: now.tv_sec + nanoseconds / 1_000_000_000,
            tv_nsec: nanoseconds % 1_000_000_000,
        };
        assert_eq!(futex(libc::FUTEX_WAIT_BITSET, &until), -1);
    });
    timed("sleep", |_until| {
        thread::sleep(std::time::Duration::from_millis(200))
    });
}

fn print(name: &str, bytes: &[u8]) {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    println!("{name} {digits}");
}

fn getrandom() -> [u8; 16] {
    let mut bytes = [0; 16];
    // SAFETY: so many bytes can be written.
    let got = unsafe { libc::syscall(libc::SYS_getrandom, bytes.as_mut_ptr(), bytes.len(), 0) };
    assert_eq!(got, 16);
    bytes
}

fn device(path: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    File::open(path).unwrap().read_exact(&mut bytes).unwrap();
    bytes
}

fn random() {
    // SAFETY: AT_RANDOM is the address of 16 bytes.
    let first = unsafe { *(libc::getauxval(libc::AT_RANDOM) as *const [u8; 16]) };
    print("auxv", &first);
    print("getrandom", &getrandom());
    let mut bytes = [0; 16];
    // SAFETY: so many bytes can be written.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), 16, 0) };
    assert_eq!(got, 16);
    print("library", &bytes);
    print("urandom", &device("/dev/urandom"));
    print("random", &device("/dev/random"));
    std::env::set_current_dir("/dev").unwrap();
    print("relative", &device("urandom"));
    print("dots", &device("/dev/../dev/./urandom"));
    print(
        "uuid",
        &std::fs::read("/proc/sys/kernel/random/uuid").unwrap(),
    );
    print(
        "boot",
        &std::fs::read("/proc/sys/kernel/random/boot_id").unwrap(),
    );
    // Before there are threads, whose order makes a difference to the heap.
    println!("address {:p}", std::ptr::from_ref(&*Box::new(0)));
    let many: Vec<_> = (0..2).map(|_| thread::spawn(getrandom)).collect();
    for thread in many {
        print("thread", &thread.join().unwrap());
    }
    for _ in 0..2 {
        // SAFETY: no other thread runs, and the child only prints and ends.
        match unsafe { libc::fork() } {
            0 => {
                print("child", &getrandom());
                std::process::exit(0);
            }
            child => {
                // SAFETY: the status is not asked for.
                assert_eq!(unsafe { libc::waitpid(child, null_mut(), 0) }, child);
            }
        }
    }
    // A flag that there is not, and two that make no sense together.
    for flags in [8, 6] {
        // SAFETY: nothing is written for no length.
        let result = unsafe { libc::syscall(libc::SYS_getrandom, null_mut::<u8>(), 0, flags) };
        let error = std::io::Error::last_os_error();
        assert_eq!((result, error.raw_os_error()), (-1, Some(libc::EINVAL)));
    }
}

fn main() {
    let mut words = std::env::args().skip(1);
    match words.next().as_deref() {
        Some("times") => times(),
        Some("steady") => steady(words.next().unwrap().parse().unwrap()),
        Some("waits") => waits(),
        Some("random") => random(),
        _ => std::process::exit(2),
    }
}

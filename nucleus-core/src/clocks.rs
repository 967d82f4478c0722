//! The clocks that count from the machine's start, in the child.

use std::io::Write as _;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};

use crate::report::{Call, Context, Fault};
use crate::sys;

/// Nanoseconds of a second.
const SECOND: i64 = 1_000_000_000;

/// Lets `CLOCK_MONOTONIC` and `CLOCK_BOOTTIME` of the children that are made
/// from now on begin at so many seconds: a time namespace
/// (time_namespaces(7), 5.6).
pub(crate) fn start_at(seconds: u32) -> Result<(), Fault> {
    sys::unshare_time().call(Call::Unshare)?;
    let mut text = [0; 128];
    let mut rest = text.as_mut_slice();
    for (name, clock) in [
        ("monotonic", ClockId::Monotonic),
        ("boottime", ClockId::Boottime),
    ] {
        let now = clock_gettime(clock);
        let (whole, fraction) = offset(seconds.into(), now.tv_sec, now.tv_nsec);
        // Two lines of at most 45 bytes.
        writeln!(rest, "{name} {whole} {fraction}").map_err(|_full| Fault {
            call: Call::Write,
            errno: Errno::NOSPC,
        })?;
    }
    let left = rest.len();
    let text = text.get(..text.len() - left).unwrap_or_default();
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let path = c"/proc/self/timens_offsets";
    let file = rustix::fs::openat(CWD, path, flags, Mode::empty()).call(Call::Open)?;
    rustix::io::write(&file, text).map(drop).call(Call::Write)
}

/// What to add to a clock that shows this time; the kernel wants nanoseconds
/// that count forwards.
const fn offset(wanted: i64, seconds: i64, nanoseconds: i64) -> (i64, i64) {
    if nanoseconds == 0 {
        (wanted - seconds, 0)
    } else {
        (wanted - seconds - 1, SECOND - nanoseconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_and_offset_make_the_start() {
        let check = |now: (i64, i64)| {
            let (whole, fraction) = offset(1000, now.0, now.1);
            assert!((0..SECOND).contains(&fraction), "{fraction}");
            let sum = (now.0 + whole) * SECOND + now.1 + fraction;
            assert_eq!(sum, 1000 * SECOND, "{now:?}");
        };
        check((5, 0));
        check((5, 1));
        check((123_456, 999_999_999));
        check((1000, 0));
    }
}

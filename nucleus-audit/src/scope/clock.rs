//! The kernel's clocks against each other.

use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, Timespec, clock_gettime};

/// Two looks at one clock that are no further apart: between them nobody else
/// had the processor for long.
const CLOSE: Duration = Duration::from_millis(1);
/// How often that is tried; on a machine that is never quick enough the best
/// counts.
const TRIES: u32 = 16;

/// When it was, on the wall clock, that `clock` showed `reading`.
///
/// A thread may be interrupted for long between its looks at two clocks, and
/// would take the time for that of the process it asks about: the look at the
/// wall clock counts that lies closest between two looks at the other.
pub(super) fn on_the_wall(clock: ClockId, reading: Duration) -> SystemTime {
    let look = || duration(clock_gettime(clock));
    let mut best: Option<(Duration, SystemTime)> = None;
    for _ in 0..TRIES {
        let before = look();
        let wall = SystemTime::now();
        let apart = look().saturating_sub(before);
        if best.is_none_or(|(closest, _)| apart < closest) {
            let age = before.saturating_sub(reading);
            best = Some((
                apart,
                wall.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH),
            ));
        }
        if apart <= CLOSE {
            break;
        }
    }
    best.map_or(SystemTime::UNIX_EPOCH, |(_, time)| time)
}

/// The clock that audit stamps records with (`ktime_get_coarse_real_ts64`), as
/// records print it: to the millisecond. It stands still between the ticks of
/// one processor, on a virtual machine sometimes for long, so that only times
/// of this clock itself can be compared exactly.
pub(super) fn of_records() -> SystemTime {
    let now = duration(clock_gettime(ClockId::RealtimeCoarse));
    let whole = Duration::from_secs(now.as_secs());
    SystemTime::UNIX_EPOCH + whole + Duration::from_millis(now.subsec_millis().into())
}

fn duration(time: Timespec) -> Duration {
    // Negative before 1970 or the boot: there is no such time here.
    Duration::try_from(time).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn now_by_another_clock_is_now() {
        let reading = duration(clock_gettime(ClockId::Boottime));
        let before = SystemTime::now();
        let was = on_the_wall(ClockId::Boottime, reading);
        // However long this thread was kept waiting in between.
        assert!(was <= SystemTime::now(), "{was:?}");
        assert!(
            was + Duration::from_secs(10) > before,
            "{was:?}, {before:?}"
        );
    }

    #[test]
    fn records_are_stamped_no_later_than_now() {
        let stamp = of_records();
        assert!(stamp <= SystemTime::now());
        assert_eq!(
            stamp
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap()
                .subsec_nanos()
                % 1_000_000,
            0
        );
    }
}

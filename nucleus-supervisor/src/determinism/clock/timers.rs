//! Which clock a timer goes by.

use std::fs;

use super::calls::SHIFTED;
use crate::TracedCall;

/// Whether the deadline of a call is one of a clock that is shifted. The clock
/// of a timer is the kernel's to say; `None` when it does not, for a descriptor
/// that is no timer.
pub(super) fn is_of_wall_clock(call: &TracedCall, name: &str) -> Option<bool> {
    let number = call.int(0);
    let clock = match name {
        "timer_settime" | "timer_settime64" => {
            let timers = fs::read_to_string(format!("/proc/{}/timers", call.task.process)).ok()?;
            clock_of_timer(&timers, number)?
        }
        "timerfd_settime" | "timerfd_settime64" => {
            let path = format!("/proc/{}/fdinfo/{number}", call.task.thread);
            clock_in(&fs::read_to_string(path).ok()?, "clockid:")?
        }
        _ => return Some(true),
    };
    Some(SHIFTED.contains(&clock))
}

/// From `/proc/PID/timers` (timer_create(2), 3.10), which has a few lines for
/// each timer.
fn clock_of_timer(timers: &str, wanted: u32) -> Option<u32> {
    let at_wanted = |line: &&str| {
        line.strip_prefix("ID: ")
            .is_some_and(|id| id.parse() == Ok(wanted))
    };
    let mut lines = timers.lines().skip_while(|line| !at_wanted(line)).skip(1);
    let mut of_this = lines.by_ref().take_while(|line| !line.starts_with("ID: "));
    of_this.find_map(|line| clock_in(line, "ClockID:"))
}

fn clock_in(text: &str, key: &str) -> Option<u32> {
    let mut values = text.lines().filter_map(|line| line.strip_prefix(key));
    values.next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_of_a_timer_is_read() {
        let timers = "ID: 0\nsignal: 14/0\nnotify: signal/pid.1\nClockID: 1\n\
                      ID: 3\nsignal: 14/0\nnotify: signal/pid.1\nClockID: 0\nID: 4\n";
        let check = |id, expected| assert_eq!(clock_of_timer(timers, id), expected, "{id}");
        check(0, Some(1));
        check(3, Some(0));
        check(4, None);
        check(5, None);
        assert_eq!(
            clock_in("pos:\t0\nclockid: 0\nticks: 0\n", "clockid:"),
            Some(0)
        );
    }
}

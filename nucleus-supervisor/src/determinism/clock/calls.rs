//! Which calls are about the wall clock, and how times are laid out in them.

use nucleus_seccomp::{Arch, Syscall};

use crate::{ArgTest, When};

/// `CLOCK_REALTIME`.
const REALTIME: u32 = 0;
/// `CLOCK_REALTIME_COARSE`.
const COARSE: u32 = 5;
/// `CLOCK_REALTIME_ALARM`.
pub(super) const ALARM: u32 = 8;
/// `CLOCK_TAI`.
pub(super) const TAI: u32 = 11;
/// The clocks that are shifted.
pub(super) const SHIFTED: [u32; 4] = [REALTIME, COARSE, ALARM, TAI];

/// `TIMER_ABSTIME` and `TFD_TIMER_ABSTIME`.
const ABSOLUTE: u32 = 1;

/// `FUTEX_PRIVATE_FLAG`: makes no difference here.
const FUTEX_PRIVATE: u32 = 128;
/// `FUTEX_CLOCK_REALTIME`.
const FUTEX_REALTIME: u32 = 256;
/// `FUTEX_WAIT_BITSET`, `FUTEX_WAIT_REQUEUE_PI`, `FUTEX_LOCK_PI2`: deadlines by
/// the wall clock if the flag says so.
const FUTEX_BY_FLAG: [u32; 3] = [9, 11, 13];
/// `FUTEX_LOCK_PI`: always.
const FUTEX_LOCK_PI: u32 = 6;

/// What is refused because it would set the host's clock to the program's
/// time, or tell the true one.
pub(super) const REFUSED: [&str; 7] = [
    "settimeofday",
    "stime",
    "clock_settime",
    "clock_settime64",
    "adjtimex",
    "clock_adjtime",
    "clock_adjtime64",
];

/// What says the time.
pub(super) const SAYING: [&str; 4] = ["clock_gettime", "clock_gettime64", "gettimeofday", "time"];

/// A call whose deadline may be one of the wall clock: where that is.
pub(super) struct Deadline {
    pub(super) names: &'static [&'static str],
    pub(super) argument: u8,
    /// It is the second of two times there (`struct itimerspec`).
    pub(super) behind_interval: bool,
}

pub(super) const DEADLINES: [Deadline; 7] = [
    Deadline::new(&["clock_nanosleep", "clock_nanosleep_time64"], 2),
    Deadline::new(&["futex", "futex_time64"], 3),
    Deadline::new(&["futex_wait"], 4),
    Deadline::new(&["futex_waitv"], 3),
    Deadline::new(
        &[
            "mq_timedsend",
            "mq_timedreceive",
            "mq_timedsend_time64",
            "mq_timedreceive_time64",
        ],
        4,
    ),
    Deadline {
        behind_interval: true,
        ..Deadline::new(&["timer_settime", "timer_settime64"], 2)
    },
    Deadline {
        behind_interval: true,
        ..Deadline::new(&["timerfd_settime", "timerfd_settime64"], 2)
    },
];

impl Deadline {
    const fn new(names: &'static [&'static str], argument: u8) -> Self {
        Self {
            names,
            argument,
            behind_interval: false,
        }
    }

    pub(super) fn of(name: &str) -> Option<&'static Self> {
        DEADLINES.iter().find(|it| it.names.contains(&name))
    }
}

/// For which arguments a call is about the wall clock, as far as the registers
/// say it.
pub(super) fn when(name: &str) -> When {
    let int = ArgTest::int;
    let given = |index| ArgTest::LongNot { index, value: 0 };
    let futex = |operation| ArgTest::Int {
        index: 1,
        mask: !FUTEX_PRIVATE,
        value: operation,
    };
    let absolute = ArgTest::Int {
        index: 1,
        mask: ABSOLUTE,
        value: ABSOLUTE,
    };
    let lists = match name {
        "clock_gettime" | "clock_gettime64" => SHIFTED.map(|clock| vec![int(0, clock)]).to_vec(),
        "gettimeofday" | "time" => return When::Always,
        "clock_nanosleep" | "clock_nanosleep_time64" => {
            SHIFTED.map(|clock| vec![int(0, clock), absolute]).to_vec()
        }
        // The flag is no error for FUTEX_LOCK_PI before 5.14.
        "futex" | "futex_time64" => FUTEX_BY_FLAG
            .map(|operation| operation | FUTEX_REALTIME)
            .into_iter()
            .chain([FUTEX_LOCK_PI, FUTEX_LOCK_PI | FUTEX_REALTIME])
            .map(|operation| vec![futex(operation), given(3)])
            .collect(),
        "futex_wait" => vec![vec![int(5, REALTIME), given(4)]],
        "futex_waitv" => vec![vec![int(4, REALTIME), given(3)]],
        "timer_settime" | "timer_settime64" | "timerfd_settime" | "timerfd_settime64" => {
            vec![vec![absolute]]
        }
        _ => vec![vec![given(4)]],
    };
    When::Any(lists)
}

/// How a time is laid out in the caller's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// Two numbers of 64 bits.
    Wide,
    /// Two of 32 bits, as the old calls of i386 have them.
    Narrow,
}

impl Layout {
    pub(super) fn of(call: Syscall, name: &str) -> Self {
        let wide = name.ends_with("64") || name.starts_with("futex_wait");
        if call.arch() == Arch::I386 && !wide {
            Self::Narrow
        } else {
            Self::Wide
        }
    }

    pub(super) const fn length(self) -> usize {
        match self {
            Self::Wide => 16,
            Self::Narrow => 8,
        }
    }

    /// Seconds and a fraction. What has no room is cut, as the kernel does.
    pub(super) fn write(self, seconds: i64, fraction: i64) -> Vec<u8> {
        let number = |value: i64| value.to_le_bytes();
        let length = self.length() / 2;
        [&number(seconds)[..length], &number(fraction)[..length]].concat()
    }

    pub(super) fn read(self, bytes: &[u8]) -> Option<(i64, i64)> {
        let number = |at: usize| match self {
            Self::Wide => Some(i64::from_le_bytes(*bytes.get(at..)?.first_chunk()?)),
            Self::Narrow => Some(i32::from_le_bytes(*bytes.get(at..)?.first_chunk()?).into()),
        };
        Some((number(0)?, number(self.length() / 2)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_i386_are_narrow_but_for_the_new_calls() {
        let layout = |arch, name| Layout::of(Syscall::by_name(arch, name).expect("a call"), name);
        assert_eq!(layout(Arch::I386, "clock_gettime"), Layout::Narrow);
        assert_eq!(layout(Arch::I386, "clock_gettime64"), Layout::Wide);
        assert_eq!(layout(Arch::I386, "futex_waitv"), Layout::Wide);
        assert_eq!(layout(Arch::I386, "futex"), Layout::Narrow);
        assert_eq!(layout(Arch::X86_64, "clock_gettime"), Layout::Wide);
        for layout in [Layout::Wide, Layout::Narrow] {
            let bytes = layout.write(-5, 999_999_999);
            assert_eq!(bytes.len(), layout.length());
            assert_eq!(layout.read(&bytes), Some((-5, 999_999_999)));
            assert_eq!(layout.read(&bytes[1..]), None);
        }
    }
}

//! Calls about the wall clock: what they say, and until when they wait.

use std::collections::BTreeMap;
use std::ops::Range;
use std::{fs, io};

use nucleus_seccomp::{Arch, Syscall};
use nucleus_tracer::{set_argument, stack_pointer};
use rustix::io::Errno;
use rustix::time::{ClockId, DynamicClockId, clock_gettime, clock_gettime_dynamic};

use super::time::{Moment, SECOND, TimeStart};
use crate::limits::everywhere;
use crate::{
    ArgTest, Memory, MemoryError, Refusal, TracedCall, TrapError, Traps, Verdict, When, memory_of,
};

/// `CLOCK_REALTIME`.
const REALTIME: u32 = 0;
/// `CLOCK_REALTIME_COARSE`.
const COARSE: u32 = 5;
/// `CLOCK_REALTIME_ALARM`.
const ALARM: u32 = 8;
/// `CLOCK_TAI`.
const TAI: u32 = 11;
/// The clocks that are shifted.
const SHIFTED: [u32; 4] = [REALTIME, COARSE, ALARM, TAI];

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
const REFUSED: [&str; 7] = [
    "settimeofday",
    "stime",
    "clock_settime",
    "clock_settime64",
    "adjtimex",
    "clock_adjtime",
    "clock_adjtime64",
];

/// What says the time.
const SAYING: [&str; 4] = ["clock_gettime", "clock_gettime64", "gettimeofday", "time"];

/// A call whose deadline may be one of the wall clock: where that is.
struct Deadline {
    names: &'static [&'static str],
    argument: u8,
    /// It is the second of two times there (`struct itimerspec`).
    behind_interval: bool,
}

const DEADLINES: [Deadline; 7] = [
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

    fn of(name: &str) -> Option<&'static Self> {
        DEADLINES.iter().find(|it| it.names.contains(&name))
    }
}

/// For which arguments a call is about the wall clock, as far as the registers
/// say it.
fn when(name: &str) -> When {
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
enum Layout {
    /// Two numbers of 64 bits.
    Wide,
    /// Two of 32 bits, as the old calls of i386 have them.
    Narrow,
}

impl Layout {
    fn of(call: Syscall, name: &str) -> Self {
        let wide = name.ends_with("64") || name.starts_with("futex_wait");
        if call.arch() == Arch::I386 && !wide {
            Self::Narrow
        } else {
            Self::Wide
        }
    }

    const fn length(self) -> usize {
        match self {
            Self::Wide => 16,
            Self::Narrow => 8,
        }
    }

    /// Seconds and a fraction. What has no room is cut, as the kernel does.
    fn write(self, seconds: i64, fraction: i64) -> Vec<u8> {
        let number = |value: i64| value.to_le_bytes();
        let length = self.length() / 2;
        [&number(seconds)[..length], &number(fraction)[..length]].concat()
    }

    fn read(self, bytes: &[u8]) -> Option<(i64, i64)> {
        let number = |at: usize| match self {
            Self::Wide => Some(i64::from_le_bytes(*bytes.get(at..)?.first_chunk()?)),
            Self::Narrow => Some(i32::from_le_bytes(*bytes.get(at..)?.first_chunk()?).into()),
        };
        Some((number(0)?, number(self.length() / 2)?))
    }
}

/// What the kernel said, or that registers cannot be set here.
fn errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::OPNOTSUPP)
}

/// An argument to put back when the call is over.
#[derive(Debug)]
struct Replaced {
    /// `AUDIT_ARCH_*` of the call.
    arch: u32,
    argument: usize,
    value: u64,
}

/// The wall clock of a run.
#[derive(Debug)]
pub(super) struct Clock {
    start: TimeStart,
    /// Known when the program begins.
    shift: Option<Moment>,
    /// Where the changed vDSO of each process is: what is called from there
    /// is shifted there.
    vdso: BTreeMap<u32, Range<u64>>,
    replaced: BTreeMap<u32, Replaced>,
}

impl Clock {
    pub(super) const fn new(start: TimeStart) -> Self {
        Self {
            start,
            shift: None,
            vdso: BTreeMap::new(),
            replaced: BTreeMap::new(),
        }
    }

    pub(super) const fn start(&self) -> TimeStart {
        self.start
    }

    /// How far the clocks are shifted; the first to ask makes the clock start.
    pub(super) fn shift(&mut self) -> Moment {
        let start = self.start.moment();
        *self
            .shift
            .get_or_insert_with(|| start.minus(now()).up_to_microsecond())
    }

    /// Traps what says the time or waits for a moment.
    pub(super) fn trap(traps: &mut Traps) -> Result<(), TrapError> {
        let waiting = DEADLINES.iter().flat_map(|deadline| deadline.names);
        for name in SAYING.iter().chain(waiting) {
            for call in everywhere(name) {
                traps.add(call, when(name))?;
            }
        }
        for call in REFUSED.into_iter().flat_map(everywhere) {
            traps.refuse(call, Refusal::Of(When::Always, Errno::PERM))?;
        }
        Ok(())
    }

    /// Answers a call that says the time, and moves the deadline of one that
    /// waits.
    pub(super) fn enter(&mut self, call: &TracedCall) -> Verdict {
        let Some((number, name)) = call.data.syscall().and_then(|it| Some((it, it.name()?))) else {
            return Verdict::Go;
        };
        let own = self.vdso.get(&call.task.process);
        if own.is_some_and(|own| own.contains(&call.data.instruction_pointer)) {
            return Verdict::Go;
        }
        let layout = Layout::of(number, name);
        // Another guard may have trapped it with other arguments.
        let deadline = Deadline::of(name);
        if !(SAYING.contains(&name) || deadline.is_some()) || !when(name).holds(&call.data) {
            return Verdict::Go;
        }
        let said = match (deadline, name) {
            (Some(deadline), _) => self.wait(call, name, deadline, layout),
            (None, "gettimeofday") => self.say_time_of_day(call, layout),
            (None, "time") => self.say_seconds(call, number),
            (None, _) => self.say_clock(call, layout),
        };
        said.unwrap_or_else(Verdict::Errno)
    }

    fn now(&mut self) -> Moment {
        let shift = self.shift();
        now().plus(shift)
    }

    fn say_clock(&mut self, call: &TracedCall, layout: Layout) -> Result<Verdict, Errno> {
        let now = match call.int(0) {
            TAI => dynamic(DynamicClockId::Tai)?.plus(self.shift()),
            // There is none without a clock that runs while the machine is off.
            ALARM => dynamic(DynamicClockId::RealtimeAlarm)?.plus(self.shift()),
            _ => self.now(),
        };
        let bytes = layout.write(now.seconds, now.nanoseconds);
        write(memory_of(call), call.data.args[1], &bytes)
    }

    fn say_time_of_day(&mut self, call: &TracedCall, layout: Layout) -> Result<Verdict, Errno> {
        let [time, zone, ..] = call.data.args;
        if time != 0 {
            let now = self.now();
            let bytes = layout.write(now.seconds, now.nanoseconds / 1000);
            write(memory_of(call), time, &bytes)?;
        }
        if zone != 0 {
            // struct timezone, of which the kernel keeps no more than UTC on
            // any system whose hardware clock is in UTC.
            write(memory_of(call), zone, &[0; 8])?;
        }
        Ok(Verdict::Value(0))
    }

    fn say_seconds(&mut self, call: &TracedCall, number: Syscall) -> Result<Verdict, Errno> {
        let seconds = self.now().seconds;
        let place = call.data.args[0];
        if place != 0 {
            let length = if number.arch() == Arch::I386 { 4 } else { 8 };
            write(memory_of(call), place, &seconds.to_le_bytes()[..length])?;
        }
        Ok(Verdict::Value(seconds))
    }

    /// Gives the kernel another deadline than the program has written: a copy
    /// below the stack, behind what the ABI lets a function use there. The
    /// kernel reads it at once.
    fn wait(
        &mut self,
        call: &TracedCall,
        name: &str,
        deadline: &Deadline,
        layout: Layout,
    ) -> Result<Verdict, Errno> {
        const RED_ZONE: u64 = 128;
        let argument = usize::from(deadline.argument);
        let place = call.data.args[argument];
        let Some(true) = is_of_wall_clock(call, name) else {
            return Ok(Verdict::Go);
        };
        let at = if deadline.behind_interval {
            layout.length()
        } else {
            0
        };
        let mut bytes = vec![0; at + layout.length()];
        if memory_of(call).read(place, &mut bytes).is_err() {
            // The kernel finds that, too.
            return Ok(Verdict::Go);
        }
        match layout.read(&bytes[at..]) {
            // That disarms a timer, or is an error that the kernel will tell.
            Some((0, 0)) if deadline.behind_interval => return Ok(Verdict::Go),
            Some((seconds, fraction)) if seconds >= 0 && (0..SECOND).contains(&fraction) => {
                let moved = Moment::new(seconds, fraction).minus(self.shift());
                let moved = moved.max(Moment::new(0, 1));
                bytes.truncate(at);
                bytes.extend(layout.write(moved.seconds, moved.nanoseconds));
            }
            _ => return Ok(Verdict::Go),
        }
        let length = u64::try_from(bytes.len()).map_err(|_wide| Errno::FAULT)?;
        let stack = stack_pointer(call.task.thread).map_err(|error| errno(&error))?;
        let copy = stack.checked_sub(RED_ZONE + length).ok_or(Errno::FAULT)? & !15;
        write(memory_of(call), copy, &bytes)?;
        let arch = call.data.arch;
        set_argument(call.task.thread, arch, argument, copy).map_err(|error| errno(&error))?;
        let replaced = Replaced {
            arch,
            argument,
            value: place,
        };
        self.replaced.insert(call.task.thread, replaced);
        Ok(Verdict::GoAndTell)
    }

    /// The call has returned, or will be made again: its argument is the
    /// program's own.
    pub(super) fn over(&mut self, thread: u32) {
        if let Some(replaced) = self.replaced.remove(&thread) {
            let Replaced {
                arch,
                argument,
                value,
            } = replaced;
            // It fails for a thread that was killed, and has no registers.
            let _killed: io::Result<()> = set_argument(thread, arch, argument, value);
        }
    }

    pub(super) fn born(&mut self, child: u32, parent: u32) {
        if let Some(vdso) = self.vdso.get(&parent).cloned() {
            self.vdso.insert(child, vdso);
        }
    }

    /// A new program; `vdso` is where its changed one is, if it has one.
    pub(super) fn executed(&mut self, process: u32, former: u32, vdso: Option<Range<u64>>) {
        self.replaced.remove(&former);
        self.vdso.remove(&process);
        self.vdso.extend(vdso.map(|vdso| (process, vdso)));
    }

    pub(super) fn ended(&mut self, thread: u32, leads: bool) {
        self.replaced.remove(&thread);
        if leads {
            self.vdso.remove(&thread);
        }
    }
}

fn write(memory: Memory<'_>, place: u64, bytes: &[u8]) -> Result<Verdict, Errno> {
    memory
        .write(place, bytes)
        .map_err(|error: MemoryError| error.errno())?;
    Ok(Verdict::Value(0))
}

fn now() -> Moment {
    let now = clock_gettime(ClockId::Realtime);
    Moment::new(now.tv_sec, now.tv_nsec)
}

fn dynamic(clock: DynamicClockId<'_>) -> Result<Moment, Errno> {
    let now = clock_gettime_dynamic(clock)?;
    Ok(Moment::new(now.tv_sec, now.tv_nsec))
}

/// Whether the deadline of a call is one of a clock that is shifted. The clock
/// of a timer is the kernel's to say; `None` when it does not, for a descriptor
/// that is no timer.
fn is_of_wall_clock(call: &TracedCall, name: &str) -> Option<bool> {
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
    use nucleus_seccomp::{Action, SeccompData};

    fn traps(name: &str, arch: Arch, args: [u64; 6]) -> Action {
        let mut traps = Traps::for_tracer();
        Clock::trap(&mut traps).expect("valid");
        let call = Syscall::by_name(arch, name).expect("a call");
        traps.decide(&SeccompData {
            nr: call.number(),
            arch: arch.audit(),
            instruction_pointer: 0,
            args,
        })
    }

    #[test]
    fn only_the_wall_clock_is_trapped() {
        let check = |name, args: &[u64], expected| {
            let mut all = [0; 6];
            all[..args.len()].copy_from_slice(args);
            assert_eq!(traps(name, Arch::X86_64, all), expected, "{name} {args:?}");
        };
        let asked = Action::Trace(nucleus_tracer::ASK);
        for (clock, expected) in [
            (0, asked),
            (1, Action::Allow),
            (5, asked),
            (7, Action::Allow),
        ] {
            check("clock_gettime", &[clock], expected);
        }
        check("clock_nanosleep", &[0, 0], Action::Allow);
        check("clock_nanosleep", &[0, 1], asked);
        check("clock_nanosleep", &[1, 1], Action::Allow);
        // FUTEX_WAIT; FUTEX_WAIT_BITSET by the monotonic clock, by the wall
        // clock, and without a deadline.
        check("futex", &[1, 128, 0, 8], Action::Allow);
        check("futex", &[1, 9 | 128, 0, 8], Action::Allow);
        check("futex", &[1, 9 | 128 | 256, 0, 8], asked);
        check("futex", &[1, 9 | 256, 0, 0], Action::Allow);
        check("futex", &[1, 6 | 128, 0, 8], asked);
        check("futex_waitv", &[1, 1, 0, 8, 0], asked);
        check("futex_waitv", &[1, 1, 0, 8, 1], Action::Allow);
        check("timerfd_settime", &[3, 1], asked);
        check("timerfd_settime", &[3, 0], Action::Allow);
        check("mq_timedsend", &[3, 1, 1, 0, 8], asked);
        check("mq_timedsend", &[3, 1, 1, 0, 0], Action::Allow);
        check("adjtimex", &[8], Action::Errno(1));
        check("read", &[0], Action::Allow);
    }

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

    #[test]
    fn the_clock_starts_when_it_is_first_asked() {
        let start = "2020-01-01T00:00:00Z".parse().expect("a time");
        let mut clock = Clock::new(start);
        let first = clock.now();
        assert!(first >= start.moment(), "{first:?}");
        assert!(first.seconds - start.moment().seconds < 60, "{first:?}");
        assert!(clock.now() >= first);
    }
}

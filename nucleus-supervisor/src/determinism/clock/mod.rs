//! Calls about the wall clock: what they say, and until when they wait.

mod calls;
mod timers;

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

use nucleus_seccomp::{Arch, Syscall};
use nucleus_tracer::{set_argument, stack_pointer};
use rustix::io::Errno;
use rustix::time::{ClockId, DynamicClockId, clock_gettime, clock_gettime_dynamic};

use self::calls::{ALARM, DEADLINES, Deadline, Layout, REFUSED, SAYING, TAI, when};
use self::timers::is_of_wall_clock;
use super::time::{Moment, SECOND, TimeStart};
use crate::limits::everywhere;
use crate::{Memory, MemoryError, Refusal, TracedCall, TrapError, Traps, Verdict, When, memory_of};

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
    fn the_clock_starts_when_it_is_first_asked() {
        let start = "2020-01-01T00:00:00Z".parse().expect("a time");
        let mut clock = Clock::new(start);
        let first = clock.now();
        assert!(first >= start.moment(), "{first:?}");
        assert!(first.seconds - start.moment().seconds < 60, "{first:?}");
        assert!(clock.now() >= first);
    }
}

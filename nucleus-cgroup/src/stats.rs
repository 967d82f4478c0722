//! What a cgroup has used, as the kernel counts it.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use crate::value::Device;
use crate::{Cgroup, Error, Pressure};

/// Everything that one cgroup and its descendants have used.
///
/// A field is `None` where the controller is not enabled for this cgroup or the
/// kernel has no such file.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Stats {
    /// `cpu.stat`; times also without the controller.
    pub cpu: Option<CpuStats>,
    /// `memory.*`.
    pub memory: Option<MemoryStats>,
    /// `io.stat`, for each device that was used.
    pub io: Option<BTreeMap<Device, IoStats>>,
    /// `pids.*`.
    pub pids: Option<PidsStats>,
    /// `cpu.pressure`.
    pub cpu_pressure: Option<Pressure>,
    /// `memory.pressure`.
    pub memory_pressure: Option<Pressure>,
    /// `io.pressure`.
    pub io_pressure: Option<Pressure>,
}

/// `cpu.stat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CpuStats {
    /// CPU time used.
    pub usage: Duration,
    /// In user mode.
    pub user: Duration,
    /// In the kernel.
    pub system: Duration,
    /// Periods of `cpu.max` that passed; 0 without the controller.
    pub periods: u64,
    /// Periods in which the quota was used up.
    pub throttled_periods: u64,
    /// Time spent waiting for the next period.
    pub throttled: Duration,
}

/// `memory.current` and its kin, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryStats {
    /// Used now.
    pub current: u64,
    /// The most ever used (5.19).
    pub peak: Option<u64>,
    /// Swap used now.
    pub swap: Option<u64>,
    /// `memory.events`.
    pub events: MemoryEvents,
}

/// `memory.events`: how often a limit acted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryEvents {
    /// `memory.high` was exceeded.
    pub high: u64,
    /// `memory.max` was about to be exceeded.
    pub max: u64,
    /// An allocation was about to fail for the limit.
    pub oom: u64,
    /// Processes that the OOM killer killed.
    pub oom_kill: u64,
    /// Times that the OOM killer took the whole group (5.17).
    pub oom_group_kill: Option<u64>,
}

/// A line of `io.stat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IoStats {
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Read operations.
    pub reads: u64,
    /// Write operations.
    pub writes: u64,
}

/// `pids.current` and its kin, in tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PidsStats {
    /// Tasks now.
    pub current: u64,
    /// The most ever (6.1).
    pub peak: Option<u64>,
    /// Forks refused. Since 6.11 those that this cgroup's own limit refused,
    /// before those that any limit above refused to a task of this cgroup
    /// itself, descendants not counted.
    pub refused: u64,
}

impl Cgroup {
    /// Reads every statistic that is there.
    ///
    /// # Errors
    ///
    /// A file cannot be read, or does not hold what its documentation says.
    pub fn stats(&self) -> Result<Stats, Error> {
        Ok(Stats {
            cpu: self.parsed("cpu.stat", "lines of KEY NUMBER", cpu)?,
            memory: self.memory()?,
            io: self.parsed("io.stat", "lines of DEVICE KEY=NUMBER...", io)?,
            pids: self.pids()?,
            cpu_pressure: self.pressure("cpu.pressure")?,
            memory_pressure: self.pressure("memory.pressure")?,
            io_pressure: self.pressure("io.pressure")?,
        })
    }

    fn memory(&self) -> Result<Option<MemoryStats>, Error> {
        let Some(events) = self.parsed("memory.events", "lines of KEY NUMBER", memory_events)?
        else {
            return Ok(None);
        };
        Ok(Some(MemoryStats {
            current: self.number("memory.current")?.unwrap_or(0),
            peak: self.number("memory.peak")?,
            swap: self.number("memory.swap.current")?,
            events,
        }))
    }

    pub(crate) fn pids(&self) -> Result<Option<PidsStats>, Error> {
        let Some(current) = self.number("pids.current")? else {
            return Ok(None);
        };
        let refused = |text: &str| Keyed::parse(text)?.get("max");
        Ok(Some(PidsStats {
            current,
            peak: self.number("pids.peak")?,
            refused: self
                .parsed("pids.events", "a line max NUMBER", refused)?
                .unwrap_or(0),
        }))
    }

    fn number(&self, file: &str) -> Result<Option<u64>, Error> {
        self.parsed(file, "a number", |text| text.trim_end().parse().ok())
    }

    fn pressure(&self, file: &str) -> Result<Option<Pressure>, Error> {
        self.parsed(file, "pressure stall information", Pressure::parse)
    }

    fn parsed<T>(
        &self,
        file: &str,
        expected: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let Some(bytes) = self.read_if_there(file)? else {
            return Ok(None);
        };
        let text = String::from_utf8_lossy(&bytes);
        match parse(&text) {
            Some(value) => Ok(Some(value)),
            None => Err(self.malformed(file, expected, &text)),
        }
    }
}

/// A "flat keyed" file: `KEY NUMBER` on each line; keys come with new kernels.
pub(crate) struct Keyed<'a>(BTreeMap<&'a str, u64>);

impl<'a> Keyed<'a> {
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        text.lines()
            .map(|line| {
                let (key, number) = line.split_once(' ')?;
                Some((key, number.parse().ok()?))
            })
            .collect::<Option<_>>()
            .map(Self)
    }

    pub(crate) fn get(&self, key: &str) -> Option<u64> {
        self.0.get(key).copied()
    }
}

fn cpu(text: &str) -> Option<CpuStats> {
    let keyed = Keyed::parse(text)?;
    let time = |key| keyed.get(key).map(Duration::from_micros);
    Some(CpuStats {
        usage: time("usage_usec")?,
        user: time("user_usec")?,
        system: time("system_usec")?,
        periods: keyed.get("nr_periods").unwrap_or(0),
        throttled_periods: keyed.get("nr_throttled").unwrap_or(0),
        throttled: time("throttled_usec").unwrap_or_default(),
    })
}

fn memory_events(text: &str) -> Option<MemoryEvents> {
    let keyed = Keyed::parse(text)?;
    Some(MemoryEvents {
        high: keyed.get("high")?,
        max: keyed.get("max")?,
        oom: keyed.get("oom")?,
        oom_kill: keyed.get("oom_kill")?,
        oom_group_kill: keyed.get("oom_group_kill"),
    })
}

fn io(text: &str) -> Option<BTreeMap<Device, IoStats>> {
    text.lines()
        .filter(|line| !line.is_empty())
        .map(|line| {
            let mut words = line.split_ascii_whitespace();
            let device = Device::from_str(words.next()?).ok()?;
            let mut stats = IoStats::default();
            for word in words {
                // Controllers such as iocost add keys of their own.
                let (key, value) = word.split_once('=')?;
                let counter = match key {
                    "rbytes" => &mut stats.read_bytes,
                    "wbytes" => &mut stats.written_bytes,
                    "rios" => &mut stats.reads,
                    "wios" => &mut stats.writes,
                    _ => continue,
                };
                *counter = value.parse().ok()?;
            }
            Some((device, stats))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::fake;

    const CPU: &str = "usage_usec 3000000\nuser_usec 2000000\nsystem_usec 1000000\n\
        nr_periods 21\nnr_throttled 20\nthrottled_usec 1500000\nnr_bursts 0\nburst_usec 0\n";
    const EVENTS: &str = "low 0\nhigh 1\nmax 2\noom 3\noom_kill 4\noom_group_kill 5\n";
    const IO: &str = "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n\
        254:0 rbytes=9 wbytes=0 rios=1 wios=0 cost.usage=12 cost.vrate=100.00\n";

    #[test]
    fn everything_that_a_current_kernel_shows() {
        let tree = tempfile::tempdir().expect("a directory");
        let cgroup = fake(
            tree.path(),
            "a",
            &[
                ("cpu.stat", CPU),
                ("memory.current", "4096\n"),
                ("memory.peak", "8192\n"),
                ("memory.swap.current", "0\n"),
                ("memory.events", EVENTS),
                ("io.stat", IO),
                ("pids.current", "3\n"),
                ("pids.peak", "7\n"),
                ("pids.events", "max 2\n"),
                (
                    "io.pressure",
                    "some avg10=0.00 avg60=0.00 avg300=0.00 total=1\n",
                ),
            ],
        );
        let stats = cgroup.stats().expect("readable");
        let cpu = stats.cpu.expect("there");
        assert_eq!(cpu.usage, Duration::from_secs(3));
        assert_eq!((cpu.periods, cpu.throttled_periods), (21, 20));
        assert_eq!(cpu.throttled, Duration::from_millis(1500));
        let memory = stats.memory.expect("there");
        assert_eq!(
            (memory.current, memory.peak, memory.swap),
            (4096, Some(8192), Some(0))
        );
        assert_eq!(memory.events.oom_kill, 4);
        assert_eq!(memory.events.oom_group_kill, Some(5));
        let io = stats.io.expect("there");
        let disk = io[&Device { major: 8, minor: 0 }];
        assert_eq!(
            (disk.read_bytes, disk.written_bytes, disk.reads, disk.writes),
            (1, 2, 3, 4)
        );
        assert_eq!(io.len(), 2);
        let pids = stats.pids.expect("there");
        assert_eq!((pids.current, pids.peak, pids.refused), (3, Some(7), 2));
        assert!(stats.io_pressure.is_some());
        assert_eq!(stats.cpu_pressure, None);
    }

    #[test]
    fn an_older_kernel_and_no_controllers() {
        let tree = tempfile::tempdir().expect("a directory");
        let cgroup = fake(
            tree.path(),
            "a",
            &[
                ("cpu.stat", "usage_usec 1\nuser_usec 1\nsystem_usec 0\n"),
                ("memory.current", "1\n"),
                ("memory.events", "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\n"),
            ],
        );
        let stats = cgroup.stats().expect("readable");
        assert_eq!(stats.cpu.expect("there").periods, 0);
        let memory = stats.memory.expect("there");
        assert_eq!((memory.peak, memory.events.oom_group_kill), (None, None));
        assert_eq!((stats.io, stats.pids), (None, None));
    }

    #[test]
    fn what_is_not_as_documented_is_an_error_that_names_the_file() {
        fn check(file: &str, content: &str) {
            let tree = tempfile::tempdir().expect("a directory");
            let cgroup = fake(tree.path(), "a", &[(file, content)]);
            let error = cgroup.stats().expect_err("malformed").to_string();
            assert!(error.contains(file), "{error}");
        }
        check("cpu.stat", "usage_usec\n");
        check("cpu.stat", "usage_usec 1\n");
        check("memory.events", "high x\n");
        check("io.stat", "8 rbytes=1\n");
        check("io.stat", "8:0 rbytes\n");
        check("pids.current", "many\n");
        check("cpu.pressure", "none\n");
    }
}

//! Limits as data: what is to be written where, and how it must read back.

use std::collections::BTreeSet;
use std::io::ErrorKind;

use crate::value::{Bytes, CpuMax, CpuSet, CpuWeight, IoMax, PidsMax};
use crate::{Cgroup, Controller, Error, LimitError};

const SWAP: &str = "memory.swap.max";

/// What a program may use; what is not named is not limited.
///
/// ```
/// use nucleus_cgroup::{Bytes, Limits, PidsMax};
///
/// let limits = Limits::new()
///     .memory_max("512M".parse()?)
///     .swap_max(Bytes::new(0))
///     .cpu_max("1.5".parse()?)
///     .pids_max(PidsMax::new(100)?)
///     .check()?;
/// assert_eq!(limits.controllers().len(), 3);
/// # Ok::<(), nucleus_cgroup::LimitError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[must_use]
pub struct Limits {
    memory_max: Option<Bytes>,
    memory_high: Option<Bytes>,
    swap_max: Option<Bytes>,
    oom_group: bool,
    cpu_max: Option<CpuMax>,
    cpu_weight: Option<CpuWeight>,
    cpus: Option<CpuSet>,
    pids_max: Option<PidsMax>,
    io_max: Vec<IoMax>,
}

impl Limits {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// `memory.max`: beyond it the OOM killer acts. At least one page.
    pub const fn memory_max(mut self, bytes: Bytes) -> Self {
        self.memory_max = Some(bytes);
        self
    }

    /// `memory.high`: beyond it the program is slowed down and reclaimed from.
    pub const fn memory_high(mut self, bytes: Bytes) -> Self {
        self.memory_high = Some(bytes);
        self
    }

    /// `memory.swap.max`: swap in addition to `memory.max`; may be none.
    pub const fn swap_max(mut self, bytes: Bytes) -> Self {
        self.swap_max = Some(bytes);
        self
    }

    /// `memory.oom.group`: the OOM killer takes all processes or none.
    pub const fn oom_group(mut self) -> Self {
        self.oom_group = true;
        self
    }

    /// `cpu.max`.
    pub const fn cpu_max(mut self, limit: CpuMax) -> Self {
        self.cpu_max = Some(limit);
        self
    }

    /// `cpu.weight`.
    pub const fn cpu_weight(mut self, weight: CpuWeight) -> Self {
        self.cpu_weight = Some(weight);
        self
    }

    /// `cpuset.cpus`; a CPU that the parent may not use is an error when applied.
    pub fn cpus(mut self, cpus: CpuSet) -> Self {
        self.cpus = Some(cpus);
        self
    }

    /// `pids.max`.
    pub const fn pids_max(mut self, limit: PidsMax) -> Self {
        self.pids_max = Some(limit);
        self
    }

    /// `io.max` of one device; another one of the same device takes its place.
    pub fn io_max(mut self, limit: IoMax) -> Self {
        self.io_max.retain(|old| old.device() != limit.device());
        self.io_max.push(limit);
        self
    }

    /// Refuses what makes no sense together.
    ///
    /// # Errors
    ///
    /// `memory.max` or `memory.high` below one page, which would kill or stall
    /// the program before its first instruction; `memory.high` above
    /// `memory.max`.
    pub fn check(self) -> Result<Self, LimitError> {
        let page = page_size();
        for (what, limit) in [
            ("memory.max", self.memory_max),
            ("memory.high", self.memory_high),
        ] {
            if let Some(value) = limit.map(Bytes::get).filter(|&value| value < page) {
                return Err(LimitError::Range {
                    what,
                    value,
                    min: page,
                    max: u64::MAX,
                });
            }
        }
        match (self.memory_high, self.memory_max) {
            (Some(high), Some(max)) if high > max => Err(LimitError::HighAboveMax {
                high: high.get(),
                max: max.get(),
            }),
            _ => Ok(self),
        }
    }

    /// The controllers that these limits need.
    #[must_use]
    pub fn controllers(&self) -> BTreeSet<Controller> {
        self.settings()
            .iter()
            .map(|setting| setting.controller)
            .collect()
    }

    /// Every write, in the order in which they are done.
    fn settings(&self) -> Vec<Setting> {
        let mut settings = Vec::new();
        let mut add = |controller, file, value, expect| {
            settings.push(Setting {
                controller,
                file,
                value,
                expect,
            });
        };
        let memory = [
            ("memory.max", self.memory_max),
            ("memory.high", self.memory_high),
            (SWAP, self.swap_max),
        ];
        for (file, limit) in memory {
            if let Some(bytes) = limit.map(Bytes::get) {
                let expect = Expect::Pages(bytes);
                add(Controller::Memory, file, bytes.to_string(), expect);
            }
        }
        if self.oom_group {
            let (file, value) = ("memory.oom.group", "1".to_owned());
            add(Controller::Memory, file, value, Expect::Same);
        }
        if let Some(limit) = self.cpu_max {
            add(Controller::Cpu, "cpu.max", limit.to_string(), Expect::Same);
        }
        if let Some(weight) = self.cpu_weight {
            let value = weight.to_string();
            add(Controller::Cpu, "cpu.weight", value, Expect::Same);
        }
        if let Some(cpus) = &self.cpus {
            let expect = Expect::Cpus(cpus.clone());
            add(Controller::Cpuset, "cpuset.cpus", cpus.to_string(), expect);
        }
        if let Some(limit) = self.pids_max {
            add(
                Controller::Pids,
                "pids.max",
                limit.to_string(),
                Expect::Same,
            );
        }
        for limit in &self.io_max {
            let expect = Expect::Rates(*limit);
            add(Controller::Io, "io.max", limit.to_string(), expect);
        }
        settings
    }

    /// Writes every limit and reads it back.
    ///
    /// # Errors
    ///
    /// The kernel refuses one (ENOENT: the controller is not enabled in the
    /// parent), or holds something else afterwards.
    pub fn apply(&self, cgroup: &Cgroup) -> Result<(), Error> {
        for setting in self.settings() {
            match cgroup.write(setting.file, &setting.value) {
                Err(Error::Write { source, .. })
                    if source.kind() == ErrorKind::NotFound && setting.is_moot() => {}
                written => written?,
            }
        }
        self.verify(cgroup)
    }

    /// Reads every limit and compares.
    ///
    /// # Errors
    ///
    /// One is not what was asked for.
    pub fn verify(&self, cgroup: &Cgroup) -> Result<(), Error> {
        for setting in self.settings() {
            let file = setting.read_back();
            let got = match cgroup.read(file) {
                Err(Error::Read { source, .. })
                    if source.kind() == ErrorKind::NotFound && setting.is_moot() =>
                {
                    continue;
                }
                read => String::from_utf8_lossy(&read?).trim_end().to_owned(),
            };
            if !setting.holds(&got) {
                return Err(Error::NotTaken {
                    path: cgroup.path().join(file),
                    asked: setting.value,
                    got,
                });
            }
        }
        Ok(())
    }
}

/// One write.
#[derive(Debug, PartialEq, Eq)]
struct Setting {
    controller: Controller,
    file: &'static str,
    value: String,
    expect: Expect,
}

/// What the file must hold afterwards.
#[derive(Debug, PartialEq, Eq)]
enum Expect {
    /// The text that was written.
    Same,
    /// This many bytes, rounded down to whole pages; `max` from where the
    /// kernel's counter ends.
    Pages(u64),
    /// These CPUs, in effect: the kernel takes any list and uses its parent's
    /// CPUs where the two have nothing in common.
    Cpus(CpuSet),
    /// A line with these rates among those of other devices.
    Rates(IoMax),
}

impl Setting {
    /// Whether it holds even where the kernel has no such file: no swap on a
    /// host that has none (`swapaccount=0`, or no `CONFIG_SWAP`).
    fn is_moot(&self) -> bool {
        self.file == SWAP && self.value == "0" && !host_swaps()
    }

    const fn read_back(&self) -> &'static str {
        match self.expect {
            Expect::Cpus(_) => "cpuset.cpus.effective",
            _ => self.file,
        }
    }

    fn holds(&self, got: &str) -> bool {
        match &self.expect {
            Expect::Same => got == self.value,
            Expect::Pages(bytes) => {
                let page = page_size();
                if got == "max" {
                    // PAGE_COUNTER_MAX: LONG_MAX / PAGE_SIZE pages.
                    *bytes >= i64::MAX.unsigned_abs() / page * page
                } else {
                    got.parse() == Ok(bytes / page * page)
                }
            }
            Expect::Cpus(cpus) => got.parse().as_ref() == Ok(cpus),
            Expect::Rates(limit) => {
                let device = limit.device().to_string();
                got.lines().any(|line| {
                    let mut words = line.split(' ');
                    let known = words.next() == Some(device.as_str());
                    let words: BTreeSet<&str> = words.collect();
                    known
                        && limit
                            .rates()
                            .all(|(key, rate)| words.contains(format!("{key}={rate}").as_str()))
                })
            }
        }
    }
}

/// Whether any swap area is in use; one line of `/proc/swaps` is the heading.
/// What cannot be read may hold some.
fn host_swaps() -> bool {
    match std::fs::read("/proc/swaps") {
        Ok(table) => table.split(|&byte| byte == b'\n').count() > 2,
        Err(error) => error.kind() != ErrorKind::NotFound,
    }
}

fn page_size() -> u64 {
    u64::try_from(rustix::param::page_size()).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::fake;

    fn all() -> Limits {
        Limits::new()
            .memory_max(Bytes::new(1 << 20))
            .memory_high(Bytes::new(1 << 19))
            .swap_max(Bytes::new(0))
            .oom_group()
            .cpu_max("0.5".parse().expect("valid"))
            .cpu_weight(CpuWeight::new(50).expect("valid"))
            .cpus("0-1".parse().expect("valid"))
            .pids_max(PidsMax::new(9).expect("valid"))
            .io_max("8:0:rbps=1".parse().expect("valid"))
            .io_max("8:16:wbps=1M,wiops=2".parse().expect("valid"))
            .io_max("8:0:rbps=5".parse().expect("valid"))
    }

    #[test]
    fn the_writes_of_every_limit() {
        let writes: Vec<(&str, String)> = all()
            .settings()
            .into_iter()
            .map(|setting| (setting.file, setting.value))
            .collect();
        let expected = [
            ("memory.max", "1048576"),
            ("memory.high", "524288"),
            ("memory.swap.max", "0"),
            ("memory.oom.group", "1"),
            ("cpu.max", "50000 100000"),
            ("cpu.weight", "50"),
            ("cpuset.cpus", "0-1"),
            ("pids.max", "9"),
            ("io.max", "8:16 wbps=1048576 wiops=2"),
            ("io.max", "8:0 rbps=5"),
        ];
        assert_eq!(
            writes,
            expected.map(|(file, value)| (file, value.to_owned()))
        );
        assert_eq!(all().controllers(), BTreeSet::from(Controller::ALL));
        assert_eq!(Limits::new().controllers(), BTreeSet::new());
    }

    #[test]
    fn what_would_kill_at_once_or_never_act_is_refused() {
        let sized = |max, high| {
            Limits::new()
                .memory_max(Bytes::new(max))
                .memory_high(Bytes::new(high))
                .check()
        };
        assert!(sized(1 << 20, 1 << 20).is_ok());
        let error = sized(1 << 20, 2 << 20).expect_err("never acts");
        assert!(matches!(error, LimitError::HighAboveMax { .. }));
        let error = sized(100, 1).expect_err("below a page").to_string();
        assert!(error.starts_with("memory.max is 100,"), "{error}");
        assert!(sized(1 << 20, 0).is_err());
        let no_swap = Limits::new().swap_max(Bytes::new(0)).check();
        assert!(no_swap.is_ok(), "no swap at all is a limit");
    }

    #[test]
    fn limits_are_written_and_read_back() {
        let tree = tempfile::tempdir().expect("a directory");
        // A plain file holds what was written last.
        let cgroup = fake(
            tree.path(),
            "a",
            &[("cpu.max", "max 100000\n"), ("pids.max", "max\n")],
        );
        let limits = Limits::new()
            .cpu_max("2".parse().expect("valid"))
            .pids_max(PidsMax::new(30).expect("valid"));
        limits.apply(&cgroup).expect("taken");
        assert_eq!(cgroup.read("pids.max").expect("there"), b"30");

        fake(tree.path(), "a", &[("pids.max", "max\n")]);
        let error = limits.verify(&cgroup).expect_err("changed since");
        assert!(
            error
                .to_string()
                .ends_with("/a/pids.max was set to \"30\" but holds \"max\""),
            "{error}"
        );
        let absent = Limits::new().memory_max(Bytes::new(1 << 20));
        assert!(matches!(absent.apply(&cgroup), Err(Error::Write { .. })));
    }

    #[test]
    fn how_the_kernel_shows_a_limit() {
        fn check(limits: &Limits, got: &str, expected: bool) {
            let settings = limits.settings();
            assert_eq!(settings[0].holds(got), expected, "{settings:?} {got:?}");
        }
        let memory = |bytes| Limits::new().memory_max(Bytes::new(bytes));
        let page = page_size();
        check(&memory(3 * page + 1), &(3 * page).to_string(), true);
        check(&memory(3 * page), &(2 * page).to_string(), false);
        check(&memory(1 << 20), "max", false);
        check(&memory(u64::MAX), "max", true);

        let cpus = |text: &str| Limits::new().cpus(text.parse().expect("valid"));
        check(&cpus("0,1"), "0-1", true);
        check(&cpus("0-2"), "0-1", false);
        check(&cpus("0"), "", false);

        let io = Limits::new().io_max("8:0:rbps=5,wiops=7".parse().expect("valid"));
        let line = "8:0 rbps=5 wbps=max riops=max wiops=7";
        check(&io, line, true);
        check(&io, &format!("8:16 rbps=1 wbps=max\n{line}"), true);
        check(&io, "8:0 rbps=5 wbps=max riops=max wiops=70", false);
        check(&io, "8:01 rbps=5 wbps=max riops=max wiops=7", false);
    }
}

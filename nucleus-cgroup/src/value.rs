//! The values of limits: what the kernel would refuse, or what would not
//! limit, does not build.

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroU64;
use std::path::Path;
use std::str::FromStr;

use rustix::fs::FileType;

use crate::LimitError;

fn within(what: &'static str, value: u64, min: u64, max: u64) -> Result<u64, LimitError> {
    if (min..=max).contains(&value) {
        return Ok(value);
    }
    Err(LimitError::Range {
        what,
        value,
        min,
        max,
    })
}

/// An amount of memory or a rate, in bytes.
///
/// As text a number with one of the suffixes K, M, G and T, powers of 1024.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(u64);

impl Bytes {
    /// That many bytes.
    #[must_use]
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The number of bytes.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Bytes {
    /// With the largest suffix that divides it: `512M`, `1025`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suffixes = [(40, "T"), (30, "G"), (20, "M"), (10, "K")];
        let whole = |&(shift, _): &(u32, &str)| self.0 > 0 && self.0.trailing_zeros() >= shift;
        match suffixes.into_iter().find(whole) {
            Some((shift, suffix)) => write!(f, "{}{suffix}", self.0 >> shift),
            None => write!(f, "{}", self.0),
        }
    }
}

impl FromStr for Bytes {
    type Err = LimitError;

    fn from_str(text: &str) -> Result<Self, LimitError> {
        let syntax = || LimitError::Syntax {
            text: text.to_owned(),
            expected: "a size in bytes such as 1048576, 512M or 2G",
        };
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let shift = match text[digits.len()..].to_ascii_uppercase().as_str() {
            "" | "B" => 0,
            "K" | "KB" | "KIB" => 10,
            "M" | "MB" | "MIB" => 20,
            "G" | "GB" | "GIB" => 30,
            "T" | "TB" | "TIB" => 40,
            _ => return Err(syntax()),
        };
        decimal(digits)
            .and_then(|number| number.checked_mul(1 << shift))
            .map(Self)
            .ok_or_else(syntax)
    }
}

/// Digits alone: `str::parse` would take a sign as well.
fn decimal(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// `cpu.max`: so much CPU time in each period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuMax {
    quota_us: u64,
    period_us: u64,
}

impl CpuMax {
    /// The kernel's default period.
    const PERIOD_US: u64 = 100_000;

    /// Both in microseconds; the kernel takes a period of 1 ms to 1 s and a
    /// quota from 1 ms on (`tg_set_cfs_bandwidth`, kernel/sched/core.c).
    ///
    /// # Errors
    ///
    /// A number out of range. The quota ends at 2^44 us, where the kernel's
    /// arithmetic does.
    pub fn new(quota_us: u64, period_us: u64) -> Result<Self, LimitError> {
        Ok(Self {
            quota_us: within("the quota of cpu.max in us", quota_us, 1_000, 1 << 44)?,
            period_us: within("the period of cpu.max in us", period_us, 1_000, 1_000_000)?,
        })
    }
}

impl FromStr for CpuMax {
    type Err = LimitError;

    /// A number of CPUs such as `2`, `0.5` or `1.25`, to five decimals.
    fn from_str(text: &str) -> Result<Self, LimitError> {
        let syntax = || LimitError::Syntax {
            text: text.to_owned(),
            expected: "a number of CPUs such as 2, 0.5 or 1.25",
        };
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        if fraction.is_empty() || fraction.len() > 5 {
            return Err(syntax());
        }
        let whole = decimal(whole).ok_or_else(syntax)?;
        let fraction = decimal(&format!("{fraction:0<5}")).ok_or_else(syntax)?;
        let quota = whole
            .checked_mul(Self::PERIOD_US)
            .and_then(|quota| quota.checked_add(fraction))
            .ok_or_else(syntax)?;
        Self::new(quota, Self::PERIOD_US)
    }
}

impl fmt::Display for CpuMax {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.quota_us, self.period_us)
    }
}

/// `cpu.weight`: the share among siblings, 1 to 10,000; 100 is the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuWeight(u64);

impl CpuWeight {
    /// # Errors
    ///
    /// A weight out of range.
    pub fn new(weight: u64) -> Result<Self, LimitError> {
        within("cpu.weight", weight, 1, 10_000).map(Self)
    }
}

impl fmt::Display for CpuWeight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// `pids.max`: the number of tasks, threads included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PidsMax(u64);

impl PidsMax {
    /// The kernel's `PID_MAX_LIMIT` on 64-bit machines.
    const MOST: u64 = 4 * 1024 * 1024;

    /// # Errors
    ///
    /// None, or more than the kernel can have.
    pub fn new(tasks: u64) -> Result<Self, LimitError> {
        within("pids.max", tasks, 1, Self::MOST).map(Self)
    }
}

impl fmt::Display for PidsMax {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A list of CPUs such as `0-3,7`; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CpuSet(BTreeSet<u32>);

impl CpuSet {
    /// The largest `CONFIG_NR_CPUS` there is.
    const LAST: u64 = 8191;

    /// Whether every CPU of the other set is in this one.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        self.0.is_superset(&other.0)
    }
}

impl FromStr for CpuSet {
    type Err = LimitError;

    fn from_str(text: &str) -> Result<Self, LimitError> {
        let syntax = || LimitError::Syntax {
            text: text.to_owned(),
            expected: "a list of CPUs such as 0-3,7",
        };
        let mut cpus = BTreeSet::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = decimal(first).zip(decimal(last)).ok_or_else(syntax)?;
            let last = within("a CPU's number", last, 0, Self::LAST)?;
            if first > last {
                return Err(syntax());
            }
            cpus.extend((first..=last).filter_map(|cpu| u32::try_from(cpu).ok()));
        }
        Ok(Self(cpus))
    }
}

impl fmt::Display for CpuSet {
    /// As the kernel prints it: ranges, ascending.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut cpus = self.0.iter().copied().peekable();
        let mut separator = "";
        while let Some(first) = cpus.next() {
            let mut last = first;
            while cpus.next_if(|&next| next == last + 1).is_some() {
                last += 1;
            }
            write!(f, "{separator}{first}")?;
            if last > first {
                write!(f, "-{last}")?;
            }
            separator = ",";
        }
        Ok(())
    }
}

/// Major and minor number of a whole block device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Device {
    /// The major number.
    pub major: u32,
    /// The minor number.
    pub minor: u32,
}

impl Device {
    /// The device behind a node such as `/dev/sda1`; for a partition the disk
    /// that it is part of, since `io.max` knows whole disks only.
    ///
    /// # Errors
    ///
    /// The path is not there or is no block device.
    pub fn of_node(path: &Path) -> Result<Self, LimitError> {
        let failed = |errno| LimitError::Device {
            path: path.to_owned(),
            errno,
        };
        let stat = rustix::fs::stat(path).map_err(failed)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::BlockDevice {
            return Err(LimitError::NotBlock {
                path: path.to_owned(),
            });
        }
        let (major, minor) = (
            rustix::fs::major(stat.st_rdev),
            rustix::fs::minor(stat.st_rdev),
        );
        let sysfs = format!("/sys/dev/block/{major}:{minor}");
        if !Path::new(&sysfs).join("partition").exists() {
            return Ok(Self { major, minor });
        }
        let disk = Path::new(&sysfs).join("../dev");
        let numbers = std::fs::read_to_string(&disk).map_err(|error| {
            failed(rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO))
        })?;
        numbers.trim_end().parse()
    }
}

impl FromStr for Device {
    type Err = LimitError;

    /// `MAJOR:MINOR`.
    fn from_str(text: &str) -> Result<Self, LimitError> {
        text.split_once(':')
            .and_then(|(major, minor)| {
                Some(Self {
                    major: u32::try_from(decimal(major)?).ok()?,
                    minor: u32::try_from(decimal(minor)?).ok()?,
                })
            })
            .ok_or_else(|| LimitError::Syntax {
                text: text.to_owned(),
                expected: "a block device: its path, such as /dev/sda, or its numbers, such as 8:0",
            })
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

/// `io.max` of one device: at least one of the four rates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IoMax {
    device: Device,
    rates: [Option<NonZeroU64>; 4],
}

impl IoMax {
    const KEYS: [&'static str; 4] = ["rbps", "wbps", "riops", "wiops"];

    /// The device that is limited.
    #[must_use]
    pub const fn device(&self) -> Device {
        self.device
    }

    /// The key and value of each rate that is set, in the kernel's order.
    pub(crate) fn rates(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Self::KEYS
            .into_iter()
            .zip(self.rates)
            .filter_map(|(key, rate)| Some((key, rate?.get())))
    }
}

impl FromStr for IoMax {
    type Err = LimitError;

    /// `DEVICE:KEY=RATE[,KEY=RATE...]` with `rbps`, `wbps` (bytes a second) and
    /// `riops`, `wiops` (operations a second); the device is `MAJOR:MINOR` or a
    /// path.
    fn from_str(text: &str) -> Result<Self, LimitError> {
        let syntax = || LimitError::Syntax {
            text: text.to_owned(),
            expected: "an I/O limit such as /dev/sda:rbps=10M,wiops=200",
        };
        let (device, rates) = text.rsplit_once(':').ok_or_else(syntax)?;
        let device = if device.starts_with('/') {
            Device::of_node(Path::new(device))?
        } else {
            device.parse()?
        };
        let mut limit = Self {
            device,
            rates: [None; 4],
        };
        for rate in rates.split(',').filter(|rate| !rate.is_empty()) {
            let (key, value) = rate.split_once('=').ok_or_else(syntax)?;
            let index = Self::KEYS.iter().position(|&known| known == key);
            let slot = &mut limit.rates[index.ok_or_else(syntax)?];
            let value = value.parse::<Bytes>()?.get();
            if slot
                .replace(NonZeroU64::new(value).ok_or_else(syntax)?)
                .is_some()
            {
                return Err(syntax());
            }
        }
        if limit.rates == [None; 4] {
            return Err(LimitError::NoRate {
                major: device.major,
                minor: device.minor,
            });
        }
        Ok(limit)
    }
}

impl fmt::Display for IoMax {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.device)?;
        self.rates()
            .try_for_each(|(key, rate)| write!(f, " {key}={rate}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What the text is written as, or the message of its error.
    fn check<T: FromStr<Err = LimitError> + fmt::Display>(
        text: &str,
        expected: Result<&str, &str>,
    ) {
        let got = text.parse::<T>().map(|value| value.to_string());
        match (got, expected) {
            (Ok(got), Ok(expected)) => assert_eq!(got, expected, "{text}"),
            (Err(error), Err(expected)) => {
                let message = error.to_string();
                assert!(message.contains(expected), "{text}: {message}");
            }
            (got, expected) => panic!("{text}: got {got:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn sizes() {
        let bytes = |text: &str| text.parse::<Bytes>().map(Bytes::get);
        assert_eq!(bytes("4096"), Ok(4096));
        assert_eq!(bytes("512M"), Ok(512 << 20));
        assert_eq!(bytes("2GiB"), Ok(2 << 30));
        assert_eq!(bytes("1k"), Ok(1024));
        for text in [
            "",
            "M",
            "-1",
            "+1",
            "1.5G",
            "1X",
            "16777216T",
            "1 M",
            "0x10",
        ] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn cpu_time() {
        check::<CpuMax>("2", Ok("200000 100000"));
        check::<CpuMax>("0.5", Ok("50000 100000"));
        check::<CpuMax>("1.25", Ok("125000 100000"));
        check::<CpuMax>("0.01", Ok("1000 100000"));
        check::<CpuMax>("0.00999", Err("within 1000 to"));
        check::<CpuMax>("0", Err("quota of cpu.max in us is 0"));
        for text in [
            "",
            ".",
            "-1",
            "1.",
            "1e3",
            "nan",
            "0.123456",
            "99999999999999999999",
        ] {
            check::<CpuMax>(text, Err("is not a number of CPUs"));
        }
        assert!(CpuMax::new(1_000, 999).is_err());
        assert!(CpuMax::new(1_000, 1_000_001).is_err());
        assert!(CpuMax::new(u64::MAX, 1_000).is_err());
    }

    #[test]
    fn weights_and_counts() {
        assert!(CpuWeight::new(0).is_err());
        assert!(CpuWeight::new(10_001).is_err());
        assert_eq!(
            CpuWeight::new(10_000).map(|w| w.to_string()),
            Ok("10000".to_owned())
        );
        assert!(PidsMax::new(0).is_err());
        assert!(PidsMax::new(PidsMax::MOST + 1).is_err());
        assert_eq!(PidsMax::new(1).map(|p| p.to_string()), Ok("1".to_owned()));
    }

    #[test]
    fn cpu_lists() {
        check::<CpuSet>("0", Ok("0"));
        check::<CpuSet>("3,1,0,2,7", Ok("0-3,7"));
        check::<CpuSet>("1-1", Ok("1"));
        check::<CpuSet>("8192", Err("within 0 to 8191"));
        for text in ["", ",", "2-1", "1-", "-1", "a", "1 ,2"] {
            check::<CpuSet>(text, Err("is not a list of CPUs"));
        }
        let set = |text: &str| text.parse::<CpuSet>().expect("valid");
        assert!(set("0-3").contains(&set("1,3")));
        assert!(!set("0-3").contains(&set("3-4")));
    }

    #[test]
    fn io_rates() {
        check::<IoMax>("8:0:rbps=1M", Ok("8:0 rbps=1048576"));
        check::<IoMax>("254:16:wiops=20,rbps=5", Ok("254:16 rbps=5 wiops=20"));
        check::<IoMax>("8:0:", Err("names no rate"));
        check::<IoMax>("8:rbps=1", Err("is not a block device"));
        check::<IoMax>(
            "/nowhere:rbps=1",
            Err("cannot find the block device of /nowhere"),
        );
        check::<IoMax>("/dev/null:rbps=1", Err("/dev/null is not a block device"));
        for text in [
            "rbps=1",
            "8:0:rbps",
            "8:0:rbps=0",
            "8:0:bps=1",
            "8:0:rbps=1,rbps=2",
        ] {
            check::<IoMax>(text, Err("is not an I/O limit"));
        }
    }

    #[test]
    fn a_size_is_shown_as_short_as_is_exact() {
        for text in ["0", "1", "1K", "1025", "512M", "3G", "1T", "1025T"] {
            check::<Bytes>(text, Ok(text));
        }
        check::<Bytes>("2048K", Ok("2M"));
    }

    proptest! {
        #[test]
        fn a_cpu_list_reads_back_as_itself(cpus in prop::collection::btree_set(0..8192_u32, 1..60)) {
            let set = CpuSet(cpus);
            prop_assert_eq!(set.to_string().parse::<CpuSet>(), Ok(set));
        }

        #[test]
        fn any_text_is_a_limit_or_an_error(text: String) {
            let _bytes: Result<Bytes, LimitError> = text.parse();
            let _cpus: Result<CpuMax, LimitError> = text.parse();
            let _set: Result<CpuSet, LimitError> = text.parse();
            let _device: Result<Device, LimitError> = text.parse();
        }
    }
}

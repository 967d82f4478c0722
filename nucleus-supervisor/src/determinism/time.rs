//! Moments of the wall clock, and how far a program's clock is from the true one.

use std::fmt;
use std::str::FromStr;

/// A moment at which a program's wall clock starts.
///
/// ```
/// use nucleus_supervisor::TimeStart;
///
/// let utc: TimeStart = "2020-01-01T00:00:00Z".parse()?;
/// assert_eq!(utc, "2020-01-01T01:00:00+01:00".parse()?);
/// assert_eq!(utc, "@1577836800".parse()?);
/// # Ok::<(), nucleus_supervisor::TimeError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeStart(Moment);

/// Seconds and nanoseconds since 1970-01-01T00:00:00Z, or between two moments;
/// the nanoseconds count forwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Moment {
    pub(super) seconds: i64,
    /// Below 10^9.
    pub(super) nanoseconds: i64,
}

/// Nanoseconds of a second.
pub(super) const SECOND: i64 = 1_000_000_000;

/// 2262-01-01T00:00:00Z: the kernel's clocks end in April of that year.
const END: i64 = 9_214_646_400;

/// A text that is no moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TimeError {
    /// It is written in another way.
    #[error(
        "{0:?} is no time; one is written 2020-01-31T12:00:00Z, 2020-01-31T12:00:00+02:00, or \
         @1577836800 in seconds since 1970"
    )]
    Form(String),
    /// There is no such day or hour.
    #[error("{0:?} is no time: there is no such day, or no such time of a day")]
    Impossible(String),
    /// It is none that the kernel's clocks can show.
    #[error("{0:?} is out of range: from 1970 to 2261")]
    Range(String),
}

impl Moment {
    /// Of any number of nanoseconds.
    pub(super) const fn new(seconds: i64, nanoseconds: i64) -> Self {
        Self {
            seconds: seconds.saturating_add(nanoseconds.div_euclid(SECOND)),
            nanoseconds: nanoseconds.rem_euclid(SECOND),
        }
    }

    pub(super) const fn plus(self, other: Self) -> Self {
        Self::new(
            self.seconds.saturating_add(other.seconds),
            self.nanoseconds + other.nanoseconds,
        )
    }

    pub(super) const fn minus(self, other: Self) -> Self {
        Self::new(
            self.seconds.saturating_sub(other.seconds),
            self.nanoseconds - other.nanoseconds,
        )
    }

    /// Rounded up to a microsecond, so that clocks that count those and clocks
    /// that count nanoseconds agree when both are shifted.
    pub(super) const fn up_to_microsecond(self) -> Self {
        let up = Self::new(self.seconds, self.nanoseconds + 999);
        Self {
            seconds: up.seconds,
            nanoseconds: up.nanoseconds - up.nanoseconds % 1000,
        }
    }
}

impl TimeStart {
    pub(super) const fn moment(self) -> Moment {
        self.0
    }
}

impl fmt::Display for TimeStart {
    /// As seconds since 1970, with an @.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{}", self.0.seconds)?;
        if self.0.nanoseconds != 0 {
            let fraction = format!("{:09}", self.0.nanoseconds);
            write!(f, ".{}", fraction.trim_end_matches('0'))?;
        }
        Ok(())
    }
}

impl FromStr for TimeStart {
    type Err = TimeError;

    /// RFC 3339 with a time zone, or `@SECONDS[.FRACTION]`.
    fn from_str(text: &str) -> Result<Self, TimeError> {
        let form = || TimeError::Form(text.to_owned());
        let moment = match text.strip_prefix('@') {
            Some(seconds) => {
                let (seconds, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
                let whole = digits(seconds, 1..=18).ok_or_else(form)?;
                Moment::new(whole, nanoseconds(fraction).ok_or_else(form)?)
            }
            None => {
                let read = rfc3339(text).ok_or_else(form)?;
                read.moment()
                    .ok_or_else(|| TimeError::Impossible(text.to_owned()))?
            }
        };
        if (0..END).contains(&moment.seconds) {
            Ok(Self(moment))
        } else {
            Err(TimeError::Range(text.to_owned()))
        }
    }
}

/// The fields of a time as they are written.
struct Fields {
    date: (i64, i64, i64),
    time: (i64, i64, i64),
    nanoseconds: i64,
    /// Minutes before UTC.
    zone: i64,
}

impl Fields {
    /// `None` when there is no such moment. A leap second is the one after it.
    fn moment(&self) -> Option<Moment> {
        let (year, month, day) = self.date;
        let (hour, minute, second) = self.time;
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let last = match month {
            2 => 28 + i64::from(leap),
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => return None,
        };
        if !(1..=last).contains(&day) || hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
        Some(Moment::new(seconds - self.zone * 60, self.nanoseconds))
    }
}

/// Days from 1970-01-01 in the Gregorian calendar. Years begin in March here,
/// so that the leap day is their last.
const fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month > 2 { year } else { year - 1 };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year / 4 - year / 100 + year / 400 + of_year - 719_468
}

/// `2020-01-31T12:00:00.5+02:00`; lower-case letters and a blank in place of
/// the T are allowed by RFC 3339, too.
fn rfc3339(text: &str) -> Option<Fields> {
    let (date, rest) = text.split_at_checked(10)?;
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let at = rest.find(['Z', 'z', '+', '-'])?;
    let (time, zone) = rest.split_at_checked(at)?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut parts = date.split('-');
    let date = (
        digits(parts.next()?, 4..=4)?,
        digits(parts.next()?, 2..=2)?,
        digits(parts.next()?, 2..=2)?,
    );
    let mut parts = time.split(':');
    let time = (
        digits(parts.next()?, 2..=2)?,
        digits(parts.next()?, 2..=2)?,
        digits(parts.next()?, 2..=2)?,
    );
    parts.next().is_none().then_some(())?;
    Some(Fields {
        date,
        time,
        nanoseconds: nanoseconds(fraction)?,
        zone: minutes_before_utc(zone)?,
    })
}

fn minutes_before_utc(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let (sign, rest) = zone.split_at_checked(1)?;
    let (hours, minutes) = rest.split_once(':')?;
    let (hours, minutes) = (digits(hours, 2..=2)?, digits(minutes, 2..=2)?);
    let zone = hours * 60 + minutes;
    let possible = hours < 24 && minutes < 60;
    possible.then_some(if sign == "-" { -zone } else { zone })
}

/// A fraction of a second, of at most nine digits.
fn nanoseconds(fraction: &str) -> Option<i64> {
    let value = digits(fraction, 1..=9)?;
    let missing = 9 - u32::try_from(fraction.len()).ok()?;
    Some(value * 10_i64.pow(missing))
}

/// Nothing but so many digits.
fn digits(text: &str, length: std::ops::RangeInclusive<usize>) -> Option<i64> {
    let only_digits = text.bytes().all(|byte| byte.is_ascii_digit());
    (length.contains(&text.len()) && only_digits).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&str, TimeError>) {
        let time = text.parse::<TimeStart>().map(|time| time.to_string());
        assert_eq!(time, expected.map(str::to_owned), "{text}");
    }

    #[test]
    fn moments_are_read_as_date_prints_them() {
        check("1970-01-01T00:00:00Z", Ok("@0"));
        check("2000-02-29T23:59:59Z", Ok("@951868799"));
        check("2020-01-01T00:00:00.25Z", Ok("@1577836800.25"));
        check("2020-01-01 01:30:00+01:30", Ok("@1577836800"));
        check("2019-12-31t16:00:00-08:00", Ok("@1577836800"));
        check("2261-12-31T23:59:59Z", Ok("@9214646399"));
        check("2016-12-31T23:59:60Z", Ok("@1483228800"));
        check("@1577836800", Ok("@1577836800"));
        check("@1.000000001", Ok("@1.000000001"));
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in [
            "",
            "@",
            "@x",
            "@-1",
            "@1.",
            "1577836800",
            "2020-01-01",
            "2020-01-01T00:00:00",
            "2020-1-1T00:00:00Z",
            "2020-01-01T00:00Z",
            "2020-01-01T00:00:00:00Z",
            "2020-01-01T00:00:00.Z",
            "2020-01-01T00:00:00+0100",
            "2020-01-01T00:00:00+25:00",
            "2020-01-01T00:00:00ZZ",
            "2020-01-0\u{e9}T00:00:00Z",
        ] {
            check(text, Err(TimeError::Form(text.to_owned())));
        }
        for text in [
            "2021-02-29T00:00:00Z",
            "2020-13-01T00:00:00Z",
            "2020-01-01T24:00:00Z",
        ] {
            check(text, Err(TimeError::Impossible(text.to_owned())));
        }
        for text in [
            "1969-12-31T23:59:59Z",
            "2262-01-01T00:00:00Z",
            "@99999999999",
        ] {
            check(text, Err(TimeError::Range(text.to_owned())));
        }
    }

    #[test]
    fn moments_add_up() {
        let a = Moment::new(5, 999_999_999);
        let b = Moment::new(-7, 2_500);
        assert_eq!(a.plus(b), Moment::new(-1, 2_499));
        assert_eq!(a.plus(b).minus(b), a);
        assert_eq!(b.up_to_microsecond(), Moment::new(-7, 3_000));
        assert_eq!(a.up_to_microsecond(), Moment::new(6, 0));
        assert_eq!(Moment::new(0, -1), Moment::new(-1, SECOND - 1));
    }
}

//! Values that several options have.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

/// What stands before the first such byte, and what stands behind it.
pub(crate) fn split_at_byte(text: &OsStr, separator: u8) -> (&OsStr, Option<&OsStr>) {
    let bytes = text.as_bytes();
    match bytes.iter().position(|&byte| byte == separator) {
        Some(at) => {
            let (before, behind) = bytes.split_at(at);
            let behind = behind.get(1..).unwrap_or_default();
            (OsStr::from_bytes(before), Some(OsStr::from_bytes(behind)))
        }
        None => (text, None),
    }
}

/// A number of bytes, or of K, M or G.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.as_bytes().last() {
        Some(b'K' | b'k') => (&text[..text.len() - 1], 1 << 10),
        Some(b'M' | b'm') => (&text[..text.len() - 1], 1 << 20),
        Some(b'G' | b'g') => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    let number: Option<u64> = digits.parse().ok();
    number
        .and_then(|number| number.checked_mul(unit))
        .filter(|&bytes| bytes > 0)
        .ok_or_else(|| format!("{text:?} is no size; write a number, or one with K, M or G"))
}

/// The longest time, ten years: a clock can be set that far ahead.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// A time: seconds, or numbers with ms, s, m, h or d, such as 1h30m or 0.5s.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    sum_of_times(text)
        .filter(|time| *time <= LONGEST)
        .ok_or_else(|| {
            format!(
                "{text:?} is no time; write seconds, or numbers with ms, s, m, h or d as in 1h30m"
            )
        })
}

fn sum_of_times(text: &str) -> Option<Duration> {
    let is_of_number = |c: char| c.is_ascii_digit() || c == '.';
    let mut sum = Duration::ZERO;
    let mut rest = text;
    loop {
        let (number, behind) = rest.split_at(rest.find(|c| !is_of_number(c)).unwrap_or(rest.len()));
        let (unit, behind) = behind.split_at(behind.find(is_of_number).unwrap_or(behind.len()));
        let seconds = match unit {
            "" if number.len() == text.len() => 1.0,
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86400.0,
            _ => return None,
        };
        let number: f64 = number.parse().ok()?;
        sum = sum.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        if behind.is_empty() {
            return Some(sum);
        }
        rest = behind;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units_and_an_end() {
        let check = |text, milliseconds| {
            assert_eq!(
                duration(text),
                Ok(Duration::from_millis(milliseconds)),
                "{text}"
            );
        };
        check("30", 30_000);
        check("0", 0);
        check("0.5", 500);
        check("30s", 30_000);
        check("5m", 300_000);
        check("1h30m", 5_400_000);
        check("1.5h", 5_400_000);
        check("2d", 172_800_000);
        check("250ms", 250);
        for wrong in [
            "",
            "s",
            "-1",
            "1x",
            "1h30",
            "30 s",
            "1..5s",
            ".",
            "inf",
            "1e3",
            "9999d",
            "99999999999999999999s",
        ] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_have_units_and_an_end() {
        assert_eq!(size("17"), Ok(17));
        assert_eq!(size("2K"), Ok(2048));
        assert_eq!(size("1g"), Ok(1 << 30));
        for wrong in [
            "",
            "K",
            "0",
            "-1",
            "1T",
            "99999999999999999999",
            "20000000000G",
        ] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}

//! Values that several options have.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

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

#[cfg(test)]
mod tests {
    use super::*;

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

//! `/proc/PID/stat` (proc_pid_stat(5)).

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;

/// The numbers of fields, as proc_pid_stat(5) counts them.
pub(crate) const FLAGS: usize = 9;
const ARG_START: usize = 48;
const ARG_END: usize = 49;

/// A field behind the name, by its number. Allocates nothing.
///
/// The name stands in parentheses and may hold any byte, so the last
/// parenthesis counts.
pub(crate) fn field(stat: &[u8], number: usize) -> Option<u64> {
    const FIRST_BEHIND_THE_NAME: usize = 3;
    let name_end = stat.iter().rposition(|&byte| byte == b')')?;
    let fields = stat.get(name_end + 1..)?;
    let field = fields
        .split(|byte| byte.is_ascii_whitespace())
        .filter(|field| !field.is_empty())
        .nth(number.checked_sub(FIRST_BEHIND_THE_NAME)?)?;
    std::str::from_utf8(field).ok()?.parse().ok()
}

/// Where the arguments of this process are in its memory.
pub(crate) fn command_line() -> io::Result<Range<usize>> {
    // 52 numbers and a name; the kernel hands them out at once.
    let mut stat = [0; 2048];
    let length = File::open("/proc/self/stat")?.read(&mut stat)?;
    let stat = stat.get(..length).unwrap_or_default();
    let address = |number| usize::try_from(field(stat, number)?).ok();
    match (address(ARG_START), address(ARG_END)) {
        (Some(start), Some(end)) if start < end => Ok(start..end),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_behind_any_name() {
        let check = |stat: &str, expected| assert_eq!(field(stat.as_bytes(), FLAGS), expected);
        check("12 (ls) Z 1 12 12 0 -1 4194316 0 0", Some(4_194_316));
        check("12 (a) b) (c) R 1 12 12 0 -1 64 0 0", Some(64));
        check("12 (ls) Z 1", None);
        check("", None);
    }

    #[test]
    fn the_command_line_is_as_long_as_its_words() {
        let words: usize = std::env::args_os().map(|word| word.len() + 1).sum();
        assert_eq!(command_line().unwrap().len(), words);
    }
}

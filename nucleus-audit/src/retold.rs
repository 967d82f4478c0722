//! Denied calls in the words of programs that retell the kernel's records.

use std::time::SystemTime;

use nucleus_seccomp::{Arch, Syscall};

use crate::record::{MAX_LINE, Stamp, find};
use crate::{Call, RecordError, SeccompRecord};

/// Reads which call a line of a log is about: a record as the kernel and
/// auditd print it ([`SeccompRecord::from_line`]), as systemd's journal
/// does (`audit[PID]: SECCOMP auid=…`), or as `ausearch --interpret` does.
/// The last two do not hold the whole record.
///
/// # Errors
///
/// [`RecordError::NotSeccomp`] for lines about something else.
pub fn call_in_line(line: &[u8]) -> Result<Call, RecordError> {
    match SeccompRecord::from_line(line) {
        Ok(record) => Ok(record.call()),
        Err(RecordError::NotSeccomp) => match after_journal_mark(line) {
            // A program chooses parts of an interpreted record freely.
            Some(rest) if find(line, b"type=SECCOMP").is_none() => {
                let stamp = Stamp {
                    time: SystemTime::UNIX_EPOCH,
                    serial: 0,
                    rest,
                };
                SeccompRecord::of(stamp).map(|record| record.call())
            }
            _ => interpreted(line),
        },
        Err(error) => Err(error),
    }
}

/// What follows `audit[PID]: SECCOMP`, where that is the sender's name and not
/// part of what another sender says.
fn after_journal_mark(line: &[u8]) -> Option<&[u8]> {
    let (before, rest) = line.split_at(find(line, b"audit[")?);
    if line.len() > MAX_LINE || find(before, b": ").is_some() {
        return None;
    }
    let rest = rest.strip_prefix(b"audit[")?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    rest.get(digits..)?.strip_prefix(b"]: SECCOMP ")
}

/// A record with names for numbers (`auparse/interpret.c` of the audit
/// userspace). There comm and exe stand unquoted and may hold anything, so it
/// is read from its end, where no program has a say.
fn interpreted(line: &[u8]) -> Result<Call, RecordError> {
    if line.len() > MAX_LINE {
        return Err(RecordError::TooLong);
    }
    let mark = b"type=SECCOMP msg=audit(";
    let start = find(line, mark).ok_or(RecordError::NotSeccomp)?;
    let text = line.get(start + mark.len()..).unwrap_or_default();
    let text = text
        .get(find(text, b") : ").ok_or(RecordError::NotSeccomp)?..)
        .unwrap_or_default();
    let mut rest = text;
    let mut field = |name: &'static str| {
        let mark = format!(" {name}=");
        let at = rest
            .windows(mark.len())
            .rposition(|window| window == mark.as_bytes())
            .ok_or(RecordError::Missing(name))?;
        let value = rest.get(at + mark.len()..).unwrap_or_default();
        rest = rest.get(..at).unwrap_or_default();
        str::from_utf8(value.trim_ascii()).map_err(|_not_text| RecordError::Invalid(name))
    };
    // What auditd has added is behind it, and has no field of these names.
    field("code")?;
    let ip = field("ip")?;
    field("compat")?;
    let syscall = field("syscall")?;
    let arch = field("arch")?;

    let instruction_pointer = ip
        .strip_prefix("0x")
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .ok_or(RecordError::Invalid("ip"))?;
    let arch: Arch = arch
        .parse()
        .map_err(|_unknown| RecordError::Invalid("arch"))?;
    let nr = match syscall.strip_prefix("unknown-syscall(") {
        Some(number) => number.strip_suffix(')').and_then(|text| text.parse().ok()),
        None => Syscall::by_name(arch, syscall).map(Syscall::number),
    };
    Ok(Call {
        arch: arch.audit(),
        nr: nr.ok_or(RecordError::Invalid("syscall"))?,
        instruction_pointer,
        args: None,
    })
}

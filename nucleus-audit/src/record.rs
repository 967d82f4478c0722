//! The kernel's record of a call that a filter logged or denied.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use nucleus_seccomp::Action;

use crate::{Call, Event};

/// No record of the kernel is longer (`AUDIT_MESSAGE_TEXT_MAX`, 8560), even
/// with what log daemons put around it.
pub(crate) const MAX_LINE: usize = 16 * 1024;
/// How the kernel prints an audit user or session that was never set.
const UNSET: u32 = u32::MAX;

/// An `AUDIT_SECCOMP` record (`audit_seccomp`, `kernel/auditsc.c`).
///
/// ```
/// let line = br#"audit: type=1326 audit(1795297513.702:104170): auid=0 uid=0 gid=0 ses=3 pid=11869 comm="ls" exe="/usr/bin/ls" sig=0 arch=c000003e syscall=110 compat=0 ip=0x442019 code=0x50000"#;
/// let record = nucleus_audit::SeccompRecord::from_line(line)?;
/// assert_eq!(record.pid, 11869);
/// assert_eq!(record.call().syscall().and_then(|call| call.name()), Some("getppid"));
/// # Ok::<(), nucleus_audit::RecordError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeccompRecord {
    /// When the call was made, to the millisecond.
    pub time: SystemTime,
    /// The event's number; other records of the same event share it.
    pub serial: u32,
    /// The audit (login) user, `None` where none was set.
    pub auid: Option<u32>,
    /// The real user.
    pub uid: u32,
    /// The real group.
    pub gid: u32,
    /// The audit session, `None` where none was set.
    pub session: Option<u32>,
    /// The process (thread group) in the initial PID namespace.
    pub pid: u32,
    /// The calling thread's name.
    pub comm: OsString,
    /// The program's file; `None` for a kernel thread or a file that is gone.
    pub exe: Option<PathBuf>,
    /// The signal that the call led to, 0 for none.
    pub signal: i32,
    /// The `AUDIT_ARCH_*` value.
    pub arch: u32,
    /// The number in the table of `arch`; x32 calls carry bit 30.
    pub syscall: u32,
    /// Whether the call came by a 32-bit entry.
    pub compat: bool,
    /// Where the program goes on.
    pub instruction_pointer: u64,
    /// The filter's answer as the kernel logs it: without the data, so an
    /// errno shows as 0.
    pub action: Action,
}

/// Why bytes are not a seccomp record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The line holds something else, such as a record of another type.
    #[error("not a seccomp record")]
    NotSeccomp,
    /// The record ends before this field, or has another in its place.
    #[error("the record has no field {0}= where it belongs; it may be cut short")]
    Missing(&'static str),
    /// The field's value is none that the kernel writes.
    #[error("the record's field {0}= has a value that the kernel does not write")]
    Invalid(&'static str),
    /// Longer than any record.
    #[error("the line is longer than {MAX_LINE} bytes, which no record is")]
    TooLong,
}

impl SeccompRecord {
    /// Reads a line of the kernel's log, of auditd's log or of `ausearch`,
    /// with whatever a log daemon has put before it.
    ///
    /// # Errors
    ///
    /// [`RecordError::NotSeccomp`] for lines of other types.
    pub fn from_line(line: &[u8]) -> Result<Self, RecordError> {
        if line.len() > MAX_LINE {
            return Err(RecordError::TooLong);
        }
        let after_type = ["type=1326 ", "type=SECCOMP "]
            .iter()
            .filter_map(|mark| Some((find(line, mark.as_bytes())?, mark.len())))
            .min()
            .and_then(|(start, length)| line.get(start + length..))
            .ok_or(RecordError::NotSeccomp)?;
        let message = after_type.strip_prefix(b"msg=").unwrap_or(after_type);
        Self::from_message(message)
    }

    /// Reads the text of a netlink message of type 1326: `audit(TIME:SERIAL): …`.
    ///
    /// # Errors
    ///
    /// Where the text is not that of a seccomp record.
    pub fn from_message(message: &[u8]) -> Result<Self, RecordError> {
        if message.len() > MAX_LINE {
            return Err(RecordError::TooLong);
        }
        Self::of(Stamp::read(message).ok_or(RecordError::NotSeccomp)?)
    }

    /// Reads what follows the stamp.
    pub(crate) fn of(stamp: Stamp<'_>) -> Result<Self, RecordError> {
        let mut fields = Fields(stamp.rest);
        let auid = fields.number("auid")?;
        let uid = fields.number("uid")?;
        let gid = fields.number("gid")?;
        let session = fields.number("ses")?;
        fields.skip_label();
        let pid = fields.number("pid")?;
        let comm = fields.text("comm")?.unwrap_or_default();
        let exe = fields.text("exe")?;
        let signal = fields.number("sig")?;
        let arch = fields.hex("arch")?;
        let syscall = fields.signed("syscall")?;
        let compat = fields.number("compat")? != 0;
        let instruction_pointer = fields.prefixed_hex("ip")?;
        let code = fields.prefixed_hex("code")?;
        let action = u32::try_from(code).map_err(|_wide| RecordError::Invalid("code"))?;
        Ok(Self {
            time: stamp.time,
            serial: stamp.serial,
            auid: (auid != UNSET).then_some(auid),
            uid,
            gid,
            session: (session != UNSET).then_some(session),
            pid,
            comm: OsString::from_vec(comm),
            exe: exe.map(|exe| PathBuf::from(OsString::from_vec(exe))),
            signal: i32::try_from(signal).map_err(|_wide| RecordError::Invalid("sig"))?,
            arch,
            syscall,
            compat,
            instruction_pointer,
            action: Action::from_ret(action),
        })
    }

    /// The call.
    #[must_use]
    pub const fn call(&self) -> Call {
        Call {
            arch: self.arch,
            nr: self.syscall,
            instruction_pointer: self.instruction_pointer,
            args: None,
        }
    }
}

impl From<SeccompRecord> for Event {
    fn from(record: SeccompRecord) -> Self {
        Self {
            time: Some(record.time),
            pid: record.pid,
            tid: None,
            session: record.session,
            call: record.call(),
            action: record.action,
            comm: Some(record.comm),
            exe: record.exe,
        }
    }
}

/// `audit(SECONDS.MILLISECONDS:SERIAL):` of any record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp<'a> {
    pub(crate) time: SystemTime,
    pub(crate) serial: u32,
    pub(crate) rest: &'a [u8],
}

impl<'a> Stamp<'a> {
    pub(crate) fn read(message: &'a [u8]) -> Option<Self> {
        let inside = message.strip_prefix(b"audit(")?;
        let (seconds, inside) = split_number::<u64>(inside)?;
        let (milliseconds, inside) = split_number::<u32>(inside.strip_prefix(b".")?)?;
        let (serial, inside) = split_number(inside.strip_prefix(b":")?)?;
        let rest = inside.strip_prefix(b"):")?;
        let since =
            Duration::from_secs(seconds).checked_add(Duration::from_millis(milliseconds.into()))?;
        Some(Self {
            time: SystemTime::UNIX_EPOCH.checked_add(since)?,
            serial,
            rest,
        })
    }
}

/// The rest of a record. The kernel writes the fields in a fixed order, and
/// every value that a program chooses without spaces or quotes; read in that
/// order, no value can pose as a field.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// The value of the next field, which must have this name.
    fn next(&mut self, name: &'static str) -> Result<&'a [u8], RecordError> {
        let rest = self.0.trim_ascii_start();
        let value = rest
            .strip_prefix(name.as_bytes())
            .and_then(|rest| rest.strip_prefix(b"="))
            .ok_or(RecordError::Missing(name))?;
        // auditd ends the kernel's part with a group separator, which some
        // tools drop, and appends fields that begin with ARCH=.
        let end = value
            .iter()
            .position(|&byte| byte.is_ascii_whitespace() || byte == 0x1d)
            .unwrap_or(value.len());
        let end = match name {
            "code" => find(value, b"ARCH=").map_or(end, |tail| end.min(tail)),
            _ => end,
        };
        let (value, rest) = value.split_at(end);
        self.0 = rest;
        Ok(value)
    }

    /// Passes over `subj=`, a security label that may hold spaces: the field
    /// after it is the last `pid=`, as nothing behind that may hold a space.
    fn skip_label(&mut self) {
        let rest = self.0.trim_ascii_start();
        if rest.starts_with(b"subj=") {
            let mark = b" pid=";
            let pid = rest.windows(mark.len()).rposition(|window| window == mark);
            self.0 = pid.and_then(|pid| rest.get(pid..)).unwrap_or_default();
        }
    }

    fn number(&mut self, name: &'static str) -> Result<u32, RecordError> {
        parse(self.next(name)?, 10).ok_or(RecordError::Invalid(name))
    }

    fn hex(&mut self, name: &'static str) -> Result<u32, RecordError> {
        parse(self.next(name)?, 16).ok_or(RecordError::Invalid(name))
    }

    fn prefixed_hex(&mut self, name: &'static str) -> Result<u64, RecordError> {
        let value = self.next(name)?;
        let digits = value.strip_prefix(b"0x");
        digits
            .and_then(digits_only)
            .and_then(|digits| u64::from_str_radix(digits, 16).ok())
            .ok_or(RecordError::Invalid(name))
    }

    /// A number that the kernel prints as signed, such as call -1.
    fn signed(&mut self, name: &'static str) -> Result<u32, RecordError> {
        let value = self.next(name)?;
        let number = match value.strip_prefix(b"-") {
            Some(digits) => parse(digits, 10).map(u32::wrapping_neg),
            None => parse(value, 10),
        };
        number.ok_or(RecordError::Invalid(name))
    }

    /// A string: in quotes, or in hex where it has spaces, quotes or control
    /// bytes, or `(null)`.
    fn text(&mut self, name: &'static str) -> Result<Option<Vec<u8>>, RecordError> {
        let value = self.next(name)?;
        if value == b"(null)" {
            return Ok(None);
        }
        let text = match value.strip_prefix(b"\"") {
            Some(quoted) => quoted.strip_suffix(b"\"").map(<[u8]>::to_vec),
            None => unhex(value),
        };
        text.map(Some).ok_or(RecordError::Invalid(name))
    }
}

pub(crate) fn find(bytes: &[u8], mark: &[u8]) -> Option<usize> {
    bytes.windows(mark.len()).position(|window| window == mark)
}

/// Digits without the sign that `parse` would take.
fn digits_only(bytes: &[u8]) -> Option<&str> {
    let digits = str::from_utf8(bytes).ok()?;
    let all = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    all.then_some(digits)
}

fn parse(bytes: &[u8], radix: u32) -> Option<u32> {
    u32::from_str_radix(digits_only(bytes)?, radix).ok()
}

fn split_number<T: std::str::FromStr>(bytes: &[u8]) -> Option<(T, &[u8])> {
    let end = bytes
        .iter()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(bytes.len());
    let (digits, rest) = bytes.split_at(end);
    Some((digits_only(digits)?.parse().ok()?, rest))
}

fn unhex(bytes: &[u8]) -> Option<Vec<u8>> {
    let (pairs, odd) = bytes.as_chunks::<2>();
    if !odd.is_empty() {
        return None;
    }
    pairs
        .iter()
        .map(|&[high, low]| {
            let nibble = |digit: u8| char::from(digit).to_digit(16);
            u8::try_from(nibble(high)? << 4 | nibble(low)?).ok()
        })
        .collect()
}

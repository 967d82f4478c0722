//! The kernel's log: rate-limited, shared and overwritten, so the verdict
//! matters most here.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::time::Duration;

use nucleus_seccomp::Completeness;
use rustix::fs::OFlags;

use super::{Reader, Reading};
use crate::{Error, SeccompRecord};

const PATH: &str = "/dev/kmsg";
/// Major and minor number of the device (`Documentation/admin-guide/devices.txt`).
const DEVICE: (u32, u32) = (1, 11);
/// A read gives one record; shorter buffers than this may be refused
/// (`PRINTKRB_RECORD_MAX`, `kernel/printk/internal.h`).
const RECORD: usize = 8192;

#[derive(Debug)]
pub(super) struct Kmsg {
    device: File,
    buffer: Vec<u8>,
    next: Option<u64>,
    /// Records that the ring dropped before they were read.
    skipped: u64,
    overran: bool,
    /// Messages that the rate limit swallowed, of all of the kernel's.
    suppressed: u64,
    /// The audit subsystem itself said that it lost records.
    dropped: bool,
    unreadable: u64,
}

impl Kmsg {
    /// Starts behind everything that is in the ring already.
    pub(super) fn open() -> Result<Self, Error> {
        let failed = |source| Error::OpenKmsg { source };
        let flags = OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut device = File::options()
            .read(true)
            .custom_flags(flags.bits().cast_signed())
            .open(PATH)
            .map_err(failed)?;
        let metadata = device.metadata().map_err(failed)?;
        let number = metadata.rdev();
        let number = (rustix::fs::major(number), rustix::fs::minor(number));
        if !metadata.file_type().is_char_device() || number != DEVICE {
            return Err(Error::NotKmsg);
        }
        device.seek(SeekFrom::End(0)).map_err(failed)?;
        Ok(Self {
            device,
            buffer: vec![0; RECORD],
            next: None,
            skipped: 0,
            overran: false,
            suppressed: 0,
            dropped: false,
            unreadable: 0,
        })
    }

    fn record(&mut self, length: usize) -> Reading {
        let Some(entry) = Entry::read(self.buffer.get(..length).unwrap_or_default()) else {
            self.unreadable += 1;
            return Reading::Other;
        };
        let expected = self.next.unwrap_or(entry.sequence);
        self.skipped += entry.sequence.saturating_sub(expected);
        self.next = Some(entry.sequence + 1);
        if !entry.by_kernel {
            return Reading::Other;
        }
        let text = entry.text.as_slice();
        if text.starts_with(b"audit: type=1326 ") {
            return match SeccompRecord::from_line(text) {
                Ok(record) => Reading::Record(record),
                Err(_unreadable) => {
                    self.unreadable += 1;
                    Reading::Other
                }
            };
        }
        if let Some(suppressed) = suppressed(text) {
            self.suppressed += suppressed;
        }
        let complaint: [&[u8]; 3] = [
            b"audit: audit_lost=",
            b"audit: backlog limit exceeded",
            b"audit: rate limit exceeded",
        ];
        self.dropped |= complaint.iter().any(|mark| text.starts_with(mark));
        Reading::Other
    }
}

impl Reader for Kmsg {
    fn name(&self) -> &'static str {
        "kmsg"
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }

    fn read(&mut self) -> Result<Reading, Error> {
        match self.device.read(&mut self.buffer) {
            Ok(length) => Ok(self.record(length)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Reading::Empty),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Reading::Other),
            // The record to read next was overwritten; the next read skips.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.overran = true;
                Ok(Reading::Other)
            }
            Err(source) => Err(Error::ReadSource {
                name: "kmsg",
                source,
            }),
        }
    }

    /// A marker that the rate limit swallows is followed by others until the
    /// limit's 5 s are over: then the kernel says how many it suppressed.
    fn patience(&self, sent: u32) -> Duration {
        Duration::from_millis(if sent <= 1 { 250 } else { 1500 })
    }

    fn begin(&mut self) {
        self.skipped = 0;
        self.overran = false;
        self.suppressed = 0;
        self.dropped = false;
        self.unreadable = 0;
    }

    fn awaits(&self) -> bool {
        false
    }

    fn losses(&self, verdict: &mut Completeness) {
        if self.suppressed > 0 {
            verdict.lose(
                Some(self.suppressed),
                format!(
                    "the kernel's rate limit suppressed {} messages, of any kind",
                    self.suppressed
                ),
            );
        }
        if self.skipped > 0 {
            verdict.lose(
                Some(self.skipped),
                format!(
                    "the kernel's log overwrote {} messages before they were read",
                    self.skipped
                ),
            );
        } else if self.overran {
            verdict.lose(None, "the kernel's log was overwritten before it was read");
        }
        if self.dropped {
            verdict.lose(None, "the kernel said that it lost audit records");
        }
        if self.unreadable > 0 {
            verdict.lose(
                Some(self.unreadable),
                format!("{} messages could not be read", self.unreadable),
            );
        }
    }
}

/// One record of `/dev/kmsg` (`Documentation/ABI/testing/dev-kmsg`):
/// `PRIORITY,SEQUENCE,TIME,FLAGS[,…];TEXT`, then a line for each further field.
struct Entry {
    sequence: u64,
    /// Whether its facility is the kernel's own: processes may write others.
    by_kernel: bool,
    text: Vec<u8>,
}

impl Entry {
    fn read(bytes: &[u8]) -> Option<Self> {
        let semicolon = bytes.iter().position(|&byte| byte == b';')?;
        let (prefix, text) = bytes.split_at(semicolon);
        let text = text.get(1..)?.split(|&byte| byte == b'\n').next()?;
        let mut fields = str::from_utf8(prefix).ok()?.split(',');
        let priority: u32 = fields.next()?.parse().ok()?;
        Some(Self {
            sequence: fields.next()?.parse().ok()?,
            by_kernel: priority >> 3 == 0,
            text: unescape(text),
        })
    }
}

/// Undoes `\xHH`, which the device writes for control bytes and backslashes.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = rest
            .strip_prefix(b"\\x")
            .and_then(|digits| str::from_utf8(digits.get(..2)?).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        (plain, rest) = match escaped {
            Some(byte) => {
                plain.push(byte);
                (plain, rest.get(4..).unwrap_or_default())
            }
            None => {
                plain.push(byte);
                (plain, after)
            }
        };
    }
    plain
}

/// The number in `FUNCTION: N callbacks suppressed`. Whichever function comes
/// next reports for all that share the limit, so the name tells nothing.
fn suppressed(text: &[u8]) -> Option<u64> {
    let text = str::from_utf8(text).ok()?;
    let count = text.strip_suffix(" callbacks suppressed")?;
    count.rsplit(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_taken_apart() {
        let entry =
            Entry::read(b"5,445,1456332332,-;audit: a\\x5cb\\x22c\n SUBSYSTEM=x\n").unwrap();
        assert_eq!(entry.sequence, 445);
        assert!(entry.by_kernel);
        assert_eq!(entry.text, b"audit: a\\b\"c");
    }

    #[test]
    fn what_a_process_wrote_is_told_apart() {
        let entry = Entry::read(b"12,445,1456332332,-;audit: type=1326 ").unwrap();
        assert!(!entry.by_kernel);
        assert!(Entry::read(b"no prefix").is_none());
        assert!(Entry::read(b"5,x,1,-;text").is_none());
    }

    #[test]
    fn the_suppressed_are_counted_whoever_reports_them() {
        let count = |text: &str| suppressed(text.as_bytes());
        assert_eq!(
            count("kauditd_printk_skb: 1990 callbacks suppressed"),
            Some(1990)
        );
        assert_eq!(count("other_function: 3 callbacks suppressed"), Some(3));
        assert_eq!(count("callbacks suppressed"), None);
    }
}

//! What `/proc/PID/status` says about a process.

use std::fs;

/// The fields that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Status {
    pub(crate) process: Option<u32>,
    pub(crate) parent: Option<u32>,
    pub(crate) tracer: Option<u32>,
    pub(crate) real_uid: Option<u32>,
    pub(crate) threads: Option<u32>,
    pub(crate) caught: Option<u64>,
    pub(crate) ignored: Option<u64>,
    /// `Seccomp_filters` (5.9).
    pub(crate) filters: Option<u32>,
    /// It has ended, and nobody has waited for it yet.
    pub(crate) is_dead: bool,
}

impl Status {
    /// Takes the fields out of the file's bytes. `Name:` comes first and has
    /// its newlines escaped, so no value can pose as a field.
    fn parse(bytes: &[u8]) -> Self {
        let mut status = Self::default();
        for line in bytes.split(|&byte| byte == b'\n') {
            let Some((key, value)) = str::from_utf8(line)
                .ok()
                .and_then(|line| line.split_once(':'))
            else {
                continue;
            };
            let first = value.split_ascii_whitespace().next().unwrap_or_default();
            match key {
                "State" => status.is_dead = matches!(first, "Z" | "X"),
                "Tgid" => status.process = first.parse().ok(),
                "PPid" => status.parent = first.parse().ok(),
                "TracerPid" => status.tracer = first.parse().ok(),
                "Uid" => status.real_uid = first.parse().ok(),
                "Threads" => status.threads = first.parse().ok(),
                "SigIgn" => status.ignored = u64::from_str_radix(first, 16).ok(),
                "SigCgt" => status.caught = u64::from_str_radix(first, 16).ok(),
                "Seccomp_filters" => status.filters = first.parse().ok(),
                _ => {}
            }
        }
        status
    }

    /// Reads that of a thread; `None` when it is gone or `/proc` is not there.
    pub(crate) fn of(tid: u32) -> Option<Self> {
        Self::read(&tid.to_string())
    }

    /// Reads that of the calling process.
    pub(crate) fn own() -> Option<Self> {
        Self::read("self")
    }

    fn read(process: &str) -> Option<Self> {
        let bytes = fs::read(format!("/proc/{process}/status")).ok()?;
        Some(Self::parse(&bytes))
    }

    /// Whether the process handles or ignores this signal.
    pub(crate) fn survives(&self, signal: i32) -> bool {
        let bit = 1_u64 << (signal - 1);
        let has = |set: Option<u64>| set.is_some_and(|set| set & bit != 0);
        has(self.caught) || has(self.ignored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_taken_out_of_the_file() {
        let text = b"Name:\tTgid: 1\\n\nUmask:\t0022\nState:\tZ (zombie)\nTgid:\t77\nPPid:\t76\nTracerPid:\t5\n\
            Uid:\t1000\t0\t0\t0\nThreads:\t3\nSigIgn:\t0000000000000001\nSigCgt:\t0000000040000000\nSeccomp_filters:\t2\n";
        let status = Status::parse(text);
        assert_eq!(status.process, Some(77));
        assert_eq!(status.parent, Some(76));
        assert_eq!(status.tracer, Some(5));
        assert_eq!(status.real_uid, Some(1000));
        assert_eq!(status.threads, Some(3));
        assert_eq!(status.filters, Some(2));
        assert!(status.is_dead);
        assert!(status.survives(libc::SIGSYS));
        assert!(status.survives(libc::SIGHUP));
        assert!(!status.survives(libc::SIGINT));
    }
}

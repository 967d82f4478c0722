//! What `/proc` says about processes.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// The fields of `/proc/PID/status` that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Status {
    pub(crate) tgid: Option<u32>,
    pub(crate) parent: Option<u32>,
}

impl Status {
    /// Takes the fields out of the file's bytes. `Name:` comes first and has
    /// its newlines escaped, so no value can pose as a field.
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let mut status = Self::default();
        for line in bytes.split(|&byte| byte == b'\n') {
            let Some(colon) = line.iter().position(|&byte| byte == b':') else {
                continue;
            };
            let (key, value) = line.split_at(colon);
            let value = value.get(1..).unwrap_or_default();
            let Ok(value) = str::from_utf8(value) else {
                continue;
            };
            let first = value.split_ascii_whitespace().next().unwrap_or_default();
            match key {
                b"Tgid" => status.tgid = first.parse().ok(),
                b"PPid" => status.parent = first.parse().ok(),
                _ => {}
            }
        }
        status
    }

    /// Reads it; `None` when the process is gone or `/proc` is not mounted.
    pub(crate) fn read(process: &str) -> Option<Self> {
        let bytes = fs::read(format!("/proc/{process}/status")).ok()?;
        Some(Self::parse(&bytes))
    }

    /// Reads that of one thread.
    pub(crate) fn of(tid: u32) -> Option<Self> {
        Self::read(&tid.to_string())
    }
}

/// The thread's name.
pub(crate) fn comm(tid: u32) -> Option<OsString> {
    let mut name = fs::read(format!("/proc/{tid}/comm")).ok()?;
    if name.last() == Some(&b'\n') {
        name.pop();
    }
    Some(OsString::from_vec(name))
}

/// What is mapped where.
pub(crate) fn maps(pid: u32) -> Option<Vec<u8>> {
    fs::read(format!("/proc/{pid}/maps")).ok()
}

/// A path of any bytes.
pub(crate) fn path(bytes: Vec<u8>) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes))
}

/// The program's file.
pub(crate) fn exe(tid: u32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{tid}/exe")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_taken_out_of_the_file() {
        let text = b"Name:\tTgid: 1\\n\nUmask:\t0022\nTgid:\t77\nNgid:\t0\nPPid:\t76\n";
        let status = Status::parse(text);
        assert_eq!(status.tgid, Some(77));
        assert_eq!(status.parent, Some(76));
    }
}

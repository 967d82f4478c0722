//! What is asked, and what can be answered.

use std::ffi::OsString;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use rustix::io::Errno;

use crate::Protocol;
use crate::process::{number, status_field};

/// What kind of thing a program wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Category {
    /// Talk to a peer, or be one.
    Network,
    /// Execute a program.
    Exec,
    /// Open or change what has a path.
    Path,
    /// Make a process.
    Process,
    /// Claim memory.
    Memory,
}

impl Category {
    /// In one word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Exec => "exec",
            Self::Path => "path",
            Self::Process => "process",
            Self::Memory => "memory",
        }
    }
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One thing that a program wants to do. What does not apply is `None` or
/// empty.
///
/// Everything in it was read once and is what will be used, or the call is
/// judged again: a program that changes its memory meanwhile wins nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// The system call, by its name.
    pub call: &'static str,
    /// What kind of thing it is.
    pub category: Category,
    /// The calling process, as this process sees it; 0 when it cannot be seen.
    pub pid: u32,
    /// Its parent.
    pub parent: Option<u32>,
    /// What it executes now.
    pub exe: Option<PathBuf>,
    /// The peer's address, or the own one of `bind` and `listen`.
    pub host: Option<IpAddr>,
    /// The names by which the program was told this address.
    pub names: Vec<String>,
    /// The port that goes with `host`.
    pub port: Option<u16>,
    /// The protocol that goes with `host`.
    pub protocol: Option<Protocol>,
    /// Bytes that are claimed; with `brk`, all of the heap as it is to be.
    pub size: Option<u64>,
    /// What is to be executed is called with these arguments, all of them; the
    /// first is the name that it is called by.
    pub argv: Option<Vec<OsString>>,
    /// The file, after all links: what is to be executed, or the named socket.
    pub path: Option<PathBuf>,
    /// The rules have denied it already: nothing can be answered.
    pub denied: bool,
}

impl Event {
    /// A call of a thread, with what `/proc` says of it.
    #[must_use]
    pub fn new(call: &'static str, category: Category, thread: u32) -> Self {
        let status = std::fs::read(format!("/proc/{thread}/status")).unwrap_or_default();
        let field = |name: &[u8]| status_field(&status, name).and_then(number);
        Self {
            call,
            category,
            pid: field(b"Tgid:").unwrap_or(0),
            parent: field(b"PPid:"),
            exe: std::fs::read_link(format!("/proc/{thread}/exe")).ok(),
            host: None,
            names: Vec::new(),
            port: None,
            protocol: None,
            size: None,
            argv: None,
            path: None,
            denied: false,
        }
    }
}

impl fmt::Display for Event {
    /// In few words, for a report: `connect to example.org (192.0.2.1) port 443`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.call)?;
        match (self.names.first(), self.host) {
            (Some(name), Some(host)) => write!(f, " {name} ({host})")?,
            (None, Some(host)) => write!(f, " {host}")?,
            _ => {}
        }
        if let Some(port) = self.port {
            write!(f, " port {port}")?;
        }
        if let Some(path) = &self.path {
            write!(f, " {}", path.as_os_str().as_encoded_bytes().escape_ascii())?;
        }
        if let Some(size) = self.size {
            write!(f, " of {size} bytes")?;
        }
        if let Some(exe) = &self.exe {
            write!(
                f,
                " by {}",
                exe.as_os_str().as_encoded_bytes().escape_ascii()
            )?;
        }
        Ok(())
    }
}

/// What may become of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It happens.
    Allow,
    /// It fails with this.
    Deny(Errno),
    /// It happens, and the report tells of it.
    Audit,
}

impl Verdict {
    /// The denial where nothing else is said.
    pub const DENY: Self = Self::Deny(Errno::ACCESS);

    /// The stricter one of two; of two denials the first.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Deny(errno), _) | (_, Self::Deny(errno)) => Self::Deny(errno),
            (Self::Audit, _) | (_, Self::Audit) => Self::Audit,
            (Self::Allow, Self::Allow) => Self::Allow,
        }
    }

    /// An error for a denial.
    ///
    /// # Errors
    ///
    /// Its errno.
    pub const fn ok(self) -> Result<(), Errno> {
        match self {
            Self::Allow | Self::Audit => Ok(()),
            Self::Deny(errno) => Err(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_knows_its_process() {
        let thread = rustix::thread::gettid().as_raw_nonzero().get();
        let event = Event::new("connect", Category::Network, thread.cast_unsigned());
        assert_eq!(event.pid, std::process::id());
        assert_eq!(event.parent, Some(std::os::unix::process::parent_id()));
        assert_eq!(event.exe, std::env::current_exe().ok());
    }

    #[test]
    fn the_stricter_verdict_counts() {
        let deny = Verdict::Deny(Errno::PERM);
        assert_eq!(Verdict::Allow.and(deny), deny);
        assert_eq!(deny.and(Verdict::DENY), deny);
        assert_eq!(Verdict::Audit.and(Verdict::Allow), Verdict::Audit);
        assert_eq!(Verdict::Allow.and(Verdict::Allow), Verdict::Allow);
        assert_eq!(deny.ok(), Err(Errno::PERM));
    }
}

//! What can go wrong while listening.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why a source could not be opened or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The tracer could not be attached, or could not go on.
    #[error(transparent)]
    Trace(nucleus_tracer::Error),
    /// EPROTONOSUPPORT: this kernel has no audit, or does not use it.
    #[error(
        "cannot open an audit netlink socket: audit is switched off (audit=0 on the kernel's command line) or not built in"
    )]
    AuditOff,
    /// The audit netlink socket could not be set up.
    #[error("cannot open an audit netlink socket")]
    AuditSocket(#[source] io::Error),
    /// The kernel does not let this process hear audit records.
    #[error(
        "may not listen to audit records: CAP_AUDIT_READ in the initial user namespace is missing; \
         run as root on the host"
    )]
    NoAuditRead,
    /// The audit socket is open and nothing comes.
    #[error(
        "hears no audit records on the netlink socket: a probe record did not arrive within \
         {patience:?}; this process may be in a network namespace of its own (container), or the \
         kernel runs with audit=0"
    )]
    SilentAudit {
        /// How long it was waited for.
        patience: Duration,
    },
    /// The kernel's log could not be opened.
    #[error("cannot read /dev/kmsg; it needs root or CAP_SYSLOG (kernel.dmesg_restrict)")]
    OpenKmsg {
        /// What the kernel said.
        source: io::Error,
    },
    /// Something else is in the device's place.
    #[error("/dev/kmsg is not the kernel's log device (character device 1:11)")]
    NotKmsg,
    /// The kernel's log is open and nothing comes.
    #[error(
        "finds no seccomp records in /dev/kmsg: a probe record did not arrive within {patience:?}; \
         auditd may take them, the log may be at its rate limit (kernel.printk_ratelimit), or the \
         kernel runs with audit=0"
    )]
    SilentKmsg {
        /// How long it was waited for.
        patience: Duration,
    },
    /// The kernel lets a process that makes a record wait.
    #[error(
        "no answer within {patience:?}: the kernel's queue of audit records is full, and who makes \
         another waits; try again when the machine makes fewer, or raise the queue's limit with \
         auditctl -b"
    )]
    Stuck {
        /// How long it was waited for.
        patience: Duration,
    },
    /// The kernel is told not to log what the reader is for.
    #[error(
        "the kernel does not log the seccomp action {action}; add it to the sysctl \
         kernel.seccomp.actions_logged"
    )]
    NotLogged {
        /// The action by the kernel's name.
        action: &'static str,
    },
    /// No stream of the kernel works here.
    #[error("no source of the kernel's records works: {audit}; {kmsg}")]
    NoLog {
        /// Why not audit netlink.
        audit: Box<Error>,
        /// Why not the log.
        kmsg: Box<Error>,
    },
    /// A stream could not be read on.
    #[error("cannot read from the {name} source")]
    ReadSource {
        /// The source's name.
        name: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The record that marks a place in the stream could not be made.
    #[error("cannot make the kernel write a probe record by a process with a seccomp filter")]
    Marker(#[source] io::Error),
    /// Waiting, or waking the one that waits, failed.
    #[error("cannot wait for records")]
    Wake(#[source] io::Error),
    /// A fresh audit session could not be had.
    #[error(
        "cannot start an audit session by /proc/thread-self/loginuid; where a login user is set \
         already this needs CAP_AUDIT_CONTROL"
    )]
    Session {
        /// What the kernel said.
        source: io::Error,
    },
    /// There is nothing to watch.
    #[error("there is no process {pid}")]
    NoSuchProcess {
        /// Its id.
        pid: u32,
    },
    /// Records and this process number processes differently.
    #[error(
        "cannot tell processes apart by id: this process is in a PID namespace of its own, and \
         records hold the ids of the host's; run in the host's PID namespace"
    )]
    ForeignPids,
    /// No thread could be started.
    #[error("cannot start a thread to read records")]
    Thread(#[source] io::Error),
    /// The thread that reads records ended by a panic.
    #[error("the thread that reads records panicked")]
    ReaderPanicked,
    /// A file of the kernel could not be read.
    #[error("cannot read {}", path.display())]
    ReadFile {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

impl Error {
    /// Whether the source cannot be had here, or not now, so that another may
    /// do.
    #[must_use]
    pub const fn is_unavailable(&self) -> bool {
        matches!(
            self,
            Self::Trace(nucleus_tracer::Error::Seize { .. })
                | Self::AuditOff
                | Self::AuditSocket(_)
                | Self::NoAuditRead
                | Self::SilentAudit { .. }
                | Self::OpenKmsg { .. }
                | Self::NotKmsg
                | Self::SilentKmsg { .. }
                | Self::Stuck { .. }
                | Self::NotLogged { .. }
                | Self::NoLog { .. }
                | Self::Marker(_)
                | Self::Session { .. }
        )
    }
}

//! A record of our own in the stream, to find out whether records come and
//! when everything before it has been read.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::{fs, io};

use nucleus_seccomp::{Action, Insn, InstallFlags, Program, offset, op};
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};

use crate::{Error, SeccompRecord, sys};

/// The knob that says which actions are logged at all (4.14).
const ACTIONS_LOGGED: &str = "/proc/sys/kernel/seccomp/actions_logged";

/// A system call that no kernel has, and a filter that has it logged.
#[derive(Debug)]
pub(super) struct Marker {
    number: u32,
    filter: Program,
}

impl Marker {
    /// A marker that no other process uses: a call number of 28 random bits
    /// far above every table.
    pub(super) fn new() -> Result<Self, Error> {
        let random = RandomState::new().build_hasher().finish();
        let bytes = random.to_ne_bytes();
        let random = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        let number = 0x2000_0000 | (random & 0x0fff_ffff);
        let filter = Program::new(vec![
            Insn::load(offset::NR),
            Insn::jump(op::JEQ_K, number, 0, 1),
            // The most severe answer that does no harm: a filter of the
            // container that we may be in cannot outvote it.
            Insn::ret(Action::Errno(0)),
            Insn::ret(Action::Allow),
        ]);
        let filter = filter.map_err(|error| Error::Marker(io::Error::other(error)))?;
        Ok(Self { number, filter })
    }

    /// Makes the kernel write the record, soon, out of a process that takes the
    /// filter with it when it ends.
    ///
    /// A process and not a thread: where the kernel's queue of records is full,
    /// the one that makes another may sleep for a minute, undisturbed by
    /// SIGKILL (`audit_log_start`, `kernel/audit.c`), and this process could
    /// not end before a thread of its own.
    pub(super) fn emit(&self) -> Result<Emission, Error> {
        let (number, filter) = (self.number, &self.filter);
        let pid = sys::fork(|| {
            if let Err(errno) = rustix::thread::set_no_new_privs(true) {
                return errno.raw_os_error();
            }
            match filter.install(InstallFlags::LOG) {
                Ok(_no_listener) => {
                    sys::unknown_call(number);
                    0
                }
                Err(error) => error.errno(),
            }
        })
        .map_err(Error::Marker)?;
        let fd = pidfd_open(pid, PidfdFlags::empty());
        let fd = fd.map_err(|errno| Error::Marker(errno.into()))?;
        Ok(Emission { pid, fd })
    }

    pub(super) const fn is(&self, record: &SeccompRecord) -> bool {
        record.syscall == self.number
    }
}

/// A process that makes the record.
#[derive(Debug)]
pub(super) struct Emission {
    pid: Pid,
    fd: OwnedFd,
}

impl Emission {
    /// Its process id here.
    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Readable once it has ended.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Whether it has made the record and ended; then it is gone.
    ///
    /// # Errors
    ///
    /// What kept it from making the record.
    pub(super) fn is_done(&self) -> Result<bool, Error> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let failed = |source| Err(Error::Marker(source));
        match waitid(WaitId::PidFd(self.fd.as_fd()), options) {
            Ok(None) => Ok(false),
            Ok(Some(status)) => match status.exit_status() {
                Some(0) => Ok(true),
                Some(errno) => failed(io::Error::from_raw_os_error(errno)),
                None => failed(io::Error::other("the process that makes it was killed")),
            },
            // Where SIGCHLD is ignored there is nothing to wait for.
            Err(rustix::io::Errno::CHILD) => Ok(true),
            Err(errno) => failed(errno.into()),
        }
    }
}

/// Checks that the kernel logs these actions at all.
pub(super) fn check_logged(wanted: &'static [&'static str]) -> Result<(), Error> {
    let logged = match fs::read_to_string(ACTIONS_LOGGED) {
        Ok(logged) => logged,
        // Before 4.14 there is no such knob, and these actions are logged.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => {
            return Err(Error::ReadFile {
                path: ACTIONS_LOGGED.into(),
                source,
            });
        }
    };
    let silent = |action: &&&str| !logged.split_ascii_whitespace().any(|word| word == **action);
    match wanted.iter().find(silent) {
        None => Ok(()),
        Some(action) => Err(Error::NotLogged { action }),
    }
}

//! A record of our own in the stream, to find out whether records come and
//! when everything before it has been read.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::{fs, io, thread};

use nucleus_seccomp::{Action, Insn, InstallFlags, Program, offset, op};

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

    /// Makes the kernel write the record now, out of a thread that takes the
    /// filter with it when it ends.
    pub(super) fn emit(&self) -> Result<(), Error> {
        let (number, filter) = (self.number, self.filter.clone());
        let call = move || -> io::Result<()> {
            rustix::thread::set_no_new_privs(true)?;
            let installed = filter.install(InstallFlags::LOG);
            installed.map_err(|error| io::Error::from_raw_os_error(error.errno()))?;
            sys::unknown_call(number);
            Ok(())
        };
        let thread = thread::Builder::new().name("audit-marker".into());
        let handle = thread.spawn(call).map_err(Error::Marker)?;
        match handle.join() {
            Ok(result) => result.map_err(Error::Marker),
            Err(_panic) => Err(Error::Marker(io::Error::other("the thread panicked"))),
        }
    }

    pub(super) const fn is(&self, record: &SeccompRecord) -> bool {
        record.syscall == self.number
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

//! The steps that take privileges away, or leave some, in the child.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Rlimit;
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::capability::Capabilities;
use crate::isolation::{Limit, Resource};
use crate::landlock::Rights;
use crate::plan::{Port, Ruleset};
use crate::report::{Call, Context, Fault};
use crate::sys;

/// The limit belongs to the user namespace of who opens the file
/// (namespaces(7)), and needs `CAP_SYS_RESOURCE` there.
pub(crate) fn forbid_namespaces() -> Result<(), Fault> {
    let path = c"/proc/sys/user/max_user_namespaces";
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(CWD, path, flags, Mode::empty()).call(Call::Open)?;
    rustix::io::write(&file, b"0").map(drop).call(Call::Write)
}

pub(crate) fn limit(limit: Limit) -> Result<(), Fault> {
    let resource = match limit.resource {
        Resource::AddressSpace => rustix::process::Resource::As,
        Resource::Core => rustix::process::Resource::Core,
        Resource::Cpu => rustix::process::Resource::Cpu,
        Resource::FileSize => rustix::process::Resource::Fsize,
        Resource::OpenFiles => rustix::process::Resource::Nofile,
        Resource::Processes => rustix::process::Resource::Nproc,
        Resource::Stack => rustix::process::Resource::Stack,
    };
    let both = Rlimit {
        current: Some(limit.value),
        maximum: Some(limit.value),
    };
    rustix::process::setrlimit(resource, both).call(Call::Prlimit)
}

/// Effective, permitted, inheritable and ambient, so that exec gives a program
/// of any user exactly these: with a bounding set that has no more, it gives
/// none back.
pub(crate) fn set_capabilities(keep: Capabilities) -> Result<(), Fault> {
    rustix::thread::clear_ambient_capability_set().call(Call::Prctl)?;
    let set = CapabilitySet::from_bits_retain(keep.bits());
    let sets = CapabilitySets {
        effective: set,
        permitted: set,
        inheritable: set,
    };
    rustix::thread::set_capabilities(None, sets).call(Call::Capset)?;
    for one in set.iter() {
        rustix::thread::configure_capability_in_ambient_set(one, true).call(Call::Prctl)?;
    }
    Ok(())
}

/// Reads the bounding set back.
pub(crate) fn check_bounding_set(expected: Capabilities) -> Result<(), Fault> {
    let found = sys::bounding_set().call(Call::Prctl)?;
    expect(found == expected.bits(), Call::Prctl)
}

/// Reads the other four sets back.
pub(crate) fn check_capabilities(expected: Capabilities) -> Result<(), Fault> {
    let sets = rustix::thread::capabilities(None).call(Call::Capget)?;
    // It has none that is not inheritable (capabilities(7)).
    let mut ambient = 0;
    for one in sets.inheritable.iter() {
        let is_in = rustix::thread::capability_is_in_ambient_set(one).call(Call::Prctl)?;
        ambient |= if is_in { one.bits() } else { 0 };
    }
    let found = [
        sets.effective.bits(),
        sets.permitted.bits(),
        sets.inheritable.bits(),
        ambient,
    ];
    expect(found == [expected.bits(); 4], Call::Capget)
}

fn expect(is_so: bool, call: Call) -> Result<(), Fault> {
    let errno = Errno::PERM;
    if is_so {
        Ok(())
    } else {
        Err(Fault { call, errno })
    }
}

pub(crate) fn landlock(handled: Ruleset) -> Result<OwnedFd, Fault> {
    sys::landlock_ruleset(handled.files.bits(), handled.ports, handled.scopes)
        .call(Call::LandlockCreateRuleset)
}

/// What folders have rights for, files have not.
pub(crate) fn landlock_path(
    ruleset: BorrowedFd<'_>,
    path: &CStr,
    rights: Rights,
) -> Result<(), Fault> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let beneath = rustix::fs::openat(CWD, path, flags, Mode::empty()).call(Call::Open)?;
    let stat = rustix::fs::fstat(&beneath).call(Call::Stat)?;
    let rights = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => rights,
        _ => rights.intersection(Rights::OF_FILES),
    };
    if rights == Rights::default() {
        return Ok(());
    }
    sys::landlock_allow(ruleset, beneath.as_fd(), rights.bits()).call(Call::LandlockAddRule)
}

pub(crate) fn landlock_port(ruleset: BorrowedFd<'_>, port: Port) -> Result<(), Fault> {
    sys::landlock_allow_port(ruleset, port.port, port.access).call(Call::LandlockAddRule)
}

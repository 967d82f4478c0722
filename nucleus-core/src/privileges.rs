//! The steps that take privileges away, in the child.

use std::os::fd::AsFd;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::Rlimit;
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::isolation::{Limit, Resource};
use crate::plan::Ruleset;
use crate::report::{Call, Context, Fault};
use crate::sys;

pub(crate) fn loopback() -> Result<(), Fault> {
    let socket = rustix::net::socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .call(Call::Socket)?;
    sys::loopback_up(socket.as_fd()).call(Call::Ioctl)
}

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

/// Ambient, effective, permitted and inheritable. With the bounding set empty
/// too, no exec gives any back.
pub(crate) fn drop_capabilities() -> Result<(), Fault> {
    rustix::thread::clear_ambient_capability_set().call(Call::Prctl)?;
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, none).call(Call::Capset)
}

pub(crate) fn landlock(rules: &Ruleset) -> Result<(), Fault> {
    let ruleset =
        sys::landlock_ruleset(rules.handled, rules.scoped).call(Call::LandlockCreateRuleset)?;
    for (path, allowed) in &rules.rules {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let beneath =
            rustix::fs::openat(CWD, path.as_c_str(), flags, Mode::empty()).call(Call::Open)?;
        sys::landlock_allow(ruleset.as_fd(), beneath.as_fd(), *allowed)
            .call(Call::LandlockAddRule)?;
    }
    sys::landlock_restrict(ruleset.as_fd()).call(Call::LandlockRestrictSelf)
}

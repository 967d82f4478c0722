//! User and group ids: who the program is, maps of user namespaces, and taking
//! other ids.

mod account;
mod helper;
mod identity;
mod range;
mod subordinate;

use std::ffi::CStr;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::RecvFlags;
use rustix::process::{DumpableBehavior, Gid, Pid, Signal, Uid, WaitId, WaitIdOptions};

pub(crate) use self::helper::Helpers;
pub(crate) use self::identity::{GUEST, Identity, Maker, Wish};
pub use self::range::IdRange;
pub(crate) use self::range::inward;
pub(crate) use self::subordinate::SubordinateIds;
use crate::interpret::Prepared;
use crate::plan::{IdMaps, Namespaces};
use crate::report::{Call, Context, Fault};
use crate::sys;

/// Writes the id maps of the process whose folder in /proc is given. In the
/// child or the parent.
pub(crate) fn map(maps: &IdMaps, process: &CStr) -> Result<(), Fault> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::openat(CWD, process, flags, Mode::empty()).call(Call::Open)?;
    if maps.deny_setgroups {
        write(&folder, c"setgroups", b"deny")?;
    }
    write(&folder, c"uid_map", maps.uid.to_bytes())?;
    write(&folder, c"gid_map", maps.gid.to_bytes())
}

/// As [`map`], for a process by its number in /proc.
pub(crate) fn map_process(maps: &IdMaps, pid: Pid) -> Result<(), Fault> {
    let mut path = [0; 32];
    let mut rest = path.as_mut_slice();
    let path = write!(rest, "/proc/{}", pid.as_raw_nonzero())
        .ok()
        .and_then(|()| CStr::from_bytes_until_nul(&path).ok());
    let too_long = Fault {
        call: Call::Open,
        errno: Errno::NAMETOOLONG,
    };
    map(maps, path.ok_or(too_long)?)
}

fn write(folder: &OwnedFd, name: &CStr, content: &[u8]) -> Result<(), Fault> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(folder, name, flags, Mode::empty()).call(Call::Open)?;
    rustix::io::write(&file, content)
        .map(drop)
        .call(Call::Write)
}

/// Waits for the byte that init writes once the maps are there.
pub(crate) fn await_map(mapped: Option<(BorrowedFd<'_>, BorrowedFd<'_>)>) -> Result<(), Fault> {
    let broken = |errno| Fault {
        call: Call::Read,
        errno,
    };
    let (read, _write) = mapped.ok_or(broken(Errno::BADF))?;
    let mut byte = [0];
    match rustix::io::retry_on_intr(|| rustix::io::read(read, &mut byte)).call(Call::Read)? {
        0 => Err(broken(Errno::PIPE)),
        _ => Ok(()),
    }
}

/// Waits for the byte that the parent sends once the helpers have written the
/// maps. Init holds copies of the parent's descriptors too, so only the
/// parent's end itself tells of that.
pub(crate) fn await_helpers(prepared: &Prepared<'_>) -> Result<(), Fault> {
    let mut fds = [
        PollFd::from_borrowed_fd(prepared.status, PollFlags::IN),
        PollFd::from_borrowed_fd(prepared.parent, PollFlags::IN),
    ];
    rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, None)).call(Call::Poll)?;
    let mut byte = [0];
    match rustix::net::recv(prepared.status, &mut byte, RecvFlags::DONTWAIT).call(Call::Recv)? {
        (1, _) => Ok(()),
        _ => Err(Fault {
            call: Call::Recv,
            errno: Errno::PIPE,
        }),
    }
}

/// Takes other ids, and other supplementary groups if there are any to take,
/// for good. The capabilities in the user namespace stay.
///
/// The memory is closed to tracers, whatever `fs.suid_dumpable` says: other
/// processes may have the same ids, and whoever shares the memory has not taken
/// them yet.
pub(crate) fn become_other(uid: u32, gid: u32, groups: Option<&[Gid]>) -> Result<(), Fault> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    if let Some(groups) = groups {
        rustix::thread::set_thread_groups(groups).call(Call::SetGroups)?;
    }
    rustix::thread::set_keep_capabilities(true).call(Call::Prctl)?;
    rustix::thread::set_thread_res_gid(gid, gid, gid).call(Call::SetGid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).call(Call::SetUid)?;
    // What is kept is the permitted set (capabilities(7)).
    let mut sets = rustix::thread::capabilities(None).call(Call::Capget)?;
    sets.effective = sets.permitted;
    rustix::thread::set_capabilities(None, sets).call(Call::Capset)?;
    rustix::thread::set_keep_capabilities(false).call(Call::Prctl)?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).call(Call::Prctl)
}

/// A user namespace with these maps, for id-mapped mounts. For the parent.
pub(crate) fn user_namespace(maps: &IdMaps) -> Result<OwnedFd, Fault> {
    let (read, write) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).call(Call::Pipe)?;
    // A process to hold the namespace, until it has been opened.
    let holder = sys::clone_process(Namespaces::USER.bits(), None, || {
        // Its own copy of the other end would keep it from hearing of the end
        // of a parent that is killed. Whatever fails, it only ends early.
        if sys::close_all_but([read.as_raw_fd()]).is_ok() {
            let _closed = rustix::io::read(&read, &mut [0]);
        }
        sys::exit(0)
    })
    .call(Call::Clone)?;
    let opened = map_process(maps, holder.pid).and_then(|()| {
        let path = format!("/proc/{}/ns/user", holder.pid.as_raw_nonzero());
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        rustix::fs::openat(CWD, path, flags, Mode::empty()).call(Call::Open)
    });
    drop(write);
    // It ends by itself too; neither can fail in a way that matters.
    let _sent = rustix::process::pidfd_send_signal(&holder.pidfd, Signal::KILL);
    let _status =
        rustix::process::waitid(WaitId::PidFd(holder.pidfd.as_fd()), WaitIdOptions::EXITED);
    opened
}

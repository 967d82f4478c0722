//! A program under a filter, and its listener in this process.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Child, Command};
use std::thread;

use nucleus_seccomp::{InstallFlags, Program};
use rustix::io::Errno;
use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags};

use crate::{Error, Listener, sys};

/// Starts a command under a filter that traps, as its last step before exec.
///
/// `start` gets the listener while the child waits: a call that traps before or
/// during exec is answered, provided that `start` begins to answer, as
/// [`Supervisor::start`](crate::Supervisor::start) does. The filter must not
/// trap `read` or `write`, by which the child announces the listener.
///
/// The child sets `no_new_privs`. The command is used up: it could not be
/// started a second time.
///
/// # Errors
///
/// The filter cannot be installed, the listener not taken over
/// (`pidfd_getfd(2)`, 5.6: under Yama scope 2 it needs `CAP_SYS_PTRACE`), the
/// program not executed, or `start` fails. The child is killed then.
pub fn spawn<T: Send, E: From<Error> + Send>(
    mut command: Command,
    filter: Program,
    start: impl FnOnce(Listener) -> Result<T, E> + Send,
) -> Result<(Child, T), E> {
    let (ours, theirs) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(|source| Error::Handover { source })?;
    let child_end =
        rustix::io::fcntl_dupfd_cloexec(&theirs, 3).map_err(|source| Error::Handover { source })?;
    sys::before_exec(&mut command, move || {
        rustix::thread::set_no_new_privs(true)?;
        announce(&child_end, &filter)
    });
    let (spawned, taken) = thread::scope(|scope| {
        let helper = scope.spawn(|| {
            let taken = attend(&ours, start);
            if taken.is_err() {
                // Closing would not do: the child has a copy of this end.
                let _gone: Result<(), Errno> = rustix::net::shutdown(&ours, Shutdown::Both);
            }
            taken
        });
        let spawned = command.spawn();
        // A child that ended before it announced anything leaves the helper
        // waiting: the command holds the child's end open here.
        let _already: Result<(), Errno> = rustix::net::shutdown(&theirs, Shutdown::Both);
        let taken = helper
            .join()
            .unwrap_or_else(|_panic| Err(Error::Panicked { name: "handover" }.into()));
        (spawned, taken)
    });
    match (spawned, taken) {
        (Ok(child), Ok(Some(started))) => Ok((child, started)),
        (Ok(mut child), other) => {
            // It runs on without a listener: every trapped call would fail.
            let ended = child.kill().and_then(|()| child.wait());
            other?;
            let source = ended.err().unwrap_or_else(|| Errno::NOMSG.into());
            Err(failed_to_spawn(&command, source).into())
        }
        (Err(_), Err(error)) => Err(error),
        (Err(source), Ok(_)) => Err(failed_to_spawn(&command, source).into()),
    }
}

fn failed_to_spawn(command: &Command, source: io::Error) -> Error {
    Error::Spawn {
        program: command.get_program().to_owned(),
        source,
    }
}

/// In the child: installs the filter, tells the descriptor's number, and waits
/// until the other side has it. Allocates nothing.
fn announce(socket: &OwnedFd, filter: &Program) -> io::Result<()> {
    let with = |flags| filter.install(InstallFlags::NEW_LISTENER | flags);
    let listener = match with(InstallFlags::WAIT_KILLABLE_RECV) {
        // Before 5.19: signals interrupt a caller that has been received, too.
        Err(error) if error.errno() == libc::EINVAL => with(InstallFlags::empty()),
        installed => installed,
    };
    let listener = listener
        .map_err(|error| io::Error::from_raw_os_error(error.errno()))?
        .ok_or(Errno::BADF)?;
    let mut message = [0; 8];
    message[..4].copy_from_slice(
        &rustix::process::getpid()
            .as_raw_nonzero()
            .get()
            .to_ne_bytes(),
    );
    message[4..].copy_from_slice(&listener.as_raw_fd().to_ne_bytes());
    rustix::io::write(socket, &message)?;
    let mut word = [0];
    match rustix::io::retry_on_intr(|| rustix::io::read(socket, &mut word))? {
        1 => Ok(()),
        _ => Err(Errno::CANCELED.into()),
    }
}

/// In the parent: takes the listener over, starts to answer, lets the child go.
/// `None` when the child ended before it had a listener.
fn attend<T, E: From<Error>>(
    socket: &OwnedFd,
    start: impl FnOnce(Listener) -> Result<T, E>,
) -> Result<Option<T>, E> {
    let handover = |source| Error::Handover { source };
    let mut message = [0; 8];
    let length = rustix::io::retry_on_intr(|| rustix::io::read(socket, &mut message));
    if length.map_err(handover)? < message.len() {
        return Ok(None);
    }
    let [a, b, c, d, e, f, g, h] = message;
    let pid = i32::from_ne_bytes([a, b, c, d]);
    let number = i32::from_ne_bytes([e, f, g, h]);
    let listener = take(pid, number).map_err(|source| Error::TakeOver { pid, source })?;
    let started = start(Listener::new(listener)?)?;
    rustix::io::write(socket, &[1]).map_err(handover)?;
    Ok(Some(started))
}

fn take(pid: i32, number: i32) -> Result<OwnedFd, Errno> {
    let pid = Pid::from_raw(pid).ok_or(Errno::SRCH)?;
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    rustix::process::pidfd_getfd(pidfd, number, PidfdGetfdFlags::empty())
}

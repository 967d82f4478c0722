//! The step that makes a terminal for the program, in the child.

use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::{InputModes, OptionalActions, Winsize};

use crate::isolation::TerminalSize;
use crate::report::{Call, Context, Fault};
use crate::sys;

/// Makes a terminal in the sandbox's own devpts, so that it has a name there
/// and no other terminal can be reached by its ioctls; the program's user, who
/// runs this, owns it. The near end goes to the parent.
pub(crate) fn open(size: TerminalSize, gate: BorrowedFd<'_>) -> Result<(), Fault> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let near = rustix::fs::openat(CWD, c"/dev/pts/ptmx", flags, Mode::empty()).call(Call::Open)?;
    rustix::pty::unlockpt(&near).call(Call::Ioctl)?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let far = rustix::pty::ioctl_tiocgptpeer(&near, flags).call(Call::Ioctl)?;
    let size = Winsize {
        ws_row: size.rows,
        ws_col: size.columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    rustix::termios::tcsetwinsize(&far, size).call(Call::Ioctl)?;
    // Erasing a character erases all its bytes.
    let mut modes = rustix::termios::tcgetattr(&far).call(Call::Ioctl)?;
    modes.input_modes.insert(InputModes::IUTF8);
    rustix::termios::tcsetattr(&far, OptionalActions::Now, &modes).call(Call::Ioctl)?;

    // Its end is meant for the program, even where nucleus was told by nohup
    // to outlive the end of another.
    sys::default_signal(libc::SIGHUP);
    rustix::process::setsid().call(Call::SetSid)?;
    rustix::process::ioctl_tiocsctty(&far).call(Call::Ioctl)?;
    rustix::stdio::dup2_stdin(&far).call(Call::Dup)?;
    rustix::stdio::dup2_stdout(&far).call(Call::Dup)?;
    rustix::stdio::dup2_stderr(&far).call(Call::Dup)?;

    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [near.as_fd()];
    control.push(SendAncillaryMessage::ScmRights(&fds));
    rustix::net::sendmsg(
        gate,
        &[IoSlice::new(b"t")],
        &mut control,
        SendFlags::NOSIGNAL,
    )
    .map(drop)
    .call(Call::Send)
}

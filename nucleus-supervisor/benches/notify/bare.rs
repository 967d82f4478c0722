//! The least that a notification can cost: receive, answer, and nothing else, as
//! a loop in C has it.

use std::os::fd::{AsFd as _, AsRawFd as _};
use std::thread::{self, JoinHandle};

use nucleus_supervisor::Listener;

/// Answers everything with 0, or lets it happen, to the end of the last caller.
pub(crate) fn answer(listener: Listener, goes_on: bool) -> JoinHandle<()> {
    thread::spawn(move || {
        let fd = listener.as_fd().as_raw_fd();
        let flags = match goes_on {
            true => u32::try_from(libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE).unwrap_or(1),
            false => 0,
        };
        loop {
            // SAFETY: a structure of numbers.
            let mut notification: libc::seccomp_notif = unsafe { std::mem::zeroed() };
            let place = &raw mut notification;
            // SAFETY: the kernel writes one such structure, of a size that it
            // had when this was written; the stack goes on behind it.
            if unsafe { libc::ioctl(fd, libc::SECCOMP_IOCTL_NOTIF_RECV, place) } < 0 {
                return;
            }
            let mut response = libc::seccomp_notif_resp {
                id: notification.id,
                val: 0,
                error: 0,
                flags,
            };
            // SAFETY: the kernel reads one such structure.
            unsafe { libc::ioctl(fd, libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut response) };
        }
    })
}

//! The raw calls of the helpers: questions to the kernel, answered by doing.

#![allow(unsafe_code, reason = "calls that std and rustix do not have")]

pub(crate) mod probe;

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, SocketFlags, SocketType, netlink};
use rustix::thread::UnshareFlags;

/// The ABI of Landlock.
pub(crate) fn landlock_abi() -> io::Result<i32> {
    const LANDLOCK_CREATE_RULESET_VERSION: u32 = 1;
    // SAFETY: with this flag the call takes a null pointer and size 0 and
    // returns a number.
    let abi = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<u8>(),
            0_usize,
            LANDLOCK_CREATE_RULESET_VERSION,
        )
    };
    i32::try_from(abi)
        .ok()
        .filter(|abi| *abi >= 0)
        .ok_or_else(io::Error::last_os_error)
}

/// Joins the multicast group that gets every audit record, and leaves it.
pub(crate) fn join_audit_group() -> io::Result<()> {
    const AUDIT_NLGRP_READLOG_MASK: u32 = 1;
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(netlink::AUDIT),
    )?;
    rustix::net::bind(
        &socket,
        &SocketAddrNetlink::new(0, AUDIT_NLGRP_READLOG_MASK),
    )?;
    Ok(())
}

/// Starts a program in a user namespace of its own.
pub(crate) fn enter_user_namespace() -> io::Result<()> {
    let mut command = Command::new("/bin/true");
    // SAFETY: unshare is one system call, which is sound between fork and exec.
    unsafe { command.pre_exec(unshare_user) };
    command.status().map(drop)
}

fn unshare_user() -> io::Result<()> {
    // SAFETY: the flag leaves memory and descriptors alone.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWUSER) }.map_err(Into::into)
}

/// Starts a program as the leader of a session whose terminal is its standard
/// input.
pub(crate) fn spawn_on_terminal(command: &mut Command) -> io::Result<Child> {
    // SAFETY: both are system calls, which are sound between fork and exec.
    unsafe { command.pre_exec(lead_session) };
    command.spawn()
}

fn lead_session() -> io::Result<()> {
    rustix::process::setsid()?;
    rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
    Ok(())
}

/// Seizes a child as a tracer does.
pub(crate) fn trace_a_child() -> io::Result<()> {
    let mut child = Command::new("/bin/cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()?;
    let seized = seize(&child);
    child.kill()?;
    child.wait()?;
    seized
}

fn seize(child: &Child) -> io::Result<()> {
    let pid = libc::pid_t::try_from(child.id()).map_err(io::Error::other)?;
    let nothing = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: seizing passes no memory, and the child is ours.
    let answer = unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, nothing, nothing) };
    if answer == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

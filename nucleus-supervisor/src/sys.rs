//! Every raw system call of the crate.

#![allow(unsafe_code, reason = "the one place for raw system calls")]

pub(crate) mod clock_code;
mod files;
pub(crate) mod quarters;

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::io::Errno;

pub(crate) use self::files::{
    file_size_limit, stat, stat_bytes, statfs, statfs_bytes, statx, statx_bytes, truncate,
};

/// The three sizes that `SECCOMP_GET_NOTIF_SIZES` gives; a newer kernel's
/// structures may be larger than those this was compiled with.
#[derive(Debug)]
pub(crate) struct Sizes {
    pub(crate) notification: usize,
    pub(crate) response: usize,
}

pub(crate) fn sizes() -> io::Result<Sizes> {
    let mut sizes = libc::seccomp_notif_sizes {
        seccomp_notif: 0,
        seccomp_notif_resp: 0,
        seccomp_data: 0,
    };
    // SAFETY: the kernel writes one structure of this type.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_GET_NOTIF_SIZES,
            0,
            &raw mut sizes,
        )
    };
    if ret != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Sizes {
        notification: sizes.seccomp_notif.into(),
        response: sizes.seccomp_notif_resp.into(),
    })
}

/// Memory for one structure of the kernel's size, aligned and zeroed.
#[derive(Debug)]
pub(crate) struct Buffer(Vec<u64>);

impl Buffer {
    /// Of at least this many bytes, and never smaller than `T`.
    pub(crate) fn for_type<T>(bytes: usize) -> Self {
        let words = bytes.max(size_of::<T>()).div_ceil(size_of::<u64>());
        Self(vec![0; words])
    }
}

/// `SECCOMP_IOCTL_NOTIF_RECV`: waits for a notification.
pub(crate) fn receive(
    listener: BorrowedFd<'_>,
    buffer: &mut Buffer,
) -> Result<libc::seccomp_notif, Errno> {
    // The kernel refuses a buffer that is not zero (5.5).
    buffer.0.fill(0);
    let place = buffer.0.as_mut_ptr();
    ioctl(listener, libc::SECCOMP_IOCTL_NOTIF_RECV, place.cast())?;
    // SAFETY: the buffer is aligned to 8 bytes and not smaller than the
    // structure, of which every bit pattern is valid.
    Ok(unsafe { place.cast::<libc::seccomp_notif>().read() })
}

/// `SECCOMP_IOCTL_NOTIF_SEND`: answers a notification.
pub(crate) fn send(
    listener: BorrowedFd<'_>,
    size: usize,
    response: libc::seccomp_notif_resp,
) -> Result<(), Errno> {
    if size <= size_of::<libc::seccomp_notif_resp>() {
        let mut response = response;
        return ioctl(
            listener,
            libc::SECCOMP_IOCTL_NOTIF_SEND,
            (&raw mut response).cast(),
        )
        .map(drop);
    }
    let mut buffer = Buffer::for_type::<libc::seccomp_notif_resp>(size);
    let place = buffer.0.as_mut_ptr();
    // SAFETY: the buffer is aligned to 8 bytes and not smaller than the structure.
    unsafe { place.cast::<libc::seccomp_notif_resp>().write(response) };
    ioctl(listener, libc::SECCOMP_IOCTL_NOTIF_SEND, place.cast()).map(drop)
}

/// `SECCOMP_IOCTL_NOTIF_ID_VALID`: ENOENT when the caller waits no more.
pub(crate) fn id_valid(listener: BorrowedFd<'_>, id: u64) -> Result<(), Errno> {
    let mut id = id;
    ioctl(
        listener,
        libc::SECCOMP_IOCTL_NOTIF_ID_VALID,
        (&raw mut id).cast(),
    )
    .map(drop)
}

/// `SECCOMP_IOCTL_NOTIF_ADDFD`: the number that the descriptor got.
pub(crate) fn add_fd(
    listener: BorrowedFd<'_>,
    mut request: libc::seccomp_notif_addfd,
) -> Result<i32, Errno> {
    ioctl(
        listener,
        libc::SECCOMP_IOCTL_NOTIF_ADDFD,
        (&raw mut request).cast(),
    )
}

/// `SECCOMP_IOCTL_NOTIF_SET_FLAGS` (6.6), whose argument is the value itself.
pub(crate) fn set_flags(listener: BorrowedFd<'_>, flags: usize) -> Result<(), Errno> {
    ioctl(
        listener,
        libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS,
        std::ptr::without_provenance_mut(flags),
    )
    .map(drop)
}

fn ioctl(
    listener: BorrowedFd<'_>,
    request: libc::Ioctl,
    argument: *mut libc::c_void,
) -> Result<i32, Errno> {
    // SAFETY: every caller passes memory of the size that the request reads and
    // writes, or a request that takes no memory.
    let ret = unsafe { libc::ioctl(listener.as_raw_fd(), request, argument) };
    if ret < 0 { Err(last_errno()) } else { Ok(ret) }
}

/// `process_vm_readv` of one piece; the number of bytes read.
pub(crate) fn read_memory(pid: i32, address: u64, bytes: &mut [u8]) -> Result<usize, Errno> {
    let local = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    };
    let remote = remote(address, bytes.len())?;
    // SAFETY: the kernel writes at most `bytes.len()` bytes to `bytes`; the
    // remote address is the other process's and is checked by the kernel.
    let ret = unsafe { libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) };
    usize::try_from(ret).map_err(|_negative| last_errno())
}

/// `process_vm_writev` of one piece; the number of bytes written.
pub(crate) fn write_memory(pid: i32, address: u64, bytes: &[u8]) -> Result<usize, Errno> {
    let local = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    let remote = remote(address, bytes.len())?;
    // SAFETY: the kernel only reads `bytes`; the remote address is checked by it.
    let ret = unsafe { libc::process_vm_writev(pid, &raw const local, 1, &raw const remote, 1, 0) };
    usize::try_from(ret).map_err(|_negative| last_errno())
}

fn remote(address: u64, length: usize) -> Result<libc::iovec, Errno> {
    let address = usize::try_from(address).map_err(|_too_large| Errno::FAULT)?;
    Ok(libc::iovec {
        iov_base: std::ptr::without_provenance_mut(address),
        iov_len: length,
    })
}

fn last_errno() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// Makes `before_exec` run in the child of a command, after all else.
///
/// It must be async-signal-safe: no allocation, no lock.
pub(crate) fn before_exec(
    command: &mut Command,
    before_exec: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
) {
    // SAFETY: the callers in this crate pass closures that do system calls on
    // values prepared beforehand and nothing else.
    unsafe { command.pre_exec(before_exec) };
}

/// `connect(2)` to an address in the kernel's form.
pub(crate) fn connect(socket: BorrowedFd<'_>, address: &[u8]) -> Result<(), Errno> {
    let length = libc::socklen_t::try_from(address.len()).map_err(|_too_long| Errno::INVAL)?;
    // SAFETY: the kernel reads `length` bytes of `address`.
    let ret = unsafe { libc::connect(socket.as_raw_fd(), address.as_ptr().cast(), length) };
    if ret < 0 { Err(last_errno()) } else { Ok(()) }
}

/// `bind(2)` to an address in the kernel's form.
pub(crate) fn bind(socket: BorrowedFd<'_>, address: &[u8]) -> Result<(), Errno> {
    let length = libc::socklen_t::try_from(address.len()).map_err(|_too_long| Errno::INVAL)?;
    // SAFETY: the kernel reads `length` bytes of `address`.
    let ret = unsafe { libc::bind(socket.as_raw_fd(), address.as_ptr().cast(), length) };
    if ret < 0 { Err(last_errno()) } else { Ok(()) }
}

/// `socket(2)` with the caller's own numbers; closed on exec.
pub(crate) fn socket(family: u32, kind: u32, protocol: u32) -> Result<OwnedFd, Errno> {
    let kind = kind.cast_signed() | libc::SOCK_CLOEXEC;
    // SAFETY: plain numbers, which the kernel checks.
    let fd = unsafe { libc::socket(family.cast_signed(), kind, protocol.cast_signed()) };
    if fd < 0 {
        return Err(last_errno());
    }
    // SAFETY: the kernel has just returned this descriptor; nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `sendmsg(2)`: address and control messages in the kernel's form, empty for
/// none.
pub(crate) fn send_message(
    socket: BorrowedFd<'_>,
    address: &[u8],
    data: &[u8],
    control: &[u8],
    flags: u32,
) -> Result<usize, Errno> {
    let mut piece = libc::iovec {
        iov_base: data.as_ptr().cast_mut().cast(),
        iov_len: data.len(),
    };
    // SAFETY: a message of zeroes is an empty one.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    if !address.is_empty() {
        message.msg_name = address.as_ptr().cast_mut().cast();
        message.msg_namelen =
            libc::socklen_t::try_from(address.len()).map_err(|_too_long| Errno::INVAL)?;
    }
    message.msg_iov = &raw mut piece;
    message.msg_iovlen = 1;
    if !control.is_empty() {
        message.msg_control = control.as_ptr().cast_mut().cast();
        message.msg_controllen = control.len();
    }
    // SAFETY: the kernel only reads what the message points to, which lives
    // until it returns.
    let ret = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, flags.cast_signed()) };
    usize::try_from(ret).map_err(|_negative| last_errno())
}

/// `tgkill(2)`: a signal for one thread.
pub(crate) fn signal_thread(process: i32, thread: i32, signal: i32) -> Result<(), Errno> {
    // SAFETY: plain numbers.
    let ret = unsafe { libc::syscall(libc::SYS_tgkill, process, thread, signal) };
    if ret < 0 { Err(last_errno()) } else { Ok(()) }
}

/// Gives the calling thread a working directory, a root and a umask of its own.
pub(crate) fn own_directory() -> Result<(), Errno> {
    // SAFETY: of what the flag can be, this one unshares no descriptors.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::FS) }
}

/// `SO_NETNS_COOKIE` (5.14): which network namespace a socket is of.
pub(crate) fn network_cookie(socket: BorrowedFd<'_>) -> Result<u64, Errno> {
    let mut cookie = 0_u64;
    let mut length: libc::socklen_t = 8;
    // SAFETY: the kernel writes at most the 8 bytes of `cookie`.
    let ret = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if ret < 0 {
        Err(last_errno())
    } else {
        Ok(cookie)
    }
}

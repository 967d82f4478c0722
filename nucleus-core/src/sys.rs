//! Every raw system call of the crate that rustix does not offer.
//!
//! Most of them run between clone and exec, in a copy of a process that may
//! have had other threads: nothing here allocates or takes a lock, unless its
//! documentation says that it is for the parent.

#![allow(unsafe_code, reason = "the one place for raw system calls")]

use std::convert::Infallible;
use std::ffi::{CStr, CString, c_char, c_int, c_long};
use std::io;
use std::mem::{self, MaybeUninit};
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::AtomicU32;

use rustix::io::Errno;
use rustix::process::Pid;

/// `CLONE_*` bits for [`clone_process`], beyond those that it always sets.
pub(crate) type CloneFlags = u64;

/// `CLONE_CLEAR_SIGHAND` (5.5): does not fit the flags of clone(2).
const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
/// `CLONE_INTO_CGROUP` (5.7).
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// `struct clone_args`, `include/uapi/linux/sched.h`.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// A process that [`clone_process`] made.
#[derive(Debug)]
pub(crate) struct Cloned {
    /// Its number in the caller's PID namespace.
    pub(crate) pid: Pid,
    /// Close-on-exec.
    pub(crate) pidfd: OwnedFd,
}

/// Makes a copy of this process that runs `child`, with every signal handler
/// reset and every signal blocked.
///
/// The copy has the calling thread only, so `child` must neither allocate nor
/// take a lock: another thread may have held it at the moment of the copy.
///
/// Where clone3 is missing or refused with ENOSYS (the profiles of container
/// engines do that), clone is used, unless a cgroup is asked for.
pub(crate) fn clone_process<F>(
    flags: CloneFlags,
    cgroup: Option<BorrowedFd<'_>>,
    child: F,
) -> Result<Cloned, Errno>
where
    F: FnOnce() -> Infallible,
{
    let mask = set_signal_mask(u64::MAX)?;
    let result = clone_raw(flags, cgroup, child);
    // The child never comes here. A mask that could be set can be set back.
    set_signal_mask(mask)?;
    result
}

fn clone_raw<F>(
    flags: CloneFlags,
    cgroup: Option<BorrowedFd<'_>>,
    child: F,
) -> Result<Cloned, Errno>
where
    F: FnOnce() -> Infallible,
{
    let mut pidfd: c_int = -1;
    let exit_signal = libc::SIGCHLD.unsigned_abs();
    let pidfd_flag = u64::from(libc::CLONE_PIDFD.unsigned_abs());
    let mut args = CloneArgs {
        flags: flags | pidfd_flag | CLONE_CLEAR_SIGHAND,
        pidfd: (&raw mut pidfd).addr() as u64,
        exit_signal: u64::from(exit_signal),
        ..CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::from(cgroup.as_raw_fd().unsigned_abs());
    }
    // SAFETY: without CLONE_VM the child has its own copy of this stack and
    // of all memory, as after fork; `args` and `pidfd` outlive the call.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw const args,
            mem::size_of::<CloneArgs>(),
        )
    };
    let ret = match syscall_result(ret) {
        Err(Errno::NOSYS) if cgroup.is_none() => {
            // SAFETY: as above; the stack argument 0 means the copied stack.
            // CLONE_PIDFD stores where the parent's thread id would go. The
            // last two arguments, whose order differs between architectures,
            // are unused.
            let ret = unsafe {
                libc::syscall(
                    libc::SYS_clone,
                    flags | pidfd_flag | u64::from(exit_signal),
                    0,
                    &raw mut pidfd,
                    0,
                    0,
                )
            };
            let ret = syscall_result(ret)?;
            if ret == 0 {
                reset_handlers();
            }
            ret
        }
        other => other?,
    };
    if ret == 0 {
        child();
    }
    let pid = c_int::try_from(ret).ok().and_then(Pid::from_raw);
    let Some(pid) = pid else {
        return Err(Errno::OVERFLOW);
    };
    // SAFETY: the kernel has just made this descriptor for the caller.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Cloned { pid, pidfd })
}

/// What `CLONE_CLEAR_SIGHAND` does: handlers become the default, ignored
/// signals stay ignored. Signals that cannot be changed are passed over.
fn reset_handlers() {
    for signal in 1..=64 {
        let mut action = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: the kernel fills `action`, or fails and leaves the zeroes.
        let got = unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) };
        if got != 0 {
            continue;
        }
        // SAFETY: all-zero bytes are a valid sigaction, and so is the kernel's.
        let action = unsafe { action.assume_init() };
        if action.sa_sigaction != libc::SIG_IGN {
            default_signal(signal);
        }
    }
}

/// Gives a signal its default disposition. SIGKILL and SIGSTOP have no other.
fn default_signal(signal: c_int) {
    // SAFETY: SIG_DFL installs no code.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

/// What a program expects to start with: SIGPIPE kills it (Rust's runtime
/// ignores it in this process), and no signal is blocked.
pub(crate) fn program_signals() -> Result<(), Errno> {
    default_signal(libc::SIGPIPE);
    set_signal_mask(0).map(drop)
}

/// Sets the mask of the calling thread, the C library's own signals included,
/// and returns the one before.
fn set_signal_mask(mask: u64) -> Result<u64, Errno> {
    let mut old: u64 = 0;
    // SAFETY: both sets are 8 bytes long, as the size says.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const mask,
            &raw mut old,
            mem::size_of::<u64>(),
        )
    };
    syscall_result(ret)?;
    Ok(old)
}

/// A close-on-exec, non-blocking descriptor that reads every signal.
pub(crate) fn signalfd_all() -> Result<OwnedFd, Errno> {
    let mask = u64::MAX;
    // SAFETY: the set is 8 bytes long, as the size says.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_signalfd4,
            -1,
            &raw const mask,
            mem::size_of::<u64>(),
            libc::SFD_CLOEXEC | libc::SFD_NONBLOCK,
        )
    };
    new_fd(ret)
}

/// A signal that was read from [`signalfd_all`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrived {
    pub(crate) signal: c_int,
    /// A process sent it; the terminal and the kernel did not.
    pub(crate) from_process: bool,
}

/// The next signal, or `None` when none is there.
pub(crate) fn next_signal(fd: BorrowedFd<'_>) -> Option<Arrived> {
    let mut info = MaybeUninit::<libc::signalfd_siginfo>::uninit();
    let size = mem::size_of::<libc::signalfd_siginfo>();
    // SAFETY: the buffer is as long as the size says.
    let read = unsafe { libc::read(fd.as_raw_fd(), info.as_mut_ptr().cast(), size) };
    if usize::try_from(read) != Ok(size) {
        return None;
    }
    // SAFETY: the kernel has filled it.
    let info = unsafe { info.assume_init() };
    Some(Arrived {
        signal: c_int::try_from(info.ssi_signo).ok()?,
        // SI_USER, SI_QUEUE, SI_TKILL: si_code of kill(2) and its kin is <= 0.
        from_process: info.ssi_code <= 0,
    })
}

/// Sends a signal by number; rustix has no safe name for real-time signals.
pub(crate) fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: c_int) -> Result<(), Errno> {
    // SAFETY: no siginfo is given, so nothing is read from memory.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    syscall_result(ret).map(drop)
}

/// A child that has ended and waits to be reaped, if there is one. ECHILD when
/// there are no children at all. rustix does not say which child it is.
pub(crate) fn ended_child() -> Result<Option<Pid>, Errno> {
    // Stays zero when no child has ended (waitid(2)).
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: the kernel fills the siginfo, and reads nothing.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_waitid,
            libc::P_ALL,
            0,
            info.as_mut_ptr(),
            libc::WEXITED | libc::WNOHANG | libc::WNOWAIT,
            ptr::null::<libc::rusage>(),
        )
    };
    syscall_result(ret)?;
    // SAFETY: zeroed at first, so every byte has a value.
    let info = unsafe { info.assume_init() };
    // SAFETY: zero, or what the kernel wrote of a child: the field is there.
    Ok(Pid::from_raw(unsafe { info.si_pid() }))
}

/// Closes every descriptor but `keep`.
pub(crate) fn close_all_but<const N: usize>(mut keep: [RawFd; N]) -> Result<(), Errno> {
    keep.sort_unstable();
    let mut first = 0;
    for fd in keep {
        let fd = fd.unsigned_abs();
        if fd > first {
            close_range(first, fd - 1, 0)?;
        }
        first = fd + 1;
    }
    close_range(first, u32::MAX, 0)
}

fn close_range(first: u32, last: u32, flags: libc::c_uint) -> Result<(), Errno> {
    // SAFETY: takes no pointer. The descriptors that it closes in a cloned
    // child are the child's own; the parent's objects do not notice.
    let ret = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
    syscall_result(ret).map(drop)
}

/// `struct mount_attr` (mount_setattr(2)).
#[repr(C)]
struct MountAttrArgs {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// `MOUNT_ATTR_IDMAP` (5.12).
const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;

/// Adds attributes to the mount that `mount` is the root of, and with
/// `recursive` to those below (5.12); with `ids` maps ids as that user
/// namespace does.
pub(crate) fn mount_setattr(
    mount: BorrowedFd<'_>,
    attr: u64,
    recursive: bool,
    ids: Option<BorrowedFd<'_>>,
) -> Result<(), Errno> {
    let args = MountAttrArgs {
        attr_set: attr | if ids.is_some() { MOUNT_ATTR_IDMAP } else { 0 },
        attr_clr: 0,
        propagation: 0,
        userns_fd: ids.map_or(0, |fd| u64::from(fd.as_raw_fd().unsigned_abs())),
    };
    let below = if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a C string, `args` as long as the size says.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | below,
            &raw const args,
            mem::size_of::<MountAttrArgs>(),
        )
    };
    syscall_result(ret).map(drop)
}

/// Brings the loopback device of the network namespace up.
pub(crate) fn loopback_up(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: all-zero bytes are a valid ifreq.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    let [first, second, ..] = &mut request.ifr_name;
    *first = b'l'.cast_signed() as c_char;
    *second = b'o'.cast_signed() as c_char;
    let up = libc::IFF_UP | libc::IFF_RUNNING;
    request.ifr_ifru.ifru_flags = i16::try_from(up).map_err(|_too_large| Errno::OVERFLOW)?;
    // SAFETY: SIOCSIFFLAGS reads an ifreq.
    let ret = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    syscall_result(ret.into()).map(drop)
}

/// `KEYCTL_JOIN_SESSION_KEYRING`, `include/uapi/linux/keyctl.h`.
const KEYCTL_JOIN_SESSION_KEYRING: c_int = 1;

/// Replaces the session keyring by an empty one. A kernel without keyrings
/// has nothing to replace; and a filter of an outer sandbox that forbids this
/// call (the kernel itself never answers it with EPERM) binds the program too.
pub(crate) fn new_session_keyring() -> Result<(), Errno> {
    // SAFETY: no name is given, so nothing is read from memory.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            KEYCTL_JOIN_SESSION_KEYRING,
            ptr::null::<c_char>(),
        )
    };
    match syscall_result(ret) {
        Ok(_) | Err(Errno::NOSYS | Errno::PERM) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Drops every capability that the kernel knows from the bounding set, but
/// those of `keep` (bit N for capability N).
pub(crate) fn limit_bounding_set(keep: u64) -> Result<(), Errno> {
    for capability in 0..64_u32 {
        if keep & 1 << capability != 0 {
            continue;
        }
        // SAFETY: PR_CAPBSET_DROP takes a number.
        let ret = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
        match syscall_result(ret.into()) {
            Ok(_) => {}
            // One past the last.
            Err(Errno::INVAL) if capability > 0 => return Ok(()),
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// The bounding and the ambient set, bit N for capability N.
pub(crate) fn bounding_and_ambient() -> Result<(u64, u64), Errno> {
    let (mut bounding, mut ambient) = (0, 0);
    for capability in 0..64_u32 {
        // SAFETY: PR_CAPBSET_READ takes a number.
        let ret = unsafe { libc::prctl(libc::PR_CAPBSET_READ, capability, 0, 0, 0) };
        match syscall_result(ret.into()) {
            Ok(is_in) => bounding |= u64::from(is_in == 1) << capability,
            // One past the last.
            Err(Errno::INVAL) if capability > 0 => break,
            Err(errno) => return Err(errno),
        }
        let is_set = libc::PR_CAP_AMBIENT_IS_SET;
        // SAFETY: PR_CAP_AMBIENT_IS_SET takes a number.
        let ret = unsafe { libc::prctl(libc::PR_CAP_AMBIENT, is_set, capability, 0, 0) };
        ambient |= u64::from(syscall_result(ret.into())? == 1) << capability;
    }
    Ok((bounding, ambient))
}

/// `LANDLOCK_CREATE_RULESET_VERSION`, `include/uapi/linux/landlock.h`.
const LANDLOCK_CREATE_RULESET_VERSION: c_int = 1;
/// `LANDLOCK_RULE_PATH_BENEATH`.
const LANDLOCK_RULE_PATH_BENEATH: c_int = 1;

/// The best Landlock ABI of the kernel, 0 where it has none or it is off
/// (landlock_create_ruleset(2)).
#[must_use]
pub fn landlock_abi() -> u32 {
    // SAFETY: with this flag no attributes are read.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            ptr::null::<u8>(),
            0,
            LANDLOCK_CREATE_RULESET_VERSION,
        )
    };
    u32::try_from(ret).unwrap_or(0)
}

/// A ruleset that denies the given accesses and scopes until rules allow some.
pub(crate) fn landlock_ruleset(handled: u64, ports: u64, scoped: u64) -> Result<OwnedFd, Errno> {
    // `struct landlock_ruleset_attr`: file accesses, network accesses, scopes.
    // A kernel that does not know the later fields takes them when they are 0.
    let attr = [handled, ports, scoped];
    // SAFETY: `attr` is as long as the size says.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            &raw const attr,
            mem::size_of_val(&attr),
            0,
        )
    };
    new_fd(ret)
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct PathBeneath {
    allowed: u64,
    parent: c_int,
}

/// Allows `allowed` beneath a file or folder.
pub(crate) fn landlock_allow(
    ruleset: BorrowedFd<'_>,
    beneath: BorrowedFd<'_>,
    allowed: u64,
) -> Result<(), Errno> {
    let rule = PathBeneath {
        allowed,
        parent: beneath.as_raw_fd(),
    };
    // SAFETY: `rule` has the layout of the rule type.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            ruleset.as_raw_fd(),
            LANDLOCK_RULE_PATH_BENEATH,
            &raw const rule,
            0,
        )
    };
    syscall_result(ret).map(drop)
}

/// `LANDLOCK_RULE_NET_PORT`.
const LANDLOCK_RULE_NET_PORT: c_int = 2;

/// Allows `allowed` for a TCP port.
pub(crate) fn landlock_allow_port(
    ruleset: BorrowedFd<'_>,
    port: u16,
    allowed: u64,
) -> Result<(), Errno> {
    // `struct landlock_net_port_attr`: accesses, port.
    let rule = [allowed, u64::from(port)];
    // SAFETY: `rule` has the layout of the rule type.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            ruleset.as_raw_fd(),
            LANDLOCK_RULE_NET_PORT,
            rule.as_ptr(),
            0,
        )
    };
    syscall_result(ret).map(drop)
}

/// Enforces a ruleset on the calling thread, for good.
pub(crate) fn landlock_restrict(ruleset: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: takes no pointer.
    let ret = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) };
    syscall_result(ret).map(drop)
}

/// Strings for execve with the array of pointers to them that it wants.
#[derive(Debug)]
pub(crate) struct CStringArray {
    /// Keeps what `pointers` points to alive.
    _strings: Vec<CString>,
    pointers: Vec<*const c_char>,
}

// SAFETY: the pointers point into the strings, which nobody changes.
unsafe impl Send for CStringArray {}
// SAFETY: as above.
unsafe impl Sync for CStringArray {}

impl CStringArray {
    /// For the parent: allocates.
    pub(crate) fn new(strings: Vec<CString>) -> Self {
        let pointers = strings
            .iter()
            .map(|string| string.as_ptr())
            .chain([ptr::null()])
            .collect();
        Self {
            _strings: strings,
            pointers,
        }
    }
}

/// Replaces the program of this process; returns only when that failed.
pub(crate) fn execve(path: &CStr, argv: &CStringArray, envp: &CStringArray) -> Errno {
    // SAFETY: both arrays are null-terminated arrays of C strings that live.
    unsafe {
        libc::execve(
            path.as_ptr(),
            argv.pointers.as_ptr(),
            envp.pointers.as_ptr(),
        )
    };
    last_errno()
}

/// Ends this process without running any of the parent's exit code.
pub(crate) fn exit(code: c_int) -> Infallible {
    // SAFETY: ends the process at once; async-signal-safe.
    unsafe { libc::_exit(code) }
}

/// Fills memory of this process that nothing refers to any more with zeroes.
///
/// For a copy of a process: `range` is where the kernel says that its arguments
/// are, which the copy does not read.
pub(crate) fn overwrite(range: Range<usize>) {
    let start: *mut u8 = ptr::with_exposed_provenance_mut(range.start);
    // SAFETY: the kernel has written the arguments there, on the stack, above
    // every frame; only this thread is left, and it has no reference to them.
    unsafe { ptr::write_bytes(start, 0, range.len()) };
}

/// Words of memory that this process and its later copies share.
#[derive(Debug)]
pub(crate) struct SharedWords<const N: usize>(NonNull<[AtomicU32; N]>);

// SAFETY: the memory is only reached through atomics.
unsafe impl<const N: usize> Send for SharedWords<N> {}
// SAFETY: as above.
unsafe impl<const N: usize> Sync for SharedWords<N> {}

impl<const N: usize> SharedWords<N> {
    /// Zeroes.
    pub(crate) fn new() -> Result<Self, Errno> {
        // SAFETY: a fresh mapping at an address of the kernel's choice.
        let page = unsafe {
            rustix::mm::mmap_anonymous(
                ptr::null_mut(),
                mem::size_of::<[AtomicU32; N]>(),
                rustix::mm::ProtFlags::READ | rustix::mm::ProtFlags::WRITE,
                rustix::mm::MapFlags::SHARED,
            )
        }?;
        NonNull::new(page.cast()).map(Self).ok_or(Errno::NOMEM)
    }

    pub(crate) fn words(&self) -> &[AtomicU32; N] {
        // SAFETY: mapped for as long as `self` lives, zeroed, page-aligned.
        unsafe { self.0.as_ref() }
    }
}

impl<const N: usize> Drop for SharedWords<N> {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length; no reference outlives self.
        // A failure would leave the page mapped, which harms nobody.
        let _unmapped =
            unsafe { rustix::mm::munmap(self.0.as_ptr().cast(), mem::size_of::<[AtomicU32; N]>()) };
    }
}

fn new_fd(ret: c_long) -> Result<OwnedFd, Errno> {
    let fd = RawFd::try_from(syscall_result(ret)?).map_err(|_too_large| Errno::BADF)?;
    // SAFETY: the kernel has just made this descriptor for the caller.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn syscall_result(ret: c_long) -> Result<c_long, Errno> {
    if ret == -1 {
        Err(last_errno())
    } else {
        Ok(ret)
    }
}

fn last_errno() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}

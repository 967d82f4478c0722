//! Calls made under a filter, in a child of the test.

#![allow(unsafe_code, reason = "system calls that nothing else offers")]

use std::arch::asm;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use nucleus_seccomp::{Insn, InstallFlags, Program};

/// Calls with this in the lower half of their last argument are the harness's
/// own: tested filters begin with a test for it.
pub(crate) const PASS: u32 = 0x6e75_636c;

/// How a call is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// By the `syscall` instruction.
    Syscall,
    /// By `int 0x80`.
    Int80,
}

/// A call to make.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    pub(crate) way: Way,
    pub(crate) nr: u32,
    pub(crate) args: [u64; 6],
}

/// What the kernel answered, and the instruction pointer that the filter saw.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Answer {
    pub(crate) ret: i64,
    pub(crate) ip: u64,
}

/// How the child ended.
#[derive(Debug)]
pub(crate) enum End {
    Answers(Vec<Answer>),
    /// By this signal.
    Signal(i32),
}

/// Makes the calls in a child that has the filter.
///
/// # Panics
///
/// When the child cannot be made or does not take the filter.
pub(crate) fn under(program: &Program, calls: &[Call]) -> End {
    let mut answers = vec![Answer::default(); calls.len()];
    let (mut reader, writer) = pipe();
    // SAFETY: the child only calls what is safe after a fork: it allocates
    // nothing and takes no lock.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork: {}", io::Error::last_os_error());
    if child == 0 {
        run(program, calls, &mut answers, writer.as_raw_fd());
    }
    drop(writer);
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).unwrap();
    let mut status = 0;
    // SAFETY: writes one int through a pointer to a local.
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(waited, child);
    if libc::WIFSIGNALED(status) {
        return End::Signal(libc::WTERMSIG(status));
    }
    assert_eq!(libc::WEXITSTATUS(status), 0, "the filter was not installed");
    let (words, rest) = bytes.as_chunks::<8>();
    assert!(rest.is_empty() && words.len() == 2 * calls.len());
    let answers = words.chunks(2).map(|pair| Answer {
        ret: i64::from_ne_bytes(pair[0]),
        ip: u64::from_ne_bytes(pair[1]),
    });
    End::Answers(answers.collect())
}

/// The child.
fn run(program: &Program, calls: &[Call], answers: &mut [Answer], out: i32) -> ! {
    let pass = u64::from(PASS);
    // SAFETY: takes numbers, and changes this process only.
    unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    if program.install(InstallFlags::empty()).is_err() {
        exit(1);
    }
    for (call, answer) in calls.iter().zip(answers.iter_mut()) {
        *answer = match call.way {
            Way::Syscall => syscall(u64::from(call.nr), call.args),
            Way::Int80 => int80(call.nr, call.args),
        };
    }
    let mut at = answers.as_ptr().expose_provenance() as u64;
    let mut left = size_of_val(answers) as u64;
    while left > 0 {
        let args = [u64::from(out.unsigned_abs()), at, left, 0, 0, pass];
        let wrote = syscall(libc::SYS_write.cast_unsigned(), args).ret;
        let Ok(wrote) = u64::try_from(wrote) else {
            exit(2);
        };
        at += wrote;
        left -= wrote;
    }
    exit(0)
}

fn exit(code: u64) -> ! {
    let call = libc::SYS_exit_group.cast_unsigned();
    syscall(call, [code, 0, 0, 0, 0, u64::from(PASS)]);
    unreachable!()
}

fn syscall(nr: u64, args: [u64; 6]) -> Answer {
    let ret;
    let ip;
    // SAFETY: under a tested filter no call is executed but the harness's own,
    // whose pointers are valid.
    unsafe {
        asm!(
            "lea r12, [rip + 2f]",
            "syscall",
            "2:",
            inlateout("rax") nr => ret,
            in("rdi") args[0],
            in("rsi") args[1],
            in("rdx") args[2],
            in("r10") args[3],
            in("r8") args[4],
            in("r9") args[5],
            out("r12") ip,
            out("rcx") _,
            out("r11") _,
        );
    }
    Answer { ret, ip }
}

fn int80(nr: u32, args: [u64; 6]) -> Answer {
    let ret: i64;
    let ip;
    // SAFETY: as above; all registers that the kernel changes are named.
    unsafe {
        asm!(
            "push rbx",
            "push rbp",
            "mov rbx, [r12]",
            "mov rcx, [r12 + 8]",
            "mov rdx, [r12 + 16]",
            "mov rsi, [r12 + 24]",
            "mov rdi, [r12 + 32]",
            "mov rbp, [r12 + 40]",
            "lea r13, [rip + 2f]",
            "int 0x80",
            "2:",
            "pop rbp",
            "pop rbx",
            inlateout("rax") u64::from(nr) => ret,
            in("r12") args.as_ptr(),
            out("r13") ip,
            out("rcx") _,
            out("rdx") _,
            out("rsi") _,
            out("rdi") _,
            out("r8") _,
            out("r9") _,
            out("r10") _,
            out("r11") _,
        );
    }
    Answer { ret, ip }
}

/// A child that has filters and waits.
pub(crate) struct Held {
    pub(crate) pid: i32,
    /// It ends when this does.
    _open: OwnedFd,
}

impl Held {
    /// A child with these filters, the first of them installed first.
    pub(crate) fn with(programs: &[Program]) -> Self {
        let (mut ready, is_ready) = pipe();
        let (hold, open) = pipe();
        // SAFETY: the child only calls what is safe after a fork.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "fork: {}", io::Error::last_os_error());
        if pid == 0 {
            wait_under(programs, &hold, is_ready.as_raw_fd(), open.as_raw_fd());
        }
        drop(is_ready);
        let mut installed = [0];
        ready.read_exact(&mut installed).unwrap();
        Self { pid, _open: open }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // SAFETY: takes numbers; the child was not waited for yet.
        unsafe { libc::kill(self.pid, libc::SIGKILL) };
        // SAFETY: a null pointer is where no status is wanted.
        unsafe { libc::waitpid(self.pid, std::ptr::null_mut(), 0) };
    }
}

fn wait_under(programs: &[Program], hold: &File, ready: i32, open: i32) -> ! {
    // SAFETY: takes numbers, and changes this process only.
    unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    // SAFETY: the descriptor is this process's copy and not used otherwise.
    unsafe { libc::close(open) };
    for program in programs {
        if program.install(InstallFlags::empty()).is_err() {
            exit(1);
        }
    }
    let mut byte = [0_u8];
    // SAFETY: reads one byte from a live buffer.
    unsafe { libc::write(ready, byte.as_ptr().cast(), 1) };
    // SAFETY: writes one byte into a live buffer.
    unsafe { libc::read(hold.as_raw_fd(), byte.as_mut_ptr().cast(), 1) };
    exit(0)
}

/// Whether 32-bit calls are possible: without them `int 0x80` is a fault.
pub(crate) fn has_int80() -> bool {
    // getpid
    let call = Call {
        way: Way::Int80,
        nr: 20,
        args: [0; 6],
    };
    let allow = Program::new(vec![Insn::ret(nucleus_seccomp::Action::Allow)]).unwrap();
    matches!(under(&allow, &[call]), End::Answers(_))
}

/// Whether the kernel's loader takes a filter. Nothing is installed: a thread
/// that has a filter of its own is in the way of `SECCOMP_FILTER_FLAG_TSYNC`,
/// which is found out after the checks.
pub(crate) struct Loader {
    done: Option<std::sync::mpsc::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Loader {
    pub(crate) fn new() -> Self {
        let (ready, is_ready) = std::sync::mpsc::channel();
        let (done, is_done) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            // SAFETY: takes numbers, and changes this thread only.
            unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
            let allow = Program::new(vec![Insn::ret(nucleus_seccomp::Action::Allow)]).unwrap();
            allow.install(InstallFlags::empty()).unwrap();
            ready.send(()).unwrap();
            // Lives until the loader, and so the other end, is dropped.
            assert!(is_done.recv().is_err());
        });
        is_ready.recv().unwrap();
        // SAFETY: takes numbers, and changes this thread only.
        unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
        Self {
            done: Some(done),
            thread: Some(thread),
        }
    }

    pub(crate) fn takes(&self, insns: &[Insn]) -> bool {
        let program = libc::sock_fprog {
            len: u16::try_from(insns.len()).unwrap(),
            filter: insns.as_ptr().cast_mut().cast(),
        };
        // SAFETY: the kernel reads `len` instructions, which have the layout
        // of `struct sock_filter`, and writes nothing.
        let ret = unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                libc::SECCOMP_FILTER_FLAG_TSYNC,
                &raw const program,
            )
        };
        let error = io::Error::last_os_error();
        assert_ne!(ret, 0, "the filter was installed");
        assert!(
            ret > 0 || error.raw_os_error() == Some(libc::EINVAL),
            "{error}"
        );
        ret > 0
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        drop(self.done.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

pub(crate) fn is_root() -> bool {
    // SAFETY: takes nothing, returns a number.
    unsafe { libc::geteuid() == 0 }
}

fn pipe() -> (File, OwnedFd) {
    let mut fds = [0; 2];
    // SAFETY: writes two ints into an array of two.
    let ret = unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) };
    assert_eq!(ret, 0);
    // SAFETY: the call returned two descriptors that are ours.
    let reader = unsafe { File::from_raw_fd(fds[0]) };
    // SAFETY: likewise.
    let writer = unsafe { OwnedFd::from_raw_fd(fds[1]) };
    (reader, writer)
}

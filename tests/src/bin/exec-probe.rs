//! Tries to execute what it may not: `exec-probe ATTACK ALLOWED DENIED`, two
//! programs. Prints what a failed exec says: an errno.

#![allow(unsafe_code, reason = "attacks are raw system calls")]
#![allow(clippy::print_stdout, reason = "the results")]
#![allow(clippy::unwrap_used, reason = "a probe that cannot go on has failed")]

use std::ffi::{CString, c_char};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::symlink;
use std::ptr::{null, null_mut};

fn errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(-1)
}

fn execve(path: *const c_char, argv: *const *const c_char) -> i32 {
    // SAFETY: what the pointers mean is for the kernel to check.
    unsafe { libc::syscall(libc::SYS_execve, path, argv, null::<*const c_char>()) };
    errno()
}

fn execveat(fd: i32, path: &str, flags: i32) -> i32 {
    let path = CString::new(path).unwrap();
    let argv = [c"name".as_ptr(), null()];
    // SAFETY: the strings live, and the call fails or does not return.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            fd,
            path.as_ptr(),
            argv.as_ptr(),
            null::<*const c_char>(),
            flags,
        )
    };
    errno()
}

/// Runs `attack` in a child, and prints how that ended: a code below 256, or
/// the number of a signal and 256.
fn in_child(attack: impl FnOnce() -> i32) {
    // SAFETY: this process has one thread, so the child can do anything.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let failed = attack();
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(failed) };
    }
    let mut status = 0;
    // SAFETY: a child of this process.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    if libc::WIFSIGNALED(status) {
        println!("{}", 256 + libc::WTERMSIG(status));
    } else {
        println!("{}", libc::WEXITSTATUS(status));
    }
}

fn string(text: &str) -> CString {
    CString::new(text).unwrap()
}

/// A page that ends where no memory is, with this at its very end.
fn at_the_border(bytes: &[u8]) -> *const c_char {
    let (write, flags) = (
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
    );
    // SAFETY: a fresh mapping.
    let start = unsafe { libc::mmap(null_mut(), 8192, write, flags, -1, 0) }.cast::<u8>();
    // SAFETY: the second half of it.
    unsafe { libc::munmap(start.wrapping_add(4096).cast(), 4096) };
    let place = start.wrapping_add(4096 - bytes.len());
    // SAFETY: within the first half.
    unsafe { place.copy_from(bytes.as_ptr(), bytes.len()) };
    place.cast()
}

fn memory_copy(program: &str) -> i32 {
    let content = std::fs::read(program).unwrap();
    // SAFETY: the name ends with a NUL.
    let fd = unsafe { libc::memfd_create(c"copy".as_ptr(), 0) };
    // SAFETY: the buffer is of this length.
    let written = unsafe { libc::write(fd, content.as_ptr().cast(), content.len()) };
    assert_eq!(written.unsigned_abs(), content.len());
    fd
}

/// A listener that would let every exec go on.
fn own_listener() -> i32 {
    let code = libc::sock_filter {
        code: 6,
        jt: 0,
        jf: 0,
        k: libc::SECCOMP_RET_USER_NOTIF,
    };
    let mut code = [code];
    let program = libc::sock_fprog {
        len: 1,
        filter: code.as_mut_ptr(),
    };
    let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    // SAFETY: the program lives until the call is over.
    let installed = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const program,
        )
    };
    if installed == -1 { errno() } else { 0 }
}

/// By `int 0x80`, with everything below 4 GiB as a 32-bit program has it.
#[cfg(target_arch = "x86_64")]
fn execve_in_32_bits(program: &str) -> i32 {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT;
    // SAFETY: a fresh mapping.
    let place = unsafe { libc::mmap(null_mut(), 8192, protection, flags, -1, 0) }.cast::<u8>();
    let path = place.wrapping_add(16);
    let address = u32::try_from(path.expose_provenance()).unwrap();
    let argv = [address, 0].map(u32::to_ne_bytes).concat();
    // SAFETY: within the mapping.
    unsafe { place.copy_from(argv.as_ptr(), argv.len()) };
    let bytes = string(program);
    // SAFETY: the same; a path is shorter than a page.
    unsafe { path.copy_from(bytes.as_ptr().cast(), bytes.as_bytes_with_nul().len()) };
    let mut result: u64 = 11;
    // SAFETY: the arguments live; the kernel clears r8 to r11 on its way back.
    unsafe {
        std::arch::asm!(
            "push rbx",
            "mov ebx, {path:e}",
            "int 0x80",
            "pop rbx",
            path = in(reg) address,
            inout("rax") result,
            in("rcx") place.addr(),
            in("rdx") 0,
            out("r8") _,
            out("r9") _,
            out("r10") _,
            out("r11") _,
        );
    }
    // The result is an int.
    i32::try_from(-(result.cast_signed() << 32 >> 32)).unwrap()
}

#[cfg(not(target_arch = "x86_64"))]
fn execve_in_32_bits(_program: &str) -> i32 {
    std::process::exit(2);
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [attack, allowed, denied] = &words[..] else {
        std::process::exit(2);
    };
    let (yes, no) = (string(allowed), string(denied));
    let argv = [yes.as_ptr(), null()];
    match attack.as_str() {
        "plain" => in_child(|| execve(no.as_ptr(), argv.as_ptr())),
        "allowed" => in_child(|| execve(yes.as_ptr(), argv.as_ptr())),
        "descriptor" => in_child(|| {
            let file = std::fs::File::open(denied).unwrap();
            execveat(file.as_raw_fd(), "", libc::AT_EMPTY_PATH)
        }),
        "proc-fd" => in_child(|| {
            let file = std::fs::File::open(denied).unwrap();
            let path = string(&format!("/proc/self/fd/{}", file.as_raw_fd()));
            execve(path.as_ptr(), argv.as_ptr())
        }),
        "folder" => in_child(|| {
            let (folder, name) = denied.rsplit_once('/').unwrap();
            let folder = std::fs::File::open(folder).unwrap();
            execveat(folder.as_raw_fd(), name, 0)
        }),
        "memory" => in_child(|| execveat(memory_copy(denied), "", libc::AT_EMPTY_PATH)),
        "link" => in_child(|| {
            symlink(denied, "a-link").unwrap();
            execve(c"./a-link".as_ptr(), argv.as_ptr())
        }),
        "no-follow" => in_child(|| execveat(libc::AT_FDCWD, "a-link", libc::AT_SYMLINK_NOFOLLOW)),
        "script" => in_child(|| {
            let script = string("./script");
            execve(script.as_ptr(), argv.as_ptr())
        }),
        "vfork" => {
            // Starts by vfork(2) where libc can.
            match std::process::Command::new(denied).status() {
                Ok(status) => println!("{status}"),
                Err(error) => println!("{}", error.raw_os_error().unwrap()),
            }
        }
        "listener" => in_child(own_listener),
        "32-bit" => in_child(|| execve_in_32_bits(denied)),
        "border" => in_child(|| {
            let path = at_the_border(yes.as_bytes_with_nul());
            execve(path, argv.as_ptr())
        }),
        "beyond" => in_child(|| execve(at_the_border(yes.as_bytes()), argv.as_ptr())),
        "unreadable" => in_child(|| execve(yes.as_ptr(), std::ptr::without_provenance(8))),
        "trace" => in_child(|| {
            // SAFETY: plain values.
            let traced = unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) };
            if traced == -1 { errno() } else { 0 }
        }),
        _ => std::process::exit(2),
    }
}

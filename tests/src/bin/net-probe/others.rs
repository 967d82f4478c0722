//! Attempts by other processes, by other architectures, and on the supervisor
//! itself.

use std::time::{Duration, Instant};

use crate::raw::{at, call, connect, loopback, peer_port, udp};
use crate::say;

/// Looks for a listener: among its own descriptors, in its parent, in nucleus;
/// and tries to have one of its own.
pub(crate) fn listeners() {
    /// `SECCOMP_IOCTL_NOTIF_ID_VALID`: ENOENT from a listener, as the number is
    /// no notification's.
    const ID_VALID: u64 = 0x4008_2102;
    let id = 0_u64;
    let is_listener = |fd: u64| {
        let answer = call(libc::SYS_ioctl, &[fd, ID_VALID, at(&id)]);
        answer == -i64::from(libc::ENOENT)
    };
    let own = (0..1024).filter(|fd| is_listener(*fd)).count();
    println!("listeners of its own: {own}");
    let mut found = 0;
    let mut process = call(libc::SYS_getppid, &[]);
    // Up to nucleus, where it is to be seen.
    for _ in 0..3 {
        let opened = call(libc::SYS_pidfd_open, &[process.cast_unsigned(), 0]);
        if opened < 0 {
            break;
        }
        for number in 0..64 {
            let taken = call(libc::SYS_pidfd_getfd, &[opened.cast_unsigned(), number, 0]);
            found += u32::from(taken >= 0 && is_listener(taken.cast_unsigned()));
        }
        process = parent_of(process);
    }
    println!("listeners of others: {found}");
    say("a listener as well", own_listener());
}

fn parent_of(process: i64) -> i64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let parent = fields.split_whitespace().nth(1);
    parent.and_then(|word| word.parse().ok()).unwrap_or(0)
}

fn own_listener() -> i64 {
    let code = libc::sock_filter {
        code: 6,
        jt: 0,
        jf: 0,
        k: libc::SECCOMP_RET_ALLOW,
    };
    let program = [1, at(&code)];
    // SECCOMP_SET_MODE_FILTER with SECCOMP_FILTER_FLAG_NEW_LISTENER.
    call(libc::SYS_seccomp, &[1, 8, at(&program)])
}

/// A child whose tracer makes another call of its getppid(2).
#[cfg(target_arch = "x86_64")]
pub(crate) fn changed_by_a_sibling(address: [u8; 16]) {
    let socket = udp();
    // SAFETY: this process has one thread.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: no arguments.
        unsafe { libc::ptrace(libc::PTRACE_TRACEME) };
        // SAFETY: plain values.
        unsafe { libc::raise(libc::SIGSTOP) };
        call(libc::SYS_getppid, &[]);
        // SAFETY: ends the child.
        unsafe { libc::_exit(0) };
    }
    let wait = || {
        // SAFETY: nobody asks for the status.
        unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) }
    };
    let request = |what, data: u64| {
        // SAFETY: the child stands still, and what is pointed to lives.
        unsafe { libc::ptrace(what, child, 0, data) }
    };
    wait();
    // SAFETY: registers are numbers.
    let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
    let place = (&raw mut registers).expose_provenance() as u64;
    // To the entry of the call, past that of whatever else comes before it.
    loop {
        request(libc::PTRACE_SYSCALL, 0);
        wait();
        if request(libc::PTRACE_GETREGS, place) < 0 {
            println!("changed by its tracer: no");
            return;
        }
        let registers = std::hint::black_box(&mut registers);
        if registers.orig_rax == libc::SYS_getppid.cast_unsigned() {
            break;
        }
    }
    registers.orig_rax = libc::SYS_connect.cast_unsigned();
    (registers.rdi, registers.rsi, registers.rdx) = (socket, at(&address), 16);
    request(libc::PTRACE_SETREGS, place);
    request(libc::PTRACE_SYSCALL, 0);
    wait();
    request(libc::PTRACE_GETREGS, place);
    let result = std::hint::black_box(registers).rax.cast_signed();
    request(libc::PTRACE_CONT, 0);
    wait();
    say("changed by its tracer", result);
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn changed_by_a_sibling(_address: [u8; 16]) {
    say("changed by its tracer", -i64::from(libc::EACCES));
}

/// The calls of a 32-bit program, of which some hide what they ask for.
#[cfg(target_arch = "x86_64")]
pub(crate) fn in_32_bits() {
    for (name, number) in [
        ("socketcall", 102),
        ("socket", 359),
        ("bind", 361),
        ("connect", 362),
        ("listen", 363),
        ("setsockopt", 366),
        ("sendto", 369),
        ("sendmsg", 370),
        ("sendmmsg", 345),
        ("io_uring_setup", 425),
        ("io_uring_enter", 426),
    ] {
        let mut result: u64 = number;
        // SAFETY: the call only looks at its arguments, of which none is valid;
        // the kernel clears r8 to r11 on its way back from it.
        unsafe {
            std::arch::asm!(
                "push rbx",
                "mov ebx, 1",
                "int 0x80",
                "pop rbx",
                inout("rax") result,
                in("rcx") 0,
                in("rdx") 0,
                out("r8") _,
                out("r9") _,
                out("r10") _,
                out("r11") _,
            );
        }
        // The result is an int.
        say(name, result.cast_signed() << 32 >> 32);
    }
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn in_32_bits() {
    std::process::exit(2);
}

/// Children that are killed in the middle of a connect, and others that get
/// their numbers: no socket of those is ever connected.
pub(crate) fn reuse(allowed: u16, tries: u64) {
    let address = loopback(allowed);
    let mut astray = 0;
    for round in 0..tries {
        // SAFETY: this process has one thread.
        let child = unsafe { libc::fork() };
        if child == 0 {
            if round % 2 == 0 {
                let socket = udp();
                loop {
                    connect(socket, &address);
                }
            }
            let socket = udp();
            let end = Instant::now() + Duration::from_micros(200);
            while Instant::now() < end {}
            let code = i32::from(peer_port(socket) != 0);
            // SAFETY: ends the child.
            unsafe { libc::_exit(code) };
        }
        if round % 2 == 0 {
            let end = Instant::now() + Duration::from_micros(round % 97 * 10);
            while Instant::now() < end {}
            // SAFETY: a child of this process.
            unsafe { libc::kill(child, libc::SIGKILL) };
        }
        let mut status = 0;
        // SAFETY: the status can be written.
        unsafe { libc::waitpid(child, &raw mut status, 0) };
        astray += u64::from(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) != 0);
    }
    println!("tries: {tries}");
    println!("astray: {astray}");
}

//! Tries to get out of a sandbox, one attempt a line: its name and the errno
//! that it ended with, 0 when it worked. `sandbox-probe HOST_PID PORT SOCKET`,
//! where the arguments are of the test: its process, a TCP port and an
//! abstract socket that it listens on.

#![allow(unsafe_code, reason = "attacks are raw system calls")]
#![allow(clippy::print_stdout, reason = "the results")]

mod exhaust;
mod files;
mod modes;
mod privileges;
mod surface;

use std::ffi::{CStr, c_long};
use std::fs::OpenOptions;
use std::io;
use std::net::TcpStream;
use std::os::fd::AsRawFd as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::process::Command;

/// Makes a system call with up to six arguments.
fn call(number: c_long, arguments: &[u64]) -> i32 {
    let mut six = [0; 6];
    for (to, from) in six.iter_mut().zip(arguments) {
        *to = *from;
    }
    let [a, b, c, d, e, f] = six;
    // SAFETY: the attacks below pass pointers that live, or none.
    let ret = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if ret < 0 {
        errno(&io::Error::last_os_error())
    } else {
        0
    }
}

fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(-1)
}

fn done<T>(result: io::Result<T>) -> i32 {
    result.map_or_else(|error| errno(&error), |_value| 0)
}

fn at(text: &CStr) -> u64 {
    text.as_ptr().addr() as u64
}

fn read(path: &str) -> i32 {
    done(std::fs::read(path))
}

fn write(path: &str) -> i32 {
    let mut options = OpenOptions::new();
    done(options.write(true).create(true).mode(0o600).open(path))
}

fn outside(arguments: &[String]) -> Vec<(&'static str, i32)> {
    let [_self, pid, port, name] = arguments else {
        return vec![("be called with three arguments", -1)];
    };
    let pid = pid.parse().unwrap_or(0);
    let port = port.parse().unwrap_or(0);
    let address = SocketAddr::from_abstract_name(name);
    vec![
        ("signal the host", call(libc::SYS_kill, &[pid, 0])),
        (
            "ptrace the host",
            call(libc::SYS_ptrace, &[0x4206, pid, 0, 0]),
        ),
        (
            "open the host's process",
            call(libc::SYS_pidfd_open, &[pid, 0]),
        ),
        (
            "connect to the host's loopback",
            done(TcpStream::connect(("127.0.0.1", port))),
        ),
        (
            "connect to the host's abstract socket",
            done(address.and_then(|address| UnixStream::connect_addr(&address))),
        ),
        ("see the host's process", read(&format!("/proc/{pid}/stat"))),
    ]
}

/// The number of a descriptor, for a raw call.
fn number_of(file: &std::fs::File) -> u64 {
    u64::from(file.as_raw_fd().unsigned_abs())
}

/// A program with the set-user-ID bit must not get its owner's id.
fn set_user_id() -> i32 {
    let mut stat = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: the kernel fills `stat`, as the result says.
    if unsafe { libc::statvfs(c"/usr".as_ptr(), stat.as_mut_ptr()) } != 0 {
        return -1;
    }
    // SAFETY: filled by the call above.
    let stat = unsafe { stat.assume_init() };
    if stat.f_flag & libc::ST_NOSUID == 0 {
        0
    } else {
        libc::EPERM
    }
}

fn main() {
    let arguments: Vec<_> = std::env::args().collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [_self, "int80"] => return surface::int80(),
        [_self, "x32"] => return println!("{}", surface::x32()),
        [_self, "fork-bomb"] => return println!("{}", exhaust::fork_bomb()),
        [_self, "fill", path] => return println!("{}", exhaust::fill(path)),
        [_self, "room", path] => return println!("{}", exhaust::room(path)),
        _ => {}
    }
    if let [_self, what, argument] = arguments.as_slice() {
        match what.as_str() {
            "modes" => {
                return modes::modes(argument)
                    .iter()
                    .for_each(|(name, errno)| println!("{name}: {errno}"));
            }
            "write" => return println!("{}", write(argument)),
            "exec" => {
                let status = Command::new(argument).status();
                return println!("{}", done(status));
            }
            _ => {}
        }
    }
    let attempts = [
        files::files(),
        privileges::privileges(),
        surface::kernel_surface(),
        outside(&arguments),
    ];
    for (name, errno) in attempts.into_iter().flatten() {
        println!("{name}: {errno}");
    }
    println!("set-user-ID: {}", set_user_id());
}

//! Uses up what there is: each says how much there was of it, and the errno that
//! it ended with.

use std::fs::File;
use std::io::{self, Write as _};

use crate::errno;

/// Makes processes that wait, until there may be no more of them.
pub(crate) fn fork_bomb() -> String {
    let mut made = 0;
    loop {
        // SAFETY: this process has one thread, and the child only waits.
        let pid = unsafe { libc::fork() };
        match pid {
            0 => wait_for_ever(),
            -1 => return format!("{made} {}", errno(&io::Error::last_os_error())),
            _ => made += 1,
        }
    }
}

fn wait_for_ever() -> ! {
    loop {
        // SAFETY: waits for a signal.
        unsafe { libc::pause() };
    }
}

/// Writes to a new file until there is no more room: bytes.
pub(crate) fn fill(path: &str) -> String {
    let block = vec![b'x'; 64 * 1024];
    let mut written = 0;
    let mut file = match File::create(path) {
        Ok(file) => file,
        Err(error) => return format!("{written} {}", errno(&error)),
    };
    loop {
        match file.write(&block) {
            Ok(length) => written += length,
            Err(error) => return format!("{written} {}", errno(&error)),
        }
    }
}

/// How many bytes and files there is room for below a folder.
pub(crate) fn room(path: &str) -> String {
    match rustix::fs::statvfs(path) {
        Ok(stat) => format!("{} {}", stat.f_blocks * stat.f_frsize, stat.f_files),
        Err(errno) => format!("0 {}", errno.raw_os_error()),
    }
}

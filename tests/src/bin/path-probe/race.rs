//! Paths that change while they are judged.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::FromRawFd as _;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use crate::{HERE, at, call};

const OPEN: u32 = u32::from_ne_bytes(*b"open");
const DENY: u32 = u32::from_ne_bytes(*b"deny");

/// Opens `top/open/a` and what becomes of it, while one thread rewrites the
/// name in the path, one exchanges what a link leads to, and one renames the
/// folder above. Says how often it came to each.
pub(crate) fn race(tries: u64) {
    let over = AtomicBool::new(false);
    // "top/", "open" and "/a\0": the middle is what is rewritten.
    let path = [
        AtomicU32::new(u32::from_ne_bytes(*b"top/")),
        AtomicU32::new(OPEN),
        AtomicU32::new(u32::from_ne_bytes(*b"/a\0\0")),
    ];
    let exchange = u64::from(libc::RENAME_EXCHANGE);
    let (mut allowed, mut denied, mut through) = (0_u64, 0_u64, 0_u64);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                path[1].store(DENY, Ordering::Relaxed);
                path[1].store(OPEN, Ordering::Relaxed);
            }
        });
        scope.spawn(|| {
            let names = [HERE, at(b"to-open\0"), HERE, at(b"to-deny\0"), exchange];
            while !over.load(Ordering::Relaxed) {
                call(libc::SYS_renameat2, &names);
            }
        });
        scope.spawn(|| {
            let names = [HERE, at(b"top\0"), HERE, at(b"moved\0"), exchange];
            while !over.load(Ordering::Relaxed) {
                call(libc::SYS_renameat2, &names);
            }
        });
        for round in 0..tries {
            let place = match round % 2 {
                0 => at(&path),
                _ => at(b"to-open/a\0"),
            };
            match call(libc::SYS_openat, &[HERE, place, 0, 0]) {
                fd @ 0.. => {
                    allowed += 1;
                    through += u64::from(is_secret(fd));
                }
                errno if errno == -i64::from(libc::EACCES) => denied += 1,
                _ => {}
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    println!("allowed: {allowed}");
    println!("denied: {denied}");
    println!("through: {through}");
}

fn is_secret(fd: i64) -> bool {
    let Ok(fd) = i32::try_from(fd) else {
        return true;
    };
    // SAFETY: it has just been opened, and nobody else has it.
    let mut file = unsafe { File::from_raw_fd(fd) };
    let mut text = String::new();
    file.read_to_string(&mut text).is_err() || text != "public"
}

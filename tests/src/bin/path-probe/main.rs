//! Tries to get past rules on paths, one attempt a line: its name and the errno
//! that it ended with, 0 when it worked.
//!
//! `path-probe attempts` and `path-probe hidden` in a folder as the test makes
//! it; `path-probe race TRIES` opens a path that other threads rewrite, and that
//! others lead elsewhere.

#![allow(unsafe_code, reason = "attacks are raw system calls")]
#![allow(clippy::print_stdout, reason = "the results")]
#![cfg(target_pointer_width = "64")]

mod race;

use std::ffi::c_long;
use std::io;
use std::os::unix::net::{UnixListener, UnixStream};

/// The working directory.
const HERE: u64 = (-100_i64).cast_unsigned();

/// Calls that libc has no number for.
const FCHMODAT2: c_long = 452;
const SETXATTRAT: c_long = 463;
const GETXATTRAT: c_long = 464;
const LISTXATTRAT: c_long = 465;
const REMOVEXATTRAT: c_long = 466;
const FILE_GETATTR: c_long = 468;

fn main() {
    let words: Vec<_> = std::env::args().skip(1).collect();
    match words.first().map(String::as_str) {
        Some("attempts") => attempts(),
        Some("hidden") => hidden(),
        Some("race") => race::race(words.get(1).and_then(|word| word.parse().ok()).unwrap_or(0)),
        _ => std::process::exit(2),
    }
}

/// Makes a system call; its value, or the negative errno.
fn call(number: c_long, arguments: &[u64]) -> i64 {
    let mut six = [0; 6];
    for (to, from) in six.iter_mut().zip(arguments) {
        *to = *from;
    }
    let [a, b, c, d, e, f] = six;
    // SAFETY: the probe passes pointers that live, or that are to be refused.
    let ret = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if ret >= 0 {
        return ret;
    }
    let errno = io::Error::last_os_error().raw_os_error();
    -i64::from(errno.unwrap_or(libc::EIO))
}

/// The address of a value, for the kernel.
fn at<T: ?Sized>(value: &T) -> u64 {
    std::ptr::from_ref(value).addr() as u64
}

fn say(name: &str, result: i64) {
    println!("{name}: {}", if result < 0 { -result } else { 0 });
}

fn flags(flags: i32) -> u64 {
    u64::from(flags.cast_unsigned())
}

fn open(path: &[u8], how: i32) -> i64 {
    call(libc::SYS_openat, &[HERE, at(path), flags(how), 0o600])
}

fn rename(from: &[u8], to: &[u8]) -> i64 {
    call(libc::SYS_renameat2, &[HERE, at(from), HERE, at(to), 0])
}

fn attempts() {
    let file: &[u8] = b"top/deny/a\0";
    opens(file);
    ways(file);
    names(file);
    changes(file);
    refused(file);
    pointers();
    sockets();
    let moved = rename(b"top\0", b"elsewhere\0");
    say("rename the folder above", moved);
    say("open below the new name", open(b"elsewhere/deny/a\0", 0));
    say("open what is allowed there", open(b"elsewhere/open/a\0", 0));
    let back = rename(b"elsewhere\0", b"top\0");
    say("rename it back", back);
}

fn opens(file: &[u8]) {
    say("open where it may", open(b"top/open/a\0", 0));
    say("open what is granted below", open(b"top/deny/grant/a\0", 0));
    #[cfg(target_arch = "x86_64")]
    {
        say("open", call(libc::SYS_open, &[at(file), 0, 0]));
        say("creat", call(libc::SYS_creat, &[at(file), 0o600]));
    }
    say("openat", open(file, 0));
    say(
        "openat to write",
        open(file, libc::O_WRONLY | libc::O_TRUNC),
    );
    say("openat as a path", open(file, libc::O_PATH));
    say("open the folder", open(b"top/deny\0", libc::O_DIRECTORY));
    say(
        "open a nameless file",
        open(b"top/deny\0", libc::O_TMPFILE | libc::O_RDWR),
    );
    say(
        "make a file",
        open(b"top/deny/new\0", libc::O_CREAT | libc::O_WRONLY),
    );
    let how = [0_u64; 3];
    let openat2 = |how: &[u64]| {
        let size = size_of_val(how) as u64;
        call(libc::SYS_openat2, &[HERE, at(file), at(how), size])
    };
    say("openat2", openat2(&how));
    say("openat2 with more", openat2(&[0, 0, 0, 1]));
    say("openat2 with unknown flags", openat2(&[1 << 40, 0, 0]));
}

fn ways(file: &[u8]) {
    let top = open(b"top\0", libc::O_DIRECTORY).cast_unsigned();
    say(
        "open from a folder",
        call(libc::SYS_openat, &[top, at(b"deny/a\0"), 0, 0]),
    );
    say("open by ..", open(b"top/open/../deny/a\0", 0));
    say("open by a link", open(b"link\0", 0));
    say("open by a link to the folder", open(b"folder/a\0", 0));
    say("open by a name that is no text", open(b"\xff\xfe\0", 0));
    say("open another name of a file", open(b"alias\0", 0));
    let here = std::env::current_dir().unwrap_or_default();
    let here = here.to_string_lossy();
    for (name, way) in [
        (
            "open by the root of proc",
            format!("/proc/self/root{here}/top/deny/a\0"),
        ),
        (
            "open by the thread's root",
            format!("/proc/thread-self/root{here}/top/deny/a\0"),
        ),
        (
            "open by the folder of proc",
            "/proc/self/cwd/top/deny/a\0".to_owned(),
        ),
        (
            "open by a descriptor of proc",
            format!("/proc/self/fd/{top}/deny/a\0"),
        ),
        ("open by /dev/fd", format!("/dev/fd/{top}/deny/a\0")),
        (
            "open by the process's number",
            format!("/proc/{}/root{here}/top/deny/a\0", std::process::id()),
        ),
    ] {
        say(name, open(way.as_bytes(), 0));
    }
    say(
        "open by proc where it may",
        open(b"/proc/self/cwd/top/open/a\0", 0),
    );
    say(
        "enter the folder",
        call(libc::SYS_chdir, &[at(b"top/deny\0")]),
    );
    say("open from inside", open(b"a\0", 0));
    say("open what is granted from inside", open(b"grant/a\0", 0));
    say("leave it", call(libc::SYS_chdir, &[at(b"../..\0")]));
    say(
        "execute",
        call(libc::SYS_execve, &[at(b"top/deny/probe\0"), 0, 0]),
    );
    let execveat = [top, at(b"deny/probe\0"), 0, 0, 0];
    say("execute from a folder", call(libc::SYS_execveat, &execveat));
    say("list", call(libc::SYS_listxattr, &[at(file), 0, 0]));
}

fn names(file: &[u8]) {
    let rename = |old: &[u8], new: &[u8], how: u64| {
        call(libc::SYS_renameat2, &[HERE, at(old), HERE, at(new), how])
    };
    let exchange = u64::from(libc::RENAME_EXCHANGE);
    say("rename it", rename(file, b"out\0", 0));
    say("rename its folder", rename(b"top/deny\0", b"out\0", 0));
    say("rename over it", rename(b"top/open/a\0", file, 0));
    say(
        "rename into it",
        rename(b"top/open/a\0", b"top/deny/in\0", 0),
    );
    say("exchange it", rename(b"top/open/a\0", file, exchange));
    say(
        "exchange the folders",
        rename(b"top/open\0", b"top/deny\0", exchange),
    );
    say(
        "rename what is granted below",
        rename(b"top/deny/grant\0", b"out\0", 0),
    );
    say(
        "link",
        call(libc::SYS_linkat, &[HERE, at(file), HERE, at(b"out\0"), 0]),
    );
    let into = [HERE, at(b"top/open/a\0"), HERE, at(b"top/deny/in\0"), 0];
    say("link into it", call(libc::SYS_linkat, &into));
    say(
        "link another name",
        call(
            libc::SYS_linkat,
            &[HERE, at(b"alias\0"), HERE, at(b"out\0"), 0],
        ),
    );
    say(
        "symlink",
        call(
            libc::SYS_symlinkat,
            &[at(b"x\0"), HERE, at(b"top/deny/in\0")],
        ),
    );
    say("unlink", call(libc::SYS_unlinkat, &[HERE, at(file), 0]));
    let folder = [HERE, at(b"top/deny\0"), flags(libc::AT_REMOVEDIR)];
    say("rmdir", call(libc::SYS_unlinkat, &folder));
    say(
        "mkdir",
        call(libc::SYS_mkdirat, &[HERE, at(b"top/deny/in\0"), 0o700]),
    );
    let node = [HERE, at(b"top/deny/in\0"), u64::from(libc::S_IFIFO), 0];
    say("mknod", call(libc::SYS_mknodat, &node));
    say(
        "make what is denied by name",
        open(b"missing/later\0", libc::O_CREAT | libc::O_WRONLY),
    );
    say(
        "make its folder",
        call(libc::SYS_mkdirat, &[HERE, at(b"missing\0"), 0o700]),
    );
    let later = open(b"missing/later\0", libc::O_CREAT | libc::O_WRONLY);
    say("make it then", later);
    say(
        "make another there",
        open(b"missing/other\0", libc::O_CREAT | libc::O_WRONLY),
    );
}

fn changes(file: &[u8]) {
    say("truncate", call(libc::SYS_truncate, &[at(file), 0]));
    say("chmod", call(libc::SYS_fchmodat, &[HERE, at(file), 0o777]));
    say("fchmodat2", call(FCHMODAT2, &[HERE, at(file), 0o777, 0]));
    let same = u64::from(u32::MAX);
    say(
        "chown",
        call(libc::SYS_fchownat, &[HERE, at(file), same, same, 0]),
    );
    say(
        "utimensat",
        call(libc::SYS_utimensat, &[HERE, at(file), 0, 0]),
    );
    let name: &[u8] = b"user.x\0";
    let mut value = [0_u8; 8];
    say(
        "setxattr",
        call(libc::SYS_setxattr, &[at(file), at(name), at(b"x"), 1, 0]),
    );
    say(
        "getxattr",
        call(libc::SYS_getxattr, &[at(file), at(name), at(&value), 8]),
    );
    say(
        "removexattr",
        call(libc::SYS_removexattr, &[at(file), at(name)]),
    );
    value[0] = 1;
    // struct xattr_args: an address, and a size of 8.
    let args = [at(&value), 8];
    say(
        "setxattrat",
        call(SETXATTRAT, &[HERE, at(file), 0, at(name), at(&args), 16]),
    );
    say(
        "getxattrat",
        call(GETXATTRAT, &[HERE, at(file), 0, at(name), at(&args), 16]),
    );
    say(
        "listxattrat",
        call(LISTXATTRAT, &[HERE, at(file), 0, at(&value), 8]),
    );
    say(
        "removexattrat",
        call(REMOVEXATTRAT, &[HERE, at(file), 0, at(name)]),
    );
    let watcher = call(libc::SYS_inotify_init1, &[0]).cast_unsigned();
    let all = u64::from(libc::IN_ALL_EVENTS);
    say(
        "watch",
        call(
            libc::SYS_inotify_add_watch,
            &[watcher, at(b"top/deny\0"), all],
        ),
    );
    say(
        "watch where it may",
        call(libc::SYS_inotify_add_watch, &[watcher, at(b"top\0"), all]),
    );
}

fn refused(file: &[u8]) {
    let handle = [0_u8; 128];
    let mount = [0_u8; 4];
    let name = [HERE, at(file), at(&handle), at(&mount), 0];
    say("take a handle", call(libc::SYS_name_to_handle_at, &name));
    say(
        "open a handle",
        call(libc::SYS_open_by_handle_at, &[HERE, at(&handle), 0]),
    );
    say(
        "take a tree",
        call(libc::SYS_open_tree, &[HERE, at(file), 0]),
    );
    let here = open(b".\0", libc::O_DIRECTORY).cast_unsigned();
    // BTRFS_IOC_SNAP_CREATE_V2, BCH_IOCTL_SUBVOLUME_CREATE: what a file system
    // without them does not know would be ENOTTY.
    for (name, request) in [
        ("take a snapshot", 0x5000_9417),
        ("take a snapshot by bcachefs", 0x4020_bc10),
    ] {
        let arguments = [0_u64; 512];
        say(
            name,
            call(libc::SYS_ioctl, &[here, request, at(&arguments)]),
        );
    }
    say(
        "mount",
        call(
            libc::SYS_mount,
            &[at(b"top/deny\0"), at(b"top/open\0"), 0, 4096, 0],
        ),
    );
    say(
        "ring",
        call(libc::SYS_io_uring_setup, &[1, at(&[0_u8; 128])]),
    );
    say("fanotify", call(libc::SYS_fanotify_init, &[0, 0]));
    say(
        "attributes",
        call(FILE_GETATTR, &[HERE, at(file), at(&handle), 24, 0]),
    );
}

/// Two pages, the second of which can be read if `whole`; its address.
fn border(whole: bool) -> u64 {
    let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let both = libc::PROT_READ | libc::PROT_WRITE;
    let none = u64::MAX;
    let map = [0, 8192, flags(both), flags(kind), none, 0];
    let second = call(libc::SYS_mmap, &map).cast_unsigned() + 4096;
    if !whole {
        call(libc::SYS_mprotect, &[second, 4096, 0]);
    }
    second
}

fn put(bytes: &[u8], address: u64) {
    let Ok(address) = usize::try_from(address) else {
        return;
    };
    let to = std::ptr::with_exposed_provenance_mut::<u8>(address);
    // SAFETY: the callers write to a page of `border`, before its end.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
}

fn pointers() {
    let open_at = |address| call(libc::SYS_openat, &[HERE, address, 0, 0]);
    say("open at NULL", open_at(0));
    say("open at nowhere", open_at(8));
    for (name, path) in [
        ("open across pages", &b"top/open/a\0"[..]),
        ("open the denied across pages", b"top/deny/a\0"),
    ] {
        let page = border(true);
        put(path, page - 5);
        say(name, open_at(page - 5));
    }
    let page = border(false);
    put(b"top/d", page - 5);
    say("open off the page", open_at(page - 5));
    let page = border(false);
    put(b"top/deny/a\0", page - 11);
    say("open at the end of a page", open_at(page - 11));
    say(
        "open what is too long",
        open(&[&[b'x'; 5000][..], &[0]].concat(), 0),
    );
    say("open nothing", open(b"\0", 0));
    let how = border(false) - 8;
    let openat2 = [HERE, at(b"top/open/a\0"), how, 24];
    say("openat2 off the page", call(libc::SYS_openat2, &openat2));
}

fn sockets() {
    let errno = |result: io::Result<()>| match result {
        Ok(()) => 0,
        Err(error) => -i64::from(error.raw_os_error().unwrap_or(libc::EIO)),
    };
    let listener = UnixListener::bind("top/open/socket");
    say(
        "bind where it may",
        errno(listener.as_ref().map(drop).map_err(|error| {
            io::Error::from_raw_os_error(error.raw_os_error().unwrap_or(libc::EIO))
        })),
    );
    say(
        "connect where it may",
        errno(UnixStream::connect("top/open/socket").map(drop)),
    );
    say("bind", errno(UnixListener::bind("top/deny/in").map(drop)));
    say(
        "connect",
        errno(UnixStream::connect("top/deny/socket").map(drop)),
    );
    let unix = flags(libc::AF_UNIX);
    say(
        "send to paths",
        call(libc::SYS_socket, &[unix, flags(libc::SOCK_DGRAM), 0]),
    );
    say("talk to oneself", errno(UnixStream::pair().map(drop)));
}

fn hidden() {
    let file: &[u8] = b"top/hide/a\0";
    let buffer = [0_u8; 256];
    say(
        "stat",
        call(libc::SYS_newfstatat, &[HERE, at(file), at(&buffer), 0]),
    );
    say(
        "statx",
        call(libc::SYS_statx, &[HERE, at(file), 0, 0xfff, at(&buffer)]),
    );
    say("access", call(libc::SYS_faccessat, &[HERE, at(file), 0]));
    say(
        "faccessat2",
        call(libc::SYS_faccessat2, &[HERE, at(file), 0, 0]),
    );
    say(
        "readlink",
        call(
            libc::SYS_readlinkat,
            &[HERE, at(b"top/hide/link\0"), at(&buffer), 8],
        ),
    );
    say("statfs", call(libc::SYS_statfs, &[at(file), at(&buffer)]));
    say("chdir", call(libc::SYS_chdir, &[at(b"top/hide\0")]));
    say(
        "stat the folder",
        call(
            libc::SYS_newfstatat,
            &[HERE, at(b"top/hide\0"), at(&buffer), 0],
        ),
    );
    say(
        "stat below a file",
        call(
            libc::SYS_newfstatat,
            &[HERE, at(b"top/hide/a/b\0"), at(&buffer), 0],
        ),
    );
    say(
        "a way through",
        call(
            libc::SYS_newfstatat,
            &[HERE, at(b"top/hide/../open/a\0"), at(&buffer), 0],
        ),
    );
    say("open", open(file, 0));
    say(
        "make",
        open(b"top/hide/new\0", libc::O_CREAT | libc::O_WRONLY),
    );
    say("unlink", call(libc::SYS_unlinkat, &[HERE, at(file), 0]));
    say(
        "execute",
        call(libc::SYS_execve, &[at(b"top/hide/probe\0"), 0, 0]),
    );
    say(
        "stat where it may",
        call(
            libc::SYS_newfstatat,
            &[HERE, at(b"top/open/a\0"), at(&buffer), 0],
        ),
    );
    let size = std::fs::metadata("top/open/a").map_or(0, |it| it.len());
    println!("size: {size}");
}

//! Raw calls on sockets, and what they point to.

use std::ffi::c_long;
use std::io;
use std::ptr;

/// Makes a system call; its value, or the negative errno.
pub(crate) fn call(number: c_long, arguments: &[u64]) -> i64 {
    let mut six = [0; 6];
    for (to, from) in six.iter_mut().zip(arguments) {
        *to = *from;
    }
    let [a, b, c, d, e, f] = six;
    // SAFETY: the probe passes pointers that live, or that are to be refused.
    let ret = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if ret < 0 {
        -i64::from(
            io::Error::last_os_error()
                .raw_os_error()
                .unwrap_or(libc::EIO),
        )
    } else {
        ret
    }
}

/// The address of a value, for the kernel.
pub(crate) fn at<T: ?Sized>(value: &T) -> u64 {
    ptr::from_ref(value).addr() as u64
}

pub(crate) fn socket(family: i32, kind: i32, protocol: i32) -> i64 {
    let word = |value: i32| u64::from(value.cast_unsigned());
    call(
        libc::SYS_socket,
        &[word(family), word(kind), word(protocol)],
    )
}

pub(crate) fn tcp() -> u64 {
    socket(libc::AF_INET, libc::SOCK_STREAM, 0).cast_unsigned()
}

pub(crate) fn udp() -> u64 {
    socket(libc::AF_INET, libc::SOCK_DGRAM, 0).cast_unsigned()
}

/// `struct sockaddr_in` of 127.0.0.1, or of another address.
pub(crate) fn v4(address: [u8; 4], port: u16) -> [u8; 16] {
    let [family_low, family_high] = 2_u16.to_ne_bytes();
    let [port_high, port_low] = port.to_be_bytes();
    let [a, b, c, d] = address;
    let start = [family_low, family_high, port_high, port_low, a, b, c, d];
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&start);
    bytes
}

pub(crate) fn loopback(port: u16) -> [u8; 16] {
    v4([127, 0, 0, 1], port)
}

/// `struct sockaddr_in6` of an IPv4 address in IPv6 clothes.
pub(crate) fn mapped(port: u16) -> [u8; 28] {
    let mut bytes = [0; 28];
    bytes[..2].copy_from_slice(&10_u16.to_ne_bytes());
    bytes[2..4].copy_from_slice(&port.to_be_bytes());
    bytes[18..20].copy_from_slice(&[0xff, 0xff]);
    bytes[20..24].copy_from_slice(&[127, 0, 0, 1]);
    bytes
}

pub(crate) fn connect(socket: u64, address: &[u8]) -> i64 {
    let length = address.len() as u64;
    call(
        libc::SYS_connect,
        &[socket, address.as_ptr().addr() as u64, length],
    )
}

/// The port that a socket is connected to; 0 for none.
pub(crate) fn peer_port(socket: u64) -> u16 {
    let name = [0_u8; 16];
    let length = 16_u32;
    if call(libc::SYS_getpeername, &[socket, at(&name), at(&length)]) < 0 {
        return 0;
    }
    let [_, _, high, low, ..] = std::hint::black_box(name);
    u16::from_be_bytes([high, low])
}

pub(crate) fn sendto(socket: u64, flags: i32, address: &[u8]) -> i64 {
    let data = at(b"x");
    let flags = u64::from(flags.cast_unsigned());
    let length = address.len() as u64;
    let name = address.as_ptr().addr() as u64;
    call(libc::SYS_sendto, &[socket, data, 1, flags, name, length])
}

/// `struct msghdr` with one byte of data; what it points to must live on.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message {
    name: u64,
    name_length: u64,
    pieces: u64,
    piece_count: u64,
    control: u64,
    control_length: u64,
    flags: u64,
    /// Of `struct mmsghdr`.
    sent: u64,
}

impl Message {
    /// Its members, each in a word, without those of `struct mmsghdr`.
    pub(crate) fn words(&self) -> [u64; 7] {
        [
            self.name,
            self.name_length,
            self.pieces,
            self.piece_count,
            self.control,
            self.control_length,
            self.flags,
        ]
    }

    pub(crate) fn new(address: &[u8], piece: &[u64; 2], control: &[u8]) -> Self {
        Self {
            name: address.as_ptr().addr() as u64,
            name_length: address.len() as u64,
            pieces: at(piece),
            piece_count: 1,
            control: control.as_ptr().addr() as u64,
            control_length: control.len() as u64,
            flags: 0,
            sent: 0,
        }
    }
}

pub(crate) fn sendmsg(socket: u64, flags: i32, address: &[u8], control: &[u8]) -> i64 {
    let piece = [at(b"x"), 1];
    let message = Message::new(address, &piece, control);
    let flags = u64::from(flags.cast_unsigned());
    call(libc::SYS_sendmsg, &[socket, at(&message), flags])
}

/// A control message.
pub(crate) fn control(level: i32, kind: i32, data: &[u8]) -> Vec<u8> {
    let mut bytes = (16 + data.len()).to_ne_bytes().to_vec();
    bytes.extend(level.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(data);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

/// Two pages, of which only the first can be accessed if `cut`; the address of
/// the border.
pub(crate) fn border(cut: bool) -> u64 {
    const PAGE: usize = 4096;
    // SAFETY: new anonymous memory at an address of the kernel's choice.
    let start = unsafe {
        libc::mmap(
            ptr::null_mut(),
            2 * PAGE,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    let border = start.addr() as u64 + PAGE as u64;
    if cut {
        call(libc::SYS_munmap, &[border, PAGE as u64]);
    }
    border
}

/// Puts bytes somewhere in memory that this process has mapped.
pub(crate) fn put(bytes: &[u8], address: u64) {
    for (index, byte) in (0_u64..).zip(bytes) {
        let to =
            ptr::with_exposed_provenance_mut::<u8>(usize::try_from(address + index).unwrap_or(0));
        // SAFETY: the caller has mapped these bytes, and nobody else uses them.
        unsafe { to.write_volatile(*byte) };
    }
}

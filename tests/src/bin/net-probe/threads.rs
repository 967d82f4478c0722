//! Attempts with several threads.

use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::raw::{Message, at, call, connect, control, loopback, peer_port, sendto, tcp, udp};
use crate::say;

/// Connects and sends while another thread changes the port of the address, the
/// pointer to it, the control message and where the data are. Says how often
/// each was tried, and how many sockets were connected where they may not be.
pub(crate) fn race(allowed: u16, denied: u16, tries: u64) {
    let over = AtomicBool::new(false);
    // In memory that two threads may write to.
    let bytes = loopback(allowed);
    let words = bytes.as_chunks::<2>().0;
    let address: Vec<_> = words
        .iter()
        .map(|word| AtomicU16::new(u16::from_ne_bytes(*word)))
        .collect();
    let other = loopback(denied);
    let data = at(b"x");
    let piece = [AtomicU64::new(data), AtomicU64::new(1)];
    let still = [data, 1];
    let route = control(
        libc::IPPROTO_IP,
        libc::IP_TOS,
        &[131, 7, 4, 127, 0, 0, 1, 0],
    );
    let options: Vec<_> = route
        .as_chunks::<4>()
        .0
        .iter()
        .map(|word| AtomicU32::new(u32::from_ne_bytes(*word)))
        .collect();
    let shared = |message: Message| message.words().map(AtomicU64::new);
    let message = shared(Message::new(&bytes, &still, &[]));
    message[0].store(at(address.as_slice()), Ordering::Relaxed);
    let dressed = shared(Message::new(&bytes, &still, &route));
    dressed[2].store(at(&piece), Ordering::Relaxed);
    dressed[4].store(at(options.as_slice()), Ordering::Relaxed);
    let (port, name, kind) = (&address[1], &message[0], &options[3]);
    thread::scope(|scope| {
        scope.spawn(|| {
            let sides = [
                (denied, at(&other), RETURN_OPTIONS, 8),
                (allowed, at(address.as_slice()), libc::IP_TOS, data),
            ];
            while !over.load(Ordering::Relaxed) {
                for (number, pointer, option, base) in sides {
                    port.store(number.to_be(), Ordering::Relaxed);
                    name.store(pointer, Ordering::Relaxed);
                    kind.store(option.cast_unsigned(), Ordering::Relaxed);
                    piece[0].store(base, Ordering::Relaxed);
                }
            }
        });
        let (mut through, mut astray) = (0_u64, 0_u64);
        let by_udp = udp();
        let place = at(address.as_slice());
        for round in 0..tries {
            let stream = round % 16 == 0;
            let socket = if stream { tcp() } else { udp() };
            through += u64::from(call(libc::SYS_connect, &[socket, place, 16]) == 0);
            astray += u64::from(peer_port(socket) == denied);
            if stream {
                end_at_once(socket);
            }
            call(libc::SYS_close, &[socket]);
            let sent = [
                call(libc::SYS_sendmsg, &[by_udp, at(&message), 0]),
                call(libc::SYS_sendto, &[by_udp, data, 1, 0, place, 16]),
                call(libc::SYS_sendmsg, &[by_udp, at(&dressed), 0]),
            ];
            through += sent.iter().filter(|sent| **sent == 1).count() as u64;
        }
        over.store(true, Ordering::Relaxed);
        println!("tries: {}", 4 * tries);
        println!("through: {through}");
        println!("astray: {astray}");
    });
}

/// `IP_RETOPTS`, which sets a source route (`include/uapi/linux/in.h`).
const RETURN_OPTIONS: i32 = 7;

/// Nothing waits for the last packets of a connection, of which there are many.
fn end_at_once(socket: u64) {
    let linger = [1_i32, 0];
    let level = u64::from(libc::SOL_SOCKET.cast_unsigned());
    let name = u64::from(libc::SO_LINGER.cast_unsigned());
    call(libc::SYS_setsockopt, &[socket, level, name, at(&linger), 8]);
}

/// Connects where it may and sends where it may not, until it is ended.
pub(crate) fn knock(allowed: u16, denied: u16) {
    let by_udp = udp();
    loop {
        let socket = tcp();
        connect(socket, &loopback(allowed));
        call(libc::SYS_close, &[socket]);
        sendto(by_udp, 0, &loopback(denied));
    }
}

/// One thread connects where nobody accepts; others connect meanwhile. Then it
/// is interrupted.
pub(crate) fn blocked(full: u16, allowed: u16) {
    let over = AtomicBool::new(false);
    // SAFETY: all zeroes is an action without flags, such as SA_RESTART.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = nothing as *const () as usize;
    // SAFETY: the handler does nothing, and the old action is not asked for.
    unsafe { libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()) };
    thread::scope(|scope| {
        let (send, receive) = std::sync::mpsc::channel();
        let over = &over;
        let waiting = scope.spawn(move || {
            let own = call(libc::SYS_gettid, &[]);
            send.send(own).ok();
            let result = connect(tcp(), &loopback(full));
            over.store(true, Ordering::Release);
            result
        });
        let Ok(thread) = receive.recv() else {
            return;
        };
        let mut slowest = Duration::ZERO;
        for _ in 0..100 {
            let socket = tcp();
            let start = Instant::now();
            say("meanwhile", connect(socket, &loopback(allowed)));
            slowest = slowest.max(start.elapsed());
            call(libc::SYS_close, &[socket]);
        }
        println!("still blocked: {}", !over.load(Ordering::Acquire));
        println!("slowest: {} us", slowest.as_micros());
        let process = u64::from(std::process::id());
        let signal = u64::from(libc::SIGUSR1.cast_unsigned());
        call(libc::SYS_tgkill, &[process, thread.cast_unsigned(), signal]);
        say("interrupted", waiting.join().unwrap_or(0));
    });
}

extern "C" fn nothing(_signal: i32) {}

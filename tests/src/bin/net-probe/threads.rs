//! Attempts with several threads.

use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::raw::{Message, at, call, connect, loopback, tcp, udp};
use crate::say;

/// How long is raced.
const RACE: Duration = Duration::from_secs(3);

/// Connects and sends while another thread changes the port of the address and
/// the pointer to it. Says how often each was tried.
pub(crate) fn race(allowed: u16, denied: u16) {
    let over = AtomicBool::new(false);
    // In memory that two threads may write to.
    let bytes = loopback(allowed);
    let words = bytes.as_chunks::<2>().0;
    let address: Vec<_> = words
        .iter()
        .map(|word| AtomicU16::new(u16::from_ne_bytes(*word)))
        .collect();
    let other = loopback(denied);
    let piece = [at(b"x"), 1];
    let [_name, length, rest @ ..] = Message::new(&bytes, &piece, &[]).words();
    let name = AtomicU64::new(at(address.as_slice()));
    let message: Vec<_> = [name, AtomicU64::new(length)]
        .into_iter()
        .chain(rest.map(AtomicU64::new))
        .collect();
    let (port, name) = (&address[1], &message[0]);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                for (number, pointer) in [(denied, at(&other)), (allowed, at(address.as_slice()))] {
                    port.store(number.to_be(), Ordering::Relaxed);
                    name.store(pointer, Ordering::Relaxed);
                }
            }
        });
        let end = Instant::now() + RACE;
        let (mut tries, mut through) = (0_u64, 0_u64);
        let by_udp = udp();
        while Instant::now() < end {
            let socket = tcp();
            let connected = call(libc::SYS_connect, &[socket, at(address.as_slice()), 16]);
            through += u64::from(connected == 0);
            call(libc::SYS_close, &[socket]);
            through +=
                u64::from(call(libc::SYS_sendmsg, &[by_udp, at(message.as_slice()), 0]) == 1);
            tries += 2;
        }
        over.store(true, Ordering::Relaxed);
        println!("tries: {tries}");
        println!("through: {through}");
    });
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
